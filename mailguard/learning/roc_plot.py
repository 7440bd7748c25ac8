"""ROC curves as an SVG file: how much spam is caught, over how much ham is called spam, from 0.01 % to 100 % in powers of ten."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from mailguard.learning.statistics import RocPoint

WIDTH, HEIGHT = 720, 480
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 40, 56
DECADES = 4
"""The left end is 10^-DECADES."""
COLOURS = ("#1f5fa8", "#c2452d", "#2e8b57", "#8a5fb0", "#b8860b", "#444444")


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve: what it is of, and marks on it where thresholds of the policy are: (word, share of ham, share of spam)."""

    name: str
    points: Sequence[RocPoint]
    marks: Sequence[tuple[str, float, float]] = ()


def roc_svg(curves: Sequence[Curve], *, title: str = "") -> str:
    """An SVG 1.1 document of its own. A rate below the left end is drawn there: no ham called spam has no place on the axis."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="15">{escape(title)}</text>' if title else "",
        *_axes(),
    ]
    for number, curve in enumerate(curves):
        parts += _drawn(curve, COLOURS[number % len(COLOURS)], number, len(curves))
    return "\n".join(part for part in (*parts, "</svg>") if part) + "\n"


def _axes() -> list[str]:
    parts = []
    for decade in range(DECADES + 1):
        rate = 10.0 ** (decade - DECADES)
        x = _x(rate)
        parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{rate * 100:g} %</text>')
    for step in range(11):
        y = _y(step / 10)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#eee"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{step * 10} %</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - 14}" text-anchor="middle">ham called spam</text>')
    across = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text transform="translate(16 {across:.0f}) rotate(-90)" text-anchor="middle">spam caught</text>')
    return parts


def _drawn(curve: Curve, colour: str, number: int, count: int) -> list[str]:
    steps: list[str] = []
    for earlier, point in zip((None, *curve.points), curve.points, strict=False):
        # Within a tie nothing is known: the line between its ends is what guessing would give.
        if earlier is None or (_x(earlier.fpr), earlier.tpr) != (_x(point.fpr), point.tpr):
            steps.append(f"{_x(point.fpr):.1f},{_y(point.tpr):.1f}")
    y = HEIGHT - BOTTOM - 12 - 18 * (count - 1 - number)
    parts = [
        f'<polyline points="{" ".join(steps)}" fill="none" stroke="{colour}" stroke-width="1.8"/>',
        f'<line x1="{WIDTH - 230}" y1="{y - 4}" x2="{WIDTH - 206}" y2="{y - 4}" stroke="{colour}" stroke-width="2.5"/>',
        f'<text x="{WIDTH - 200}" y="{y}">{escape(curve.name)}</text>',
    ]
    for word, fpr, tpr in curve.marks:
        x, at = _x(fpr), _y(tpr)
        parts.append(f'<circle cx="{x:.1f}" cy="{at:.1f}" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{x + 7:.1f}" y="{at - 6:.1f}" fill="{colour}">{escape(word)}</text>')
    return parts


def _x(rate: float) -> float:
    decades = math.log10(max(rate, 10.0**-DECADES)) + DECADES
    return LEFT + decades / DECADES * (WIDTH - LEFT - RIGHT)


def _y(rate: float) -> float:
    return TOP + (1 - rate) * (HEIGHT - TOP - BOTTOM)
