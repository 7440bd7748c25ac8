"""SVG pictures in which a code may be drawn, as pixels: rectangles, circles, paths of straight lines, and what is used again.

No more of SVG than programs that write codes use: curves, gradients, styles by class and rotations are passed over.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from PIL import Image, ImageChops, ImageDraw

from mailguard.message.colours import colour_of

ELEMENTS = 20_000
"""Elements that are drawn."""
STEPS = 100_000
"""Steps of paths that are drawn."""
LEAST = 60
"""Shapes, or steps of paths, below which nothing is a code."""
SIDE = 800
"""Pixels of the longer side."""
SECONDS = 0.3
"""CPU time that reading and drawing take at most; a code takes some 0.01 s."""
SOURCE = 1024 * 1024
"""Octets that are read."""

Point = tuple[float, float]

_ELEMENT = re.compile(rb"<(/?)(?:svg:)?(svg|g|rect|circle|path|polygon|use|symbol|defs)\b([^<>]*+)>", re.IGNORECASE)
_ATTRIBUTE = re.compile(rb"([\w:-]{1,40}+)\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)')")
_STYLED = re.compile(rb"(?:^|;)\s*(fill|stroke|stroke-width)\s*:\s*([^;]{1,40})")
_NUMBER = re.compile(rb"[-+]?(?:\d++\.?+\d*+|\.\d++)(?:[eE][-+]?\d{1,3})?")
_TOKEN = re.compile(rb"[A-Za-z]|[-+]?(?:\d++\.?+\d*+|\.\d++)(?:[eE][-+]?\d{1,3})?")
_TRANSFORM = re.compile(rb"(translate|scale|matrix)\s*\(([^()]{1,120})\)")
_PER_STEP = {"M": 2, "L": 2, "H": 1, "V": 1, "Z": 0, "C": 6, "S": 4, "Q": 4, "T": 2, "A": 7}
_LARGE = 1e6


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where things are drawn, and how: x → x * across + right, y → y * down + under."""

    across: float = 1.0
    down: float = 1.0
    right: float = 0.0
    under: float = 0.0
    fill: bytes = b"black"
    stroke: bytes = b"none"
    width: float = 1.0

    def at(self, point: Point) -> Point:
        """A point of the picture."""
        return point[0] * self.across + self.right, point[1] * self.down + self.under


@dataclass(frozen=True, slots=True)
class _Shape:
    """Outlines, of which those within others are holes, and whether they are dark."""

    outlines: tuple[tuple[Point, ...], ...]
    dark: bool


def drawn(raw: bytes, seconds: float = SECONDS) -> Image.Image | None:
    """The picture in shades of grey on white, as far as it is drawn in `seconds` of CPU; None when there is too little in it for a code."""
    until = time.process_time() + seconds
    raw = raw[:SOURCE]
    if len(_TOKEN.findall(raw[: 64 * 1024])) < LEAST:
        return None
    shapes = []
    for shape in _shapes(raw):
        if time.process_time() > until:
            break
        if shape.outlines:
            shapes.append(shape)
    points = [point for shape in shapes for outline in shape.outlines for point in outline]
    if len(points) < 2 * LEAST:
        return None
    left, top = (min(point[axis] for point in points) for axis in (0, 1))
    right, bottom = (max(point[axis] for point in points) for axis in (0, 1))
    longer = max(right - left, bottom - top)
    if not 0 < longer < _LARGE or min(right - left, bottom - top) * 6 < longer:
        return None
    scale, margin = SIDE / longer, SIDE // 10
    size = (int((right - left) * scale) + 1 + 2 * margin, int((bottom - top) * scale) + 1 + 2 * margin)
    picture = Image.new("L", size, 255)
    for shape in shapes:
        colour = 0 if shape.dark else 255
        moved = [
            [(round((x - left) * scale) + margin, round((y - top) * scale) + margin) for x, y in outline]
            for outline in shape.outlines
        ]
        if len(moved) == 1:
            _fill(picture, moved[0], colour)
        elif moved:
            _fill_between(picture, moved, colour, until)
        if time.process_time() > until:
            break
    return picture


def _fill(picture: Image.Image, outline: Sequence[tuple[int, int]], colour: int) -> None:
    box = _around(outline)
    pen = ImageDraw.Draw(picture)
    if box[2] > box[0] and box[3] > box[1]:
        if _is_box(outline, box):
            pen.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=colour)
        else:
            pen.polygon(outline, fill=colour)


def _around(outline: Sequence[tuple[int, int]]) -> tuple[int, int, int, int]:
    xs, ys = [x for x, _ in outline], [y for _, y in outline]
    return min(xs), min(ys), max(xs), max(ys)


def _is_box(outline: Sequence[tuple[int, int]], box: tuple[int, int, int, int]) -> bool:
    return all(x in (box[0], box[2]) and y in (box[1], box[3]) for x, y in outline)


def _fill_between(
    picture: Image.Image, outlines: Sequence[Sequence[tuple[int, int]]], colour: int, until: float
) -> None:
    """Fill what lies within an odd number of outlines: what lies within two is a hole."""
    around = _around([point for outline in outlines for point in outline])
    if around[0] == around[2] or around[1] == around[3]:
        return
    mask = Image.new("1", (around[2] - around[0], around[3] - around[1]), 0)
    for outline in outlines:
        box = _around(outline)
        if box[0] == box[2] or box[1] == box[3]:
            continue
        if time.process_time() > until:
            break
        within = Image.new("1", (box[2] - box[0], box[3] - box[1]), 0)
        pen = ImageDraw.Draw(within)
        if _is_box(outline, box):
            pen.rectangle((0, 0, *within.size), fill=1)
        else:
            pen.polygon([(x - box[0], y - box[1]) for x, y in outline], fill=1)
        there = (box[0] - around[0], box[1] - around[1], box[2] - around[0], box[3] - around[1])
        mask.paste(ImageChops.logical_xor(mask.crop(there), within), there)
    picture.paste(colour, (around[0], around[1]), mask)


def _shapes(raw: bytes) -> Iterator[_Shape]:
    frames = [_Frame()]
    named: dict[bytes, tuple[bytes, dict[bytes, bytes]]] = {}
    left = STEPS
    for count, match in enumerate(_ELEMENT.finditer(raw)):
        if count >= ELEMENTS or left <= 0:
            return
        name = match[2].lower()
        if match[1]:
            if name in _GROUPS and len(frames) > 1:
                frames.pop()
            continue
        attributes = {key.lower(): first or second for key, first, second in _ATTRIBUTE.findall(match[3])}
        frame = _framed(frames[-1], attributes)
        if name in _GROUPS:
            if not match[3].rstrip().endswith(b"/"):
                frames.append(frame)
            continue
        if b"id" in attributes:
            named[attributes[b"id"]] = name, attributes
        if name == b"use":
            used = attributes.get(b"href") or attributes.get(b"xlink:href") or b""
            name, of = named.get(used[1:], (b"", {}))
            moved = frame.at((_value(attributes, b"x"), _value(attributes, b"y")))
            frame = _framed(replace(frame, right=moved[0], under=moved[1]), of)
            attributes = of
        for shape in _shape(name, attributes, frame):
            left -= sum(map(len, shape.outlines))
            yield shape


_GROUPS = (b"svg", b"g", b"symbol", b"defs")


def _shape(name: bytes, attributes: dict[bytes, bytes], frame: _Frame) -> Iterator[_Shape]:
    outlines: list[Sequence[Point]] = []
    if name == b"rect":
        x, y, width, height = (_value(attributes, key) for key in (b"x", b"y", b"width", b"height"))
        outlines = [_box(x, y, x + width, y + height)]
    elif name == b"circle":
        x, y, radius = (_value(attributes, key) for key in (b"cx", b"cy", b"r"))
        outlines = [_box(x - radius, y - radius, x + radius, y + radius)]
    elif name == b"polygon":
        numbers = [float(one) for one in _NUMBER.findall(attributes.get(b"points", b""))[:STEPS]]
        outlines = [list(zip(numbers[::2], numbers[1::2], strict=False))]
    elif name == b"path":
        outlines = list(_outlines(attributes.get(b"d", b"")))
    if frame.fill not in _NOTHING:
        yield _Shape(tuple(tuple(map(frame.at, one)) for one in outlines if len(one) > 2), _is_dark(frame.fill))
    if name == b"path" and frame.stroke not in _NOTHING:
        for one in outlines:
            for line in itertools.pairwise(one):
                yield _Shape((tuple(map(frame.at, _stroke(*line, frame.width / 2))),), _is_dark(frame.stroke))


_NOTHING = (b"none", b"transparent")


def _box(left: float, top: float, right: float, bottom: float) -> list[Point]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _stroke(start: Point, end: Point, half: float) -> list[Point]:
    """The rectangle that an upright or level line is, as programs draw a row of modules by."""
    (x, y), (to_x, to_y) = sorted((start, end))
    if x == to_x:
        return _box(x - half, min(y, to_y), x + half, max(y, to_y))
    return _box(x, y - half, to_x, to_y + half)


def _value(attributes: dict[bytes, bytes], key: bytes) -> float:
    match = _NUMBER.match(attributes.get(key, b"").strip())
    value = attributes.get(key, b"")
    return max(-_LARGE, min(_LARGE, float(match[0]))) if match and not value.rstrip().endswith(b"%") else 0.0


def _framed(frame: _Frame, attributes: dict[bytes, bytes]) -> _Frame:
    """What an element changes of how it is drawn."""
    said = {key: value.strip() for key, value in _STYLED.findall(attributes.get(b"style", b""))}
    said = {key: attributes[key] for key in (b"fill", b"stroke", b"stroke-width") if key in attributes} | said
    width = _NUMBER.match(said.get(b"stroke-width", b""))
    frame = replace(
        frame,
        fill=said.get(b"fill", frame.fill),
        stroke=said.get(b"stroke", frame.stroke),
        width=float(width[0]) if width else frame.width,
    )
    for kind, inside in _TRANSFORM.findall(attributes.get(b"transform", b""))[:8]:
        numbers = [float(one) for one in _NUMBER.findall(inside)]
        if kind == b"translate" and numbers:
            right, under = frame.at((numbers[0], numbers[1] if len(numbers) > 1 else 0.0))
            frame = replace(frame, right=right, under=under)
        elif kind == b"scale" and numbers:
            frame = replace(frame, across=frame.across * numbers[0], down=frame.down * numbers[-1])
        elif kind == b"matrix" and len(numbers) == 6:
            right, under = frame.at((numbers[4], numbers[5]))
            across, down = frame.across * numbers[0], frame.down * numbers[3]
            frame = replace(frame, across=across, down=down, right=right, under=under)
    return frame


def _is_dark(colour: bytes) -> bool:
    known = colour_of(colour.decode("latin-1"))
    return known is None or sum(known) < 3 * 128


def _outlines(path: bytes) -> Iterator[list[Point]]:
    """The outlines of a path; of curves the ends (SVG 2 §9.3)."""
    tokens = _TOKEN.findall(path)[:STEPS]
    at, command = 0, ""
    x = y = 0.0
    start = (x, y)
    outline: list[Point] = []
    while at < len(tokens):
        if tokens[at].isalpha():
            command, at = tokens[at].decode("ascii"), at + 1
        kind, relative = command.upper(), command.islower()
        needed = _PER_STEP.get(kind)
        if needed is None:
            return
        step = tokens[at : at + needed]
        if len(step) < needed or any(one.isalpha() for one in step):
            return
        numbers = [float(one) for one in step]
        at += needed
        if kind == "Z":
            yield [*outline, start]
            (x, y), outline = start, [start]
            command = ""
            continue
        if kind == "H":
            x = numbers[0] + (x if relative else 0)
        elif kind == "V":
            y = numbers[0] + (y if relative else 0)
        else:
            x, y = numbers[-2] + (x if relative else 0), numbers[-1] + (y if relative else 0)
        if kind == "M":
            if len(outline) > 1:
                yield outline
            start, outline = (x, y), []
            command = "l" if relative else "L"
        if abs(x) > _LARGE or abs(y) > _LARGE:
            return
        outline.append((x, y))
    if len(outline) > 1:
        yield outline
