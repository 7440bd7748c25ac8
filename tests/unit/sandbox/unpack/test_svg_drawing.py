"""Codes drawn in SVG, in each of the ways in which programs write them; what is none is none, and anything ends soon."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.checks.unpack_choice import can_hold
from mailguard.message.parse import parse
from mailguard.sandbox.codes import in_svg
from mailguard.sandbox.unpack.svg_drawing import drawn
from mailguard.sandbox.unpack.tree import tree
from tests.unit.checks.mail import packed
from tests.unit.checks.qr_mails import LINK, mail, modules

ROWS = modules(LINK)
N = len(ROWS)
CELLS = [(x, y) for y in range(N) for x in range(N) if ROWS[y][x]]
LIGHT = [(x, y) for y in range(N) for x in range(N) if not ROWS[y][x]]


def rows_of_dark() -> list[str]:
    """Runs of dark modules as steps of a path, through the middle of their rows."""
    steps = []
    for y, row in enumerate(ROWS):
        x = 0
        while x < N:
            end = x
            while end < N and row[end]:
                end += 1
            if end > x:
                steps.append(f"M{x} {y}.5h{end - x}")
            x = end + 1
    return steps


WAYS = {
    "rectangles on a ground": '<rect width="100%" height="100%" fill="#fff"/><g fill="#000">'
    + "".join(f'<rect x="{x}" y="{y}" width="1" height="1"/>' for x, y in CELLS)
    + "</g>",
    "in millimetres": "".join(f'<rect x="{x}mm" y="{y}mm" width="1mm" height="1mm"/>' for x, y in CELLS),
    "one path": '<path fill="#FFFFFF" d="M-4 -4h50v50H-4z"/><path d="'
    + " ".join(f"M{x},{y}h1v1h-1z" for x, y in CELLS)
    + '" fill="#000000"/>',
    "lines": f'<path transform="scale(4)" stroke="#000" fill="none" d="{"".join(rows_of_dark())}"/>',
    "used again": '<defs><rect id="p" width="10" height="10"/></defs><g transform="translate(5,5)">'
    + "".join(f'<use x="{x * 10}" y="{y * 10}" xlink:href="#p"/>' for x, y in CELLS)
    + "</g>",
    "circles": '<g style="fill:#123">' + "".join(f'<circle cx="{x}.5" cy="{y}.5" r=".5"/>' for x, y in CELLS) + "</g>",
    "light on dark": f'<rect width="{N}" height="{N}" style="fill:#000000"/>'
    + "".join(f'<rect x="{x}" y="{y}" width="1" height="1" style="fill:#ffffff;stroke:none"/>' for x, y in LIGHT),
    "polygons": "".join(f'<polygon points="{x},{y} {x + 1},{y} {x + 1},{y + 1} {x},{y + 1}"/>' for x, y in CELLS),
}


def svg(inside: str) -> bytes:
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 99 99">{inside}</svg>'.encode()


@pytest.mark.parametrize("way", WAYS)
def test_codes_are_read(way: str) -> None:
    assert in_svg(svg(WAYS[way])) == [LINK]


def test_rings_have_holes() -> None:
    """The outlines of whole shapes, as programs write them that join modules."""
    ring = "M0 0h7v7h-7z M1 1v5h5v-5z M2 2h3v3h-3z"
    rest = " ".join(
        f"M{x},{y}h1v1h-1z" for x, y in CELLS if not ((x < 7 or (y < 7 and x >= N - 7)) and min(y, N - 1 - y) < 7)
    )
    rings = "".join(f'<path transform="translate({x} {y})" d="{ring}"/>' for x, y in ((0, 0), (N - 7, 0), (0, N - 7)))
    assert in_svg(svg(f'{rings}<path d="{rest}"/>')) == [LINK]


def test_they_are_told_of_attached_ones_and_of_those_within_files() -> None:
    raw = svg(WAYS["one path"])
    for name, file, path in (("a.svg", raw, "a.svg"), ("a.zip", packed(b_svg=raw), "a.zip/b.svg")):
        answer = tree(file, {"name": name}).value
        assert isinstance(answer, dict)
        assert [path, LINK, "qr"] in answer["links"]  # type: ignore[operator]
    part = next(parse(mail(("a.svg", raw))).attachments)
    assert can_hold(part)


def test_a_drawing_is_no_code() -> None:
    logo = "".join(f'<path d="M{x} {x}C1 2 3 4 5 6z" fill="red"/>' for x in range(99))
    assert in_svg(svg(logo)) == []
    assert drawn(svg("<text>Hello</text>")) is None


@pytest.mark.parametrize(
    "piece",
    ["<rect x='1e6' width='1e9' height='1'/>", "<path d='M0 0h9v9z M1 1h3v3h-3z'/>", "<g transform='scale(9)'>", "<use href='#a'/>",
     "<path stroke='#000' d='M0 0 L9 9 L1 5'/>", "<rect id='a' width='3' height='4'/>", "<path d='", "M0 0h1v1", "fill='", "<g "],
)  # fmt: skip
def test_what_is_made_to_take_long_ends(piece: str) -> None:
    raw = svg(piece * (1_000_000 // len(piece)))
    started = time.process_time()
    in_svg(raw)
    assert time.process_time() - started < 1.0


@given(
    st.lists(
        st.sampled_from([*"MmLlHhVvZz0123456789 .-e,", "<rect ", "<path d='", "'/>", "width='", "<g transform='scale("])
    )
)
def test_anything_ends(pieces: list[str]) -> None:
    drawn(svg("<rect width='1' height='1'/>" * 60 + "<path d='M0 0h1" + "".join(pieces)))
