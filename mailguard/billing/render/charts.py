"""Charts as SVG: bars over days, rankings, and promises kept or missed. Every text is escaped; colours are by class.

In a page the classes get their colours from its style sheet, light or dark; `standalone` gives them those of paper.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from mailguard.billing.render.text import plain
from mailguard.billing.render.xml import Element, fragment

WIDTH = 640
"""Units of a chart's width, which a page stretches to its own."""

_PAPER = (
    "text{font-family:'Noto Sans','Noto Sans Arabic','Droid Sans Fallback';font-size:12px;fill:#1c2429}"
    ".quiet{fill:#5b6770}.grid{stroke:#c9d1d6;stroke-width:1}.good{fill:#0b5563}.bad{fill:#c2571a}.track{fill:#e6ebee}"
    ".mark{fill:none;stroke:#ffffff;stroke-width:2}"
)
_ROW = 26
_LABEL = 250
_LABEL_WIDTH = 36


@dataclass(frozen=True, slots=True)
class Bar:
    """A day: its label on the axis (may be empty), what it is called in full, and its two parts, the good one below."""

    label: str
    title: str
    good: int
    bad: int


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a ranking: the length of its bar, and the words behind it."""

    label: str
    value: float
    shown: str
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Promise:
    """What was promised, what was measured, and whether it was kept."""

    label: str
    target: str
    measured: str
    kept: bool


def standalone(chart: Element) -> str:
    """The chart as an SVG file in the colours of paper."""
    style = Element("style", text=_PAPER)
    root = Element(chart.name, [style, *chart.children], attributes=chart.attributes)
    return fragment(root)


def days_chart(bars: Sequence[Bar], *, title: str, good: str, bad: str) -> Element:
    """Stacked bars, one a day, with a scale of round numbers and a legend of the two parts."""
    height, top, bottom, left = 240, 34, 26, 52
    step = _round_step(max((bar.good + bar.bad for bar in bars), default=0))
    highest = step * max(1, -(-max((bar.good + bar.bad for bar in bars), default=0) // step))
    span = height - top - bottom

    def y(value: float) -> float:
        return top + span * (1 - value / highest)

    parts: list[Element | None] = [*_legend(left, good, bad)]
    for value in range(0, highest + 1, step):
        parts.append(_line(left, y(value), WIDTH, y(value)))
        parts.append(_text(left - 8, y(value) + 4, f"{value:,}", anchor="end", quiet=True))
    slot = (WIDTH - left) / max(1, len(bars))
    for number, bar in enumerate(bars):
        x, width = left + slot * number + slot * 0.14, slot * 0.72
        pieces = [
            _rect(x, y(bar.good), width, y(0) - y(bar.good), "good") if bar.good else None,
            _rect(x, y(bar.good + bar.bad), width, y(bar.good) - y(bar.good + bar.bad), "bad") if bar.bad else None,
        ]
        words = f"{bar.title}: {bar.good:,} {good.lower()}, {bar.bad:,} {bad.lower()}"
        parts.append(Element("g", [Element("title", text=words), *pieces]))
        if bar.label:
            parts.append(_text(x + width / 2, height - 8, bar.label, anchor="middle", quiet=True))
    return _svg(height, title, parts)


def ranking_chart(rows: Sequence[Row], *, title: str) -> Element:
    """Horizontal bars, as they come, each with its label before it and its value behind it."""
    highest = max((row.value for row in rows), default=0) or 1
    room = WIDTH - _LABEL - 110
    parts: list[Element | None] = []
    for number, row in enumerate(rows):
        y = number * _ROW
        length = max(2.0, room * row.value / highest) if row.value > 0 else 0.0
        parts.append(
            Element(
                "g",
                [
                    Element("title", text=f"{plain(row.label, limit=300)}: {row.shown}"),
                    _text(_LABEL - 10, y + 17, _short(row.label), anchor="end"),
                    _rect(_LABEL, y + 5, length, _ROW - 10, "bad" if row.bad else "good"),
                    _text(_LABEL + length + 8, y + 17, row.shown, quiet=True),
                ],
            )
        )
    return _svg(max(1, len(rows)) * _ROW + 4, title, parts)


def promises_chart(promises: Sequence[Promise], *, title: str) -> Element:
    """A row for each promise: a tick or a cross, what was measured, and what was promised."""
    parts: list[Element | None] = []
    for number, promise in enumerate(promises):
        y = number * (_ROW + 4) + 15
        mark = f"M8 {y} l4 4 l7 -8" if promise.kept else f"M9 {y - 5} l10 10 m0 -10 l-10 10"
        parts += [
            Element(
                "circle", attributes={"cx": "14", "cy": str(y), "r": "11", "class": "good" if promise.kept else "bad"}
            ),
            Element("path", attributes={"d": mark, "class": "mark"}),
            _text(36, y + 4, _short(promise.label, width=44)),
            _text(400, y + 4, f"{promise.measured}", anchor="end"),
            _text(416, y + 4, f"promised {promise.target}", quiet=True),
            _text(WIDTH, y + 4, "kept" if promise.kept else "missed", anchor="end"),
        ]
    return _svg(max(1, len(promises)) * (_ROW + 4) + 2, title, parts)


def _svg(height: float, title: str, parts: Sequence[Element | None]) -> Element:
    return Element(
        "svg",
        [Element("title", text=title), *parts],
        attributes={
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {WIDTH} {height:g}",
            "role": "img",
            "aria-label": title,
        },
    )


def _legend(x: float, good: str, bad: str) -> list[Element]:
    return [
        _rect(x, 4, 12, 12, "good"),
        _text(x + 18, 14, good),
        _rect(x + 170, 4, 12, 12, "bad"),
        _text(x + 188, 14, bad),
    ]


def _rect(x: float, y: float, width: float, height: float, kind: str) -> Element:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{width:.1f}", "height": f"{max(height, 0.5):.1f}"}
    return Element("rect", attributes={**place, "rx": "2", "class": kind})


def _line(x1: float, y1: float, x2: float, y2: float) -> Element:
    ends = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    return Element("line", attributes={**ends, "class": "grid"})


def _text(x: float, y: float, words: str, *, anchor: str = "start", quiet: bool = False) -> Element:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor}
    return Element("text", text=plain(words), attributes={**place, "class": "quiet"} if quiet else place)


def _short(label: str, *, width: int = _LABEL_WIDTH) -> str:
    """A label that fits its column: wide letters (UAX #11) count twice."""
    kept, used = "", 0
    label = plain(label, limit=300)
    for character in label:
        used += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if used > width:
            return kept[:-1].rstrip() + "…"
        kept += character
    return kept


def _round_step(highest: int) -> int:
    """1, 2 or 5 times a power of ten, of which two to five reach `highest`."""
    step = 1
    while True:
        for factor in (1, 2, 5):
            if highest <= factor * step * 5:
                return factor * step
        step *= 10
