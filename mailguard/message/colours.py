"""Colours as HTML and CSS write them, to red, green and blue from 0 to 255."""

from __future__ import annotations

import re

Colour = tuple[int, int, int]

NEAR = 20
"""Difference of each channel up to which a text cannot be told from its ground."""

_NAMES: dict[str, Colour] = {
    "white": (255, 255, 255),
    "snow": (255, 250, 250),
    "ivory": (255, 255, 240),
    "ghostwhite": (248, 248, 255),
    "whitesmoke": (245, 245, 245),
    "black": (0, 0, 0),
    "red": (255, 0, 0),
    "blue": (0, 0, 255),
    "navy": (0, 0, 128),
    "green": (0, 128, 0),
    "gray": (128, 128, 128),
    "grey": (128, 128, 128),
    "silver": (192, 192, 192),
    "lightgray": (211, 211, 211),
    "lightgrey": (211, 211, 211),
    "yellow": (255, 255, 0),
    "orange": (255, 165, 0),
}
_HEX = re.compile(r"#?([0-9a-f]{6}|[0-9a-f]{3})")
_RGB = re.compile(r"rgb\((\d{1,3}),(\d{1,3}),(\d{1,3})\)")


def colour_of(value: str) -> Colour | None:
    """The colour that `value` names: a hexadecimal one, rgb() or one of the usual names; None for any other."""
    text = "".join(value.lower().split())
    if text in _NAMES:
        return _NAMES[text]
    match = _HEX.fullmatch(text)
    if match:
        digits = match[1] if len(match[1]) == 6 else "".join(digit * 2 for digit in match[1])
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
    match = _RGB.fullmatch(text)
    if match:
        return min(int(match[1]), 255), min(int(match[2]), 255), min(int(match[3]), 255)
    return None


def near(one: Colour, other: Colour) -> bool:
    """Whether a reader cannot tell them apart."""
    return all(abs(a - b) <= NEAR for a, b in zip(one, other, strict=True))
