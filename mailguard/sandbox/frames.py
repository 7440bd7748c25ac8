"""The messages between the relay and its sandbox: two lengths, a JSON object, raw octets. What comes back is hostile.

| length of the JSON, 4 octets | length of the raw part, 4 octets | JSON object | raw part |      (big endian)
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

HEAD = struct.Struct(">II")
"""The two lengths."""
HEADER_LIMIT = 1024 * 1024
"""Octets of the JSON."""
RAW_LIMIT = 64 * 1024 * 1024
"""Octets of the raw part, as the relay sends it."""
ANSWER_RAW_LIMIT = 32 * 1024 * 1024
"""Octets of the raw part of an answer."""


@dataclass(frozen=True, slots=True)
class WithOctets:
    """What a function of the sandbox returns when its answer has a raw part beside the JSON."""

    value: Json
    raw: bytes


class FrameError(Exception):
    """What came is no frame, or is over a limit."""


def pack(header: Mapping[str, Json], raw: bytes = b"") -> bytes:
    """The frame of a JSON object and raw octets. Raises FrameError when they are over the limits."""
    text = json.dumps(header, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    if len(text) > HEADER_LIMIT or len(raw) > RAW_LIMIT:
        raise FrameError(f"{len(text)} and {len(raw)} octets are more than {HEADER_LIMIT} and {RAW_LIMIT}")
    return HEAD.pack(len(text), len(raw)) + text + raw


def lengths(head: bytes, *, raw_limit: int = RAW_LIMIT) -> tuple[int, int]:
    """Octets of the JSON and of the raw part, from the first HEAD.size octets. Raises FrameError."""
    try:
        header, raw = HEAD.unpack(head)
    except struct.error:
        raise FrameError(f"ended after {len(head)} of {HEAD.size} octets") from None
    if header > HEADER_LIMIT or raw > raw_limit:
        raise FrameError(f"{header} and {raw} octets are more than {HEADER_LIMIT} and {raw_limit}")
    return header, raw


def unpack(header: bytes) -> dict[str, Json]:
    """The JSON object. Raises FrameError for anything else, however it is made."""
    try:
        value = json.loads(header)
    except (ValueError, RecursionError):
        raise FrameError("not JSON") from None
    if not isinstance(value, dict):
        raise FrameError("not an object")
    return value
