"""How one mail is shown, for people and as JSON: what was found, what was decided and why, and what happened to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from mailguard.cli.explanation import explain_symbols, recorded_symbols
from mailguard.cli.files_shown import file_json, print_files
from mailguard.cli.terminal import Cell, print_facts, print_table, say
from mailguard.cli.when import shown
from mailguard.core.clock import system_clock, to_iso
from mailguard.core.events import EventKind
from mailguard.core.verdict import CheckStatus

if TYPE_CHECKING:
    from mailguard.core.verdict import AuthResult, CheckResult, Findings
    from mailguard.store.trace import QueueRow, TracedEvent, TracedRefusal, TracedUnit

STATE_STYLES = {
    "delivered": "green",
    "released": "green",
    "quarantined": "yellow",
    "undeliverable": "yellow",
    "held": "yellow",
    "spooled": "cyan",
    "forwarding": "cyan",
    "parked": "red",
    "rejected": "red",
    "bounced": "red",
    "refused": "red",
    "deferred": "magenta",
}


def state_cell(state: str) -> Cell:
    """A state in its colour."""
    return Cell(state, STATE_STYLES.get(state, ""))


def address_text(address: str) -> str:
    """An address for people: the null sender as `<>`."""
    return address or "<>"


def print_unit(
    unit: TracedUnit, tenants: Mapping[int, str], *, margins: Callable[[TracedUnit], str] | None = None
) -> None:
    """All of one unit, for people, each symbol with what it was seen in. `margins` tells how far its score is from others'."""
    # What was decided is told by the first event; the unit's own reason is that of its present state.
    why = unit.events[0].reason if unit.events else unit.reason
    probe = ", a mail of `mailguard probe`" if unit.probe else ""
    original = f", the original of {unit.original_of}" if unit.original_of else ""
    say(
        f"{unit.id}  {unit.state} ({unit.reason}){probe}{original}",
        style=f"bold {STATE_STYLES.get(unit.state, '')}".strip(),
    )
    findings = unit.findings
    print_facts(
        {
            "  received": f"{shown(unit.received_at)} from {unit.client_ip} ({unit.helo})"
            + (f", {unit.tls}" if unit.tls else ""),
            "  from": address_text(unit.mail_from)
            + (f" (From: {unit.header_from})" if unit.header_from not in ("", unit.mail_from) else ""),
            "  to": f"{unit.recipient} (tenant {tenants.get(unit.tenant, unit.tenant)})",
            "  subject": unit.subject,
            "  message-id": unit.header_message_id,
            "  size": f"{unit.size:,} octets, SHA-256 {unit.sha256}",
            "  decided": f"{unit.action} ({why}): {unit.explanation}" if unit.action else "",
            "  policy": f"{unit.policy} {unit.policy_hash[:12]}".strip(),
            "  score": margins(unit) if margins else f"{unit.score:.1f}",
            "  malware": ", ".join(findings.malware),
            "  auth": "; ".join(map(auth_text, findings.auth)),
            "  failed checks": "; ".join(
                f"{result.check} ({result.detail or 'no result'})"
                for result in (*findings.results, *unit.found)
                if result.status == CheckStatus.TEMPERROR
            ),
        }
    )
    print_files(findings.attachments, whole=True)
    symbols, unknown = recorded_symbols(unit)
    explain_symbols(symbols, indent="    ", unknown=unknown)
    if unit.queue is not None:
        queue = unit.queue
        say(f"  queued for {queue.purpose}: {standing_text(queue)}; attempts so far: {queue.attempts}")
        say(f"  given up    {shown(queue.expires_at)}")
    for event in unit.events:
        say(f"    {shown(event.at)}  {event_text(event)}")


def standing_text(queue: QueueRow) -> str:
    """What a place in the queue waits for."""
    standing = queue.standing(system_clock())
    if standing == "waiting":
        return f"next attempt {shown(queue.due_at)}"
    return "an attempt is under way" if standing == "under_way" else "on hold"


def print_refusal(refusal: TracedRefusal, tenants: Mapping[int, str]) -> None:
    """A refusal at the door, or several alike, for people."""
    counted = refusal.mail_from is None and refusal.recipient is None
    times = f" ({refusal.count} in all from then on)" if counted else ""
    say(f"{shown(refusal.at)}  refused at the door{times}", style="bold red")
    tenant = tenants.get(refusal.tenant, str(refusal.tenant)) if refusal.tenant else ""
    print_facts(
        {
            "  client": f"{refusal.client_ip} ({refusal.helo})" if refusal.client_ip else "",
            "  from": "" if refusal.mail_from is None else address_text(refusal.mail_from),
            "  to": refusal.recipient or "",
            "  tenant": tenant,
            "  answer": refusal.reply,
            "  reason": refusal.reason,
        }
    )


def print_units(units: Iterable[TracedUnit], tenants: Mapping[int, str], *, empty: str) -> None:
    """A list of units, one a line."""
    print_table(
        ("ID", "RECEIVED", "TENANT", "STATE", "REASON", "SCORE", "FROM", "TO", "SUBJECT"),
        (
            (
                unit.id,
                shown(unit.received_at),
                tenants.get(unit.tenant, str(unit.tenant)),
                state_cell(unit.state),
                ", ".join(unit.findings.malware) or unit.reason,
                f"{unit.score:.1f}",
                address_text(unit.mail_from),
                unit.recipient,
                unit.subject,
            )
            for unit in units
        ),
        right=("SCORE",),
        empty=empty,
    )


def event_text(event: TracedEvent) -> str:
    """One event as a line."""
    details = "; ".join(f"{name} {_plain(value)}" for name, value in event.detail.items() if value not in ("", None))
    by = f" by {event.actor}" if event.actor else ""
    if event.kind == EventKind.STATE:
        what = f"{event.from_state} → {event.to_state}" if event.from_state else f"→ {event.to_state}"
        return f"{what} ({event.reason}){by}" + (f": {details}" if details else "")
    return f"{event.kind} ({event.reason}){by}" + (f": {details}" if details else "")


def auth_text(result: AuthResult) -> str:
    """One authentication result: `spf=pass example.org`."""
    return f"{result.method}={result.outcome}" + (f" {result.domain}" if result.domain else "")


def unit_json(unit: TracedUnit, tenants: Mapping[int, str], *, events: bool = True) -> dict[str, object]:
    """A unit for `--json`."""
    queue = unit.queue
    return {
        "type": "mail",
        "id": unit.id,
        "message": unit.message,
        "tenant": tenants.get(unit.tenant, str(unit.tenant)),
        "probe": unit.probe,
        "original_of": unit.original_of,
        "state": unit.state,
        "reason": unit.reason,
        "received_at": to_iso(unit.received_at),
        "changed_at": to_iso(unit.changed_at),
        "mail_from": unit.mail_from,
        "recipient": unit.recipient,
        "header_from": unit.header_from,
        "subject": unit.subject,
        "header_message_id": unit.header_message_id,
        "client_ip": unit.client_ip,
        "helo": unit.helo,
        "tls": unit.tls,
        "size": unit.size,
        "sha256": unit.sha256,
        "body_kept": unit.body,
        "action": unit.action,
        "explanation": unit.explanation,
        "policy": unit.policy,
        "policy_hash": unit.policy_hash,
        "score": unit.score,
        "symbols": [{"name": name, "points": points} for name, points in unit.symbols],
        "malware": list(unit.findings.malware),
        "findings": findings_json(unit.findings),
        "found": [_check_json(result) for result in unit.found],
        "queue": None
        if queue is None
        else {
            "purpose": queue.purpose,
            "standing": queue.standing(system_clock()),
            "due_at": None if queue.held else to_iso(queue.due_at),
            "expires_at": to_iso(queue.expires_at),
            "attempts": queue.attempts,
            "last_reply": queue.last_reply,
            "held": queue.held,
        },
        **({"events": [_event_json(event) for event in unit.events]} if events else {}),
    }


def refusal_json(refusal: TracedRefusal, tenants: Mapping[int, str]) -> dict[str, object]:
    """A refusal for `--json`."""
    return {
        "type": "refusal",
        "at": to_iso(refusal.at),
        "tenant": None if refusal.tenant is None else tenants.get(refusal.tenant, str(refusal.tenant)),
        "state": "refused",
        "reason": refusal.reason,
        "code": refusal.code,
        "reply": refusal.reply,
        "client_ip": refusal.client_ip,
        "helo": refusal.helo,
        "mail_from": refusal.mail_from,
        "recipient": refusal.recipient,
        "count": refusal.count,
    }


def findings_json(findings: Findings) -> dict[str, object]:
    """Findings for `--json`."""
    return {
        "checks": [_check_json(result) for result in findings.results],
        "auth": [
            {
                "method": result.method,
                "result": result.outcome,
                "domain": result.domain,
                "reason": result.reason,
                "properties": dict(result.properties),
            }
            for result in findings.auth
        ],
        "attachments": [file_json(file) for file in findings.attachments],
        "link_hosts": list(findings.link_hosts),
        "from_address": findings.from_address,
    }


def _check_json(result: CheckResult) -> dict[str, object]:
    return {
        "check": result.check,
        "status": result.status,
        "elapsed": round(result.elapsed, 4),
        "detail": result.detail,
        "malware": list(result.malware),
        "symbols": [
            {
                "name": symbol.name,
                "score": symbol.score,
                "description": symbol.description,
                "evidence": list(symbol.evidence),
            }
            for symbol in result.symbols
        ],
    }


def _event_json(event: TracedEvent) -> dict[str, object]:
    return {
        "at": to_iso(event.at),
        "kind": event.kind,
        "from_state": event.from_state or None,
        "to_state": event.to_state or None,
        "reason": event.reason,
        "actor": event.actor,
        "size": event.size,
        "detail": event.detail,
    }


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_plain(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return str(value)
