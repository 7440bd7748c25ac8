"""What the relay's own record says of a probe's mail."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from mailguard.core.decision import Action, Reason
from mailguard.core.events import EventKind, State
from mailguard.store.trace import TracedUnit, TraceQuery, search
from mailguard.watch.probe_verdict import Recorded

_DECIDED = frozenset({State.FORWARDING, State.HELD, State.QUARANTINED, State.REJECTED, State.DISCARDED, State.DEFERRED})


def look(conn: Connection, header_message_id: str, *, tenant: int) -> Recorded | None:
    """The record of the tenant's mail with this Message-ID; None when there is none (yet)."""
    units = search(conn, TraceQuery(header_message_id=header_message_id, tenant=tenant))
    return next((_recorded(unit) for unit in units if isinstance(unit, TracedUnit)), None)


def _recorded(unit: TracedUnit) -> Recorded:
    moves = [event for event in unit.events if event.kind == EventKind.STATE]
    decided = [event for event in moves if event.to_state and State(event.to_state) in _DECIDED]
    # Of mail that was scanned again the second decision counts; a refusal of the next hop is no decision of ours.
    ours = [event for event in decided if event.reason not in _NEXT_HOPS] or decided
    delivered = next((event.at for event in moves if event.to_state == State.DELIVERED), None)
    asked = next((event for event in reversed(unit.events) if event.kind == EventKind.ATTEMPT), None)
    why = str(asked.detail.get("reply") or asked.detail.get("error") or "") if asked and delivered is None else ""
    return Recorded(
        state=State(unit.state),
        action=Action(unit.action),
        reason=Reason(ours[-1].reason if ours else unit.reason),
        probe=unit.probe,
        now=f"{unit.state} ({unit.reason})" + (f", the client's server said: {why}" if why else ""),
        after_ms=None if delivered is None else max(0, delivered - unit.received_at),
    )


_NEXT_HOPS = frozenset({Reason.NEXT_HOP_REFUSED.value, Reason.NEXT_HOP_UNAVAILABLE.value, Reason.LOCAL_ERROR.value})
