"""What is put in place of octets of a kept message when it goes to one recipient, so that one body serves all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Edit:
    """`text` stands in place of the octets from `start` to `end` of the original; it is UTF-8 with the original's line ends."""

    start: int
    end: int
    text: str


def edited(raw: bytes, edits: Sequence[Edit]) -> bytes:
    """`raw` with the edits made. Raises ValueError when they overlap or lie outside: rather nothing than the wrong octets."""
    if not edits:
        return raw
    pieces: list[bytes] = []
    at = 0
    for edit in sorted(edits, key=lambda one: (one.start, one.end)):
        if not at <= edit.start <= edit.end <= len(raw):
            raise ValueError(f"cannot edit octets {edit.start} to {edit.end} of {len(raw)}, {at} being done")
        pieces += (raw[at : edit.start], edit.text.encode("utf-8"))
        at = edit.end
    pieces.append(raw[at:])
    return b"".join(pieces)
