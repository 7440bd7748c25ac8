"""Teaching from the command line: mail as it is kept, or a copy of it, to the tenants whose it is; and how that is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.core.errors import NotFoundError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.cli.context import Cli
    from mailguard.learning.lessons import Result, Teaching
    from mailguard.store.lessons import Source
    from mailguard.store.trace import TracedUnit

Learn = Annotated[
    bool,
    typer.Option("--learn/--no-learn", help="Teach it to its tenant, so that mail like it is judged so from now on."),
]

BATCH = 100
"""Lessons that one transaction teaches, so that the relay's writes never wait for long."""

SENTENCES = {
    "known": "taught so already",
    "overruled": "not taught: an admin has taught otherwise",
    "limit": "not taught: enough was taught today; see `mailguard lessons list`",
    "nothing": "not taught: neither its content nor its sender is known",
    "probe": "not taught: a mail of `mailguard probe`",
}


def teach_units(
    cli: Cli,
    units: Sequence[TracedUnit],
    *,
    spam: bool,
    source: Source,
    actor: str,
    why: str = "",
    copies: Mapping[str, bytes] | None = None,
) -> dict[str, Result]:
    """Teach of these units; what came of each, by its id. Those whose message is not kept, nor copied, are left out.

    Of a message with several recipients of a tenant one lesson is made, and told for all of them. `copies` are mails as they
    came in, by our message id.
    """
    from mailguard.app.learning import scale
    from mailguard.learning.lessons import teach

    first: dict[tuple[int, str], TracedUnit] = {}
    for unit in units:
        first.setdefault((unit.tenant, unit.message), unit)
    teachings = _read(cli, list(first.values()), spam=spam, copies=copies or {})
    found: dict[str, Result] = {}
    for start in range(0, len(teachings), BATCH):
        batch = teachings[start : start + BATCH]

        def work(conn: Connection, batch: Sequence[Teaching] = batch) -> list[Result]:
            return teach(conn, batch, source=source, teacher=actor, now=cli.now(conn), scale=scale(), why=why)

        found.update((result.unit, result) for result in cli.write(work))
    told = {key: found[unit.id] for key, unit in first.items() if unit.id in found}
    return {
        unit.id: replace(told[unit.tenant, unit.message], unit=unit.id)
        for unit in units
        if (unit.tenant, unit.message) in told
    }


def sentence(result: Result | None, *, asked: bool = True) -> str:
    """What a lesson did, for people: `mail like it goes from 7.2 to 3.1`. Empty when there was none.

    Unless it was `asked` to teach, nothing is said of mail that there is nothing to be learned from.
    """
    if result is None or (result.outcome == "nothing" and not asked):
        return ""
    if result.outcome != "learned":
        return SENTENCES[result.outcome]
    if result.before == result.after:
        return f"mail like it stays at {result.after:.1f}"
    return f"mail like it goes from {result.before:.1f} to {result.after:.1f}"


def lesson_json(result: Result | None) -> dict[str, object] | None:
    """The same for `--json`."""
    if result is None:
        return None
    return {
        "outcome": result.outcome,
        "lesson": result.lesson or None,
        "score_before": result.before,
        "score_after": result.after,
    }


def _read(cli: Cli, units: Sequence[TracedUnit], *, spam: bool, copies: Mapping[str, bytes]) -> list[Teaching]:
    from mailguard.learning.lessons import Teaching
    from mailguard.learning.reading import read_example
    from mailguard.learning.scale import without_learned

    teachings = []
    for unit in units:
        content = copies.get(unit.message)
        if content is None:
            try:
                content = cli.blobs.get(unit.message)
            except NotFoundError:
                continue
        read = read_example(content, unit.findings)
        score = without_learned(unit.score, unit.symbols)
        teachings.append(Teaching(unit.tenant, unit.id, spam, score, read.example, read.features, unit.probe))
    return teachings
