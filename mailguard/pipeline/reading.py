"""A message from its octets: on the spot, or beside the event loop when it is large."""

from __future__ import annotations

from mailguard.message.message import Message
from mailguard.message.parse import parse
from mailguard.ops.aside import compute_aside_if

INLINE_LIMIT = 256 * 1024
"""Octets of a mail up to which it is parsed on the spot; a larger one is in a thread, so that the event loop goes on."""


async def read_message(content: bytes) -> Message:
    """As `parse`: never an error, whatever was sent."""
    return await compute_aside_if(len(content) > INLINE_LIMIT, parse, content)
