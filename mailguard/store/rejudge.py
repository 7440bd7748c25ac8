"""What a new scan of held mail needs and changes: how the message came in, and what was found and decided the second time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select, update

from mailguard.core.decision import Decision
from mailguard.core.edits import Edit
from mailguard.core.envelope import Session
from mailguard.core.errors import NotFoundError
from mailguard.core.verdict import CheckResult, Findings, ScoredSymbol
from mailguard.store.file_index import replace_files_in
from mailguard.store.findings import findings_to_json, results_to_json
from mailguard.store.schema import messages, units
from mailguard.store.texts import clean, edits_to_json, to_json


@dataclass(frozen=True, slots=True)
class Rejudged:
    """A unit as the new scan sees it; `headers` is the block that goes on top from now on."""

    unit: str
    decision: Decision
    score: float
    symbols: Sequence[ScoredSymbol]
    headers: str
    found: Sequence[CheckResult] = ()
    edits: Sequence[Edit] = ()


def session_in(connection: Connection, message: str) -> Session:
    """The session that a message came in by, as far as it was recorded. Raises NotFoundError."""
    columns = (messages.c.client_ip, messages.c.helo, messages.c.tls)
    row = connection.execute(select(*columns).where(messages.c.id == message)).one_or_none()
    if row is None:
        raise NotFoundError(f"no such mail: {message}")
    return Session(message, row.client_ip, helo=row.helo, esmtp=True, tls=row.tls)


def rejudge_in(connection: Connection, message: str, findings: Findings, rejudged: Sequence[Rejudged]) -> None:
    """Put the new findings and decisions in place of the old ones; the events keep what was decided before."""
    connection.execute(update(messages).where(messages.c.id == message).values(findings=findings_to_json(findings)))
    replace_files_in(connection, message, findings)
    statement = (
        update(units)
        .where(units.c.id == bindparam("unit"))
        .values(
            action=bindparam("new_action"),
            score=bindparam("new_score"),
            policy=bindparam("new_policy"),
            policy_hash=bindparam("new_hash"),
            explanation=bindparam("new_explanation"),
            symbols=bindparam("new_symbols"),
            found=bindparam("new_found"),
            headers=bindparam("new_headers"),
            subject_tag=bindparam("new_tag"),
            edits=bindparam("new_edits"),
        )
    )
    connection.execute(
        statement,
        [
            {
                "unit": one.unit,
                "new_action": one.decision.action.value,
                "new_score": one.score,
                "new_policy": clean(one.decision.policy, 64),
                "new_hash": one.decision.policy_hash,
                "new_explanation": clean(one.decision.explanation),
                "new_symbols": to_json([[symbol.name, symbol.points] for symbol in one.symbols]),
                "new_found": results_to_json(one.found),
                "new_headers": clean(one.headers),
                "new_tag": clean(one.decision.subject_tag, 64),
                "new_edits": edits_to_json(one.edits),
            }
            for one in rejudged
        ],
    )
