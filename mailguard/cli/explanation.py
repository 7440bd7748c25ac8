"""Why a mail scored what it did: each symbol with its points, what it was seen in, and the page that explains it; never only a number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mailguard.cli.terminal import safe, say
from mailguard.core.verdict import ScoredSymbol

if TYPE_CHECKING:
    from mailguard.cli.context import Cli
    from mailguard.core.verdict import CheckResult
    from mailguard.policy.profile import Threshold
    from mailguard.store.trace import TracedUnit

EVIDENCE_LIMIT = 300
"""Characters of one piece of evidence that are shown."""
PIECES_LIMIT = 10
"""Pieces of evidence of one symbol that are shown."""

_DOCS = Path(__file__).parents[2] / "docs"
_PAGES: Mapping[str, str] = {"learned": "learning.md"}
"""Pages of checks that do not have theirs in docs/checks."""
_HEADING = re.compile(r"^#+\s+(.+?)\s*$|<a (?:id|name)=\"([^\"]+)\"", re.MULTILINE)


def explain_symbols(
    symbols: Iterable[ScoredSymbol], *, indent: str = "  ", unknown: frozenset[str] = frozenset()
) -> None:
    """Print each symbol, the weightiest first. Of those named in `unknown` it was not recorded what they were seen in."""
    for symbol in sorted(symbols, key=lambda symbol: (-abs(symbol.points), symbol.name)):
        what = f": {symbol.description}" if symbol.description else ""
        say(f"{indent}{symbol.points:+6.2f}  {symbol.name}{what}", style="bold" if symbol.points else "")
        for piece in symbol.evidence[:PIECES_LIMIT]:
            say(f"{indent}          {safe(piece, limit=EVIDENCE_LIMIT)}")
        if len(symbol.evidence) > PIECES_LIMIT:
            say(f"{indent}          and {len(symbol.evidence) - PIECES_LIMIT} more")
        if symbol.name in unknown:
            say(f"{indent}          (what it was seen in is not recorded)")
        elif page := page_of(symbol.check, symbol.name):
            say(f"{indent}          → {page}")


def page_of(check: str, symbol: str) -> str:
    """The page of the documentation that explains a symbol of a check, at the symbol's own heading when it has one."""
    if not check:
        return ""
    page = _PAGES.get(check, f"checks/{check}.md")
    anchor = symbol.lower()
    return f"docs/{page}#{anchor}" if anchor in _anchors(page) else f"docs/{page}"


@cache
def _anchors(page: str) -> frozenset[str]:
    """The anchors of a page, as they are made of its headings; none when the documentation is not installed here."""
    try:
        text = (_DOCS / page).read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    return frozenset(
        name or re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-").lower()
        for heading, name in _HEADING.findall(text)
    )


def margins(score: float, thresholds: Sequence[Threshold]) -> str:
    """How far a score is from what it did and did not reach: `6.2: 1.2 over tag (5), 1.8 under quarantine (8)`."""
    reached = [threshold for threshold in thresholds if score >= threshold.score]
    missed = [threshold for threshold in thresholds if score < threshold.score]
    parts = []
    if reached:
        highest = max(reached, key=lambda threshold: threshold.score)
        parts.append(f"{_plain(score - highest.score)} over {highest.action} ({highest.score:g})")
    if missed:
        following = min(missed, key=lambda threshold: threshold.score)
        parts.append(f"{_plain(following.score - score)} under {following.action} ({following.score:g})")
    return _plain(score) + (f": {', '.join(parts)}" if parts else "")


def _plain(points: float) -> str:
    return f"{round(points, 3):g}"


def recorded_symbols(unit: TracedUnit) -> tuple[list[ScoredSymbol], frozenset[str]]:
    """The symbols of a recorded mail with what they were seen in, and the names of those of which that was not recorded."""
    seen: dict[str, ScoredSymbol] = {}
    points = dict(unit.symbols)
    for result in (*unit.findings.results, *unit.found):
        _take(result, points, seen)
    unknown = frozenset(points.keys() - seen.keys())
    return [seen.get(name) or ScoredSymbol(name, value) for name, value in points.items()], unknown


def _take(result: CheckResult, points: Mapping[str, float], seen: dict[str, ScoredSymbol]) -> None:
    for symbol in result.symbols:
        if symbol.name not in points:
            continue
        earlier = seen.get(symbol.name)
        # Several of one name: the gravest counted, but all of them were seen.
        evidence = (*(earlier.evidence if earlier else ()), *symbol.evidence)
        seen[symbol.name] = ScoredSymbol(
            symbol.name,
            points[symbol.name],
            symbol.description or (earlier.description if earlier else ""),
            tuple(dict.fromkeys(evidence)),
            result.check,
        )


class Profiles:
    """The thresholds of the profiles that mail was decided by, as far as these are still what they were."""

    def __init__(self, cli: Cli) -> None:
        self._cli = cli
        self._thresholds: dict[str, tuple[Threshold, ...]] | None = None

    def margins(self, unit: TracedUnit) -> str:
        """How far the unit's score was from the next action, or that its profile has changed since."""
        if self._thresholds is None:
            self._thresholds = self._read()
        thresholds = self._thresholds.get(unit.policy_hash)
        if thresholds is not None:
            return margins(unit.score, thresholds)
        changed = (
            f" (profile {unit.policy} has changed since; its thresholds of then are not kept)" if unit.policy else ""
        )
        return f"{_plain(unit.score)}{changed}"

    def _read(self) -> dict[str, tuple[Threshold, ...]]:
        from mailguard.core.errors import ConfigError
        from mailguard.policy.files import PolicyFiles

        files = PolicyFiles(self._cli.settings.policies.path)
        try:
            files.load()
        except ConfigError:
            return {}  # what is wrong with them is `mailguard policy check`'s to say
        return {files.find(name).hash: files.find(name).thresholds for name in files.names}
