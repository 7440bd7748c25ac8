"""PNG and JPEG pictures that lie as they are in streams of old Office documents, or in hexadecimal in RTF: to be looked into for codes."""

from __future__ import annotations

import re
from collections.abc import Iterator

PICTURES = 30
"""Pictures that are taken out of one stream or file."""
OCTETS = 4 * 1024 * 1024
"""Octets of one picture that are taken."""
LEAST = 70
_PREVIEWS = 8
"""Starts that a JPEG may have in itself."""
_START = re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff[\xc0-\xfe]")
_PNG_END = b"IEND\xaeB`\x82"
_JPEG_END = b"\xff\xd9"
_BETWEEN = 64
"""Octets that the headers of what holds pictures have between two, at most: a start further from an end is that of a preview."""
_BLIP = re.compile(
    rb"\\(?:png|jpeg)blip(?![a-zA-Z])(?:\\[a-zA-Z]{1,40}+-?\d{0,12}+ ?+|\\\*|\s|\{[^{}]{0,2000}+\}){0,99}"
    rb"([0-9a-fA-F][0-9a-fA-F\s]*+)"
)


def pictures_in(raw: bytes) -> Iterator[bytes]:
    """Pictures that begin anywhere in `raw`: each up to its end, which in a JPEG is the last one before another begins."""
    starts = [match.start() for match in _START.finditer(raw)]
    count = at = 0
    for place, start in enumerate(starts):
        if start < at:
            continue
        most = min(len(raw), start + OCTETS)
        if raw.startswith(b"\x89", start):
            at = _after(raw.find(_PNG_END, start, most), _PNG_END, most)
        else:
            following = next((one for one in starts[place + 1 :][:_PREVIEWS] if _begins_anew(raw, one)), most)
            at = _after(raw.rfind(_JPEG_END, start, min(most, following)), _JPEG_END, min(most, following))
        if at - start >= LEAST:
            yield raw[start:at]
            count += 1
        if count >= PICTURES:
            return


def _after(found: int, mark: bytes, otherwise: int) -> int:
    return found + len(mark) if found >= 0 else otherwise


def _begins_anew(raw: bytes, start: int) -> bool:
    return raw.startswith(b"\x89", start) or raw.find(_JPEG_END, max(0, start - _BETWEEN), start) >= 0


def pictures_in_rtf(raw: bytes) -> Iterator[bytes]:
    """Pictures that RTF writes out in hexadecimal (RTF 1.9.1, pictures)."""
    for count, match in enumerate(_BLIP.finditer(raw)):
        if count >= PICTURES:
            return
        digits = re.sub(rb"\s+", b"", match[1][: 2 * OCTETS])
        picture = bytes.fromhex(digits[: len(digits) & ~1].decode("ascii"))
        if len(picture) >= LEAST:
            yield picture
