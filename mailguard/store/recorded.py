"""Reads mail back as it was recorded, so that it can be judged once more. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from mailguard.core.clock import HOUR
from mailguard.core.decision import Action, Reason
from mailguard.core.envelope import Envelope, Recipient, Session
from mailguard.core.events import EventKind, State
from mailguard.core.ids import new_message_id
from mailguard.core.recorded import RecordedMail, RecordedUnit
from mailguard.store.findings import findings_from_json, results_from_json
from mailguard.store.schema import events, messages, units
from mailguard.store.texts import mail_options_from_json, rcpt_options_from_json

PAGE = 500
"""Messages that one transaction reads."""
_CHUNK = 500


def page(
    connection: Connection, *, tenant: int, since: int, until: int, after: str = "", limit: int = PAGE
) -> list[RecordedMail]:
    """The next messages with a unit of `tenant` that came from `since` on and before `until` (ms UTC), by id.

    `after` is the id of the last one that was read. A message has its units of other tenants too, since one reply was for
    them all. Mail of probes is left out.
    """
    mine = (
        select(units.c.message)
        .where(
            units.c.tenant == tenant,
            # Ids are in the order of time, those of mail that takes its time to come a little before it.
            units.c.message > (after or new_message_id(max(0, since - HOUR))[:10]),
            units.c.received_at >= since,
            units.c.received_at < until,
            units.c.probe.is_(False),
            units.c.original_of == "",
        )
        .group_by(units.c.message)
        .order_by(units.c.message)
        .limit(limit)
    )
    ids = list(connection.scalars(mine))
    of_message: dict[str, list[Row[Any]]] = {}
    for start in range(0, len(ids), _CHUNK):
        chosen = units.c.message.in_(ids[start : start + _CHUNK])
        for row in connection.execute(select(units).where(chosen, units.c.probe.is_(False), units.c.original_of == "")):
            of_message.setdefault(row.message, []).append(row)
    reasons = _first_reasons(connection, [row.id for rows in of_message.values() for row in rows])
    found = connection.execute(select(messages).where(messages.c.id.in_(ids)).order_by(messages.c.id))
    return [_mail(row, of_message[row.id], reasons) for row in found]


def _first_reasons(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Why and where each unit began; what moved it later has reasons of its own."""
    found: dict[str, tuple[str, str]] = {}
    for start in range(0, len(ids), _CHUNK):
        first = select(events.c.unit, events.c.reason, events.c.to_state).where(
            events.c.unit.in_(ids[start : start + _CHUNK]),
            events.c.kind == EventKind.STATE.value,
            events.c.from_state.is_(None),
        )
        found.update((row.unit, (row.reason, row.to_state)) for row in connection.execute(first))
    return found


def _mail(row: Row[Any], rows: Sequence[Row[Any]], reasons: Mapping[str, tuple[str, str]]) -> RecordedMail:
    ordered = sorted(rows, key=_number)
    recorded = tuple(
        RecordedUnit(
            one.id,
            Recipient(
                one.recipient_raw, one.tenant, one.domain, rcpt_options_from_json(one.options), number=_number(one)
            ),
            Action(one.action),
            Reason(reasons.get(one.id, (one.reason, ""))[0]),
            one.score,
            one.policy,
            one.policy_hash,
            one.explanation,
            results_from_json(one.found),
            held_over=reasons.get(one.id, ("", ""))[1] == State.HELD and one.action != Action.HOLD,
        )
        for one in ordered
    )
    return RecordedMail(
        Envelope(
            row.id,
            row.mail_from_raw,
            mail_options_from_json(row.options),
            tuple(unit.recipient for unit in recorded),
        ),
        Session(row.id, row.client_ip, helo=row.helo, esmtp=True, tls=row.tls),
        row.received_at,
        findings_from_json(row.findings),
        recorded,
        erased=row.erased_at is not None,
    )


def _number(row: Row[Any]) -> int:
    return int(row.id.rpartition("-")[2])
