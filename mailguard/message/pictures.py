"""What a picture is and how large, from its first octets: nothing is decoded, since decoding is what an attack is made for."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from enum import StrEnum

HEAD = 192 * 1024
"""Octets in which the size must stand; a JPEG may have a profile and a preview before it."""
SEGMENTS = 64
"""Segments of a JPEG that are walked over."""

SIDE = 60
"""Pixels of the shorter side from which a picture can hold a code that a camera reads: 21 modules and its margin, 2 pixels each."""
SHAPE = 6.0
"""Times the shorter side that the longer one has at most: a banner can hold a code, a line cannot."""
PICTURES, PDFS = 4, 2
"""Pictures and PDFs that are looked into for codes: of a mail, and of what lies within one attached file."""
PIXELS = 40_000_000
"""Pixels above which a picture is not decoded: twice what a telephone's camera makes in its usual mode."""
OCTETS = 10 * 1024 * 1024
"""Octets of a file above which it is not looked into for codes."""
LEAST = 70
"""Octets below which nothing holds a code."""

_SQUARE = 1.3
_NAMED = re.compile(r"qr|scan|code|barcode", re.IGNORECASE)


class PictureKind(StrEnum):
    """Kinds that mail programs show."""

    PNG = "PNG"
    JPEG = "JPEG"
    GIF = "GIF"
    WEBP = "WEBP"
    BMP = "BMP"


@dataclass(frozen=True, slots=True)
class PictureSize:
    """A picture's kind and its pixels; 0 by 0 when its first octets do not tell."""

    kind: PictureKind
    width: int = 0
    height: int = 0

    @property
    def pixels(self) -> int:
        """How many it has."""
        return self.width * self.height


def picture_size(head: bytes) -> PictureSize | None:
    """The kind and size that `head` tells; None when it is no picture of these kinds."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PictureSize(PictureKind.PNG, *_unpack(">II", head, 16))
    if head.startswith(b"\xff\xd8\xff"):
        return PictureSize(PictureKind.JPEG, *_jpeg(head))
    if head.startswith((b"GIF87a", b"GIF89a")):
        return PictureSize(PictureKind.GIF, *_gif(head))
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return PictureSize(PictureKind.WEBP, *_webp(head))
    if head.startswith(b"BM") and len(head) >= 26:
        width, height = _bmp(head)
        return PictureSize(PictureKind.BMP, width, height) if width else None
    return None


def can_hold_code(size: PictureSize) -> bool:
    """Whether a picture has the size and shape for a code; of one whose size nobody can tell yet it is assumed."""
    if not size.pixels:
        return True  # its size is looked at again before it is decoded
    shorter, longer = sorted((size.width, size.height))
    return shorter >= SIDE and longer <= SHAPE * shorter


def code_rank(name: str, size: PictureSize, octets: int) -> tuple[bool, bool, float]:
    """Lower is likelier to hold a code: named like one; as broad as high; few octets a pixel, as flat drawings have and
    photographs have not."""
    shorter, longer = sorted((size.width, size.height))
    flat = octets / size.pixels if size.pixels else 1.0
    return (_NAMED.search(name) is None, not shorter or longer > _SQUARE * shorter, flat)


def _unpack(form: str, head: bytes, at: int) -> tuple[int, int]:
    try:
        first, second = struct.unpack_from(form, head, at)
    except struct.error:
        return 0, 0
    return abs(first), abs(second)


def _gif(head: bytes) -> tuple[int, int]:
    """The larger of the screen and the first picture: decoders make room for either."""
    screen = _unpack("<HH", head, 6)
    at = 13 + (3 << ((head[10] & 7) + 1) if len(head) > 10 and head[10] & 0x80 else 0)
    first = _unpack("<HH", head, at + 5) if head[at : at + 1] == b"," else (0, 0)
    return max(screen[0], first[0]), max(screen[1], first[1])


def _jpeg(head: bytes) -> tuple[int, int]:
    """The size in the frame header (ITU T.81 §B.2.2)."""
    at = 2
    for _ in range(SEGMENTS):
        at = head.find(b"\xff", at)
        if at < 0:
            break
        while head[at : at + 1] == b"\xff":
            at += 1
        marker = head[at] if at < len(head) else 0
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = _unpack(">HH", head, at + 4)
            return width, height
        if marker == 0xDA or at + 3 > len(head):
            break
        if marker not in (0x01, *range(0xD0, 0xD9)):
            at += max(2, int.from_bytes(head[at + 1 : at + 3], "big"))
        at += 1
    return 0, 0


def _webp(head: bytes) -> tuple[int, int]:
    kind = head[12:16]
    if kind == b"VP8X" and len(head) >= 30:
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L" and len(head) >= 25:
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = _unpack("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0


def _bmp(head: bytes) -> tuple[int, int]:
    """(0, 0) for what only begins with the same two letters."""
    size = int.from_bytes(head[14:18], "little")
    if size == 12:
        return _unpack("<HH", head, 18)
    return _unpack("<ii", head, 18) if 40 <= size <= 124 else (0, 0)
