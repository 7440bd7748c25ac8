"""A curve as an SVG file: something that grows to the right, what it costs upwards, both in powers of ten."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 76, 24, 44, 56
COLOURS = ("#1f5fa8", "#c2452d", "#2e8b57", "#8a5fb0", "#b07a1f")
Points = Sequence[tuple[float, float]]


def curve_svg(lines: Mapping[str, Points], *, title: str, across: str, up: str) -> str:
    """An SVG 1.1 document. Values must be above 0: there is no 0 on such an axis. Raises ValueError for others, or none."""
    points = [point for line in lines.values() for point in line]
    if not points or any(x <= 0 or y <= 0 for x, y in points):
        raise ValueError("a curve needs points, with values above 0")
    left, right = _decades([x for x, _ in points])
    low, high = _decades([y for _, y in points])

    def x(value: float) -> float:
        return LEFT + (math.log10(value) - left) / (right - left) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (math.log10(value) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="15">{escape(title)}</text>',
    ]
    for decade in range(left, right + 1):
        at = x(10.0**decade)
        parts.append(f'<line x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{_number(decade)}</text>')
    for decade in range(low, high + 1):
        at = y(10.0**decade)
        parts.append(f'<line x1="{LEFT}" y1="{at:.1f}" x2="{WIDTH - RIGHT}" y2="{at:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{_number(decade)}</text>')
    middle, centre = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - 14}" text-anchor="middle">{escape(across)}</text>')
    parts.append(f'<text transform="translate(16 {centre:.0f}) rotate(-90)" text-anchor="middle">{escape(up)}</text>')
    apart = min(150.0, (WIDTH - LEFT - 8) / len(lines))
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        drawn = " ".join(f"{x(value):.1f},{y(cost):.1f}" for value, cost in line)
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        parts += [f'<circle cx="{x(value):.1f}" cy="{y(cost):.1f}" r="3" fill="{colour}"/>' for value, cost in line]
        parts.append(f'<text x="{LEFT + 8 + apart * number:.0f}" y="{TOP - 6}" fill="{colour}">{escape(name)}</text>')
    return "\n".join((*parts, "</svg>")) + "\n"


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten around the values, two at least."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _number(decade: int) -> str:
    return f"{10**decade:,}" if decade >= 0 else f"{10.0**decade:g}"
