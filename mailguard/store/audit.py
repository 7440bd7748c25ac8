"""The audit log: who did what to what, and why, in one chain of hashes. Added to in the transaction of the change itself.

The chain holds surrogate ids and salted commitments; names, addresses and free text stand beside it and can be erased
without breaking it. Checking the chain is in `audit_check`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, exists, insert, select, update

from mailguard.core.errors import NotFoundError
from mailguard.store.db import now
from mailguard.store.schema_audit import audit, audit_head, audit_subjects
from mailguard.store.statements import upserting
from mailguard.store.texts import clean

GENESIS = "0" * 64
"""What stands for the hash before the first entry."""
ACTOR, WHY = "actor", "why"
"""Roles that entries of every action have."""
_TEXTS = 200
"""Texts of one role in an entry; of more, several share one, so that an import of thousands stays one small entry."""
_PAGE = 500


class AuditAction(StrEnum):
    """What was done. The part before the dot is the noun that the command line has for it."""

    QUARANTINE_RELEASE = "quarantine.release"
    QUARANTINE_VIEW = "quarantine.view"
    QUARANTINE_DELETE = "quarantine.delete"
    QUARANTINE_REQUEST = "quarantine.request"
    QUEUE_RETRY = "queue.retry"
    QUEUE_HOLD = "queue.hold"
    QUEUE_UNHOLD = "queue.unhold"
    QUEUE_CANCEL = "queue.cancel"
    POLICY_CHANGE = "policy.change"
    POLICY_RULES = "policy.rules"
    TENANT_ADD = "tenant.add"
    TENANT_CHANGE = "tenant.change"
    TENANT_REMOVE = "tenant.remove"
    DOMAIN_ADD = "domain.add"
    DOMAIN_ALIAS = "domain.alias"
    DOMAIN_CHANGE = "domain.change"
    DOMAIN_REMOVE = "domain.remove"
    LIST_ADD = "list.add"
    LIST_REMOVE = "list.remove"
    VIP_ADD = "vip.add"
    VIP_REMOVE = "vip.remove"
    BRAND_ADD = "brand.add"
    BRAND_REMOVE = "brand.remove"
    RECIPIENT_IMPORT = "recipient.import"
    RECIPIENT_ADD = "recipient.add"
    RECIPIENT_REMOVE = "recipient.remove"
    RECIPIENT_FORGET = "recipient.forget"
    PLAN_CHANGE = "plan.change"
    CONTRACT_ADD = "contract.add"
    CONTRACT_CHANGE = "contract.change"
    CONTRACT_CANCEL = "contract.cancel"
    BILL_CLOSE = "bill.close"
    BILL_RUN = "bill.run"
    BILL_CREDIT = "bill.credit"
    MAINTENANCE_ADD = "maintenance.add"
    MAINTENANCE_REMOVE = "maintenance.remove"
    PROBE_RECORD = "probe.record"
    REPORT_MAIL = "report.mail"
    REPORT_SEND = "report.send"
    LESSONS_TEACH = "lessons.teach"
    LESSONS_UNDO = "lessons.undo"
    PRIVACY_EXPORT = "privacy.export"
    PRIVACY_ERASE = "privacy.erase"
    PRIVACY_RETENTION = "privacy.retention"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that is done. `actor`: who; `why`: as they said it, empty when they did not.

    `subject` is the surrogate id of what it is done to: of a unit, a contract, an invoice; a profile's or domain's name.
    `detail` holds JSON-able facts, nothing personal among them. `personal` holds by role what may be: an address, a list
    pattern, a person's name; it can be erased later, and its commitment stays.
    """

    action: AuditAction
    actor: str
    why: str = ""
    tenant: int | None = None
    subject: str = ""
    detail: Mapping[str, object] = field(default_factory=dict)
    personal: Mapping[str, str | Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditText:
    """What may be personal in an entry. `text` and `salt` (hex) are None once it was erased at `erased_at` (ms UTC)."""

    role: str
    text: str | None
    salt: str | None
    commitment: str
    erased_at: int | None = None


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """An entry as it stands in the log. `at` is in milliseconds UTC by the database's clock."""

    sequence: int
    at: int
    action: str
    tenant: int | None
    subject: str
    detail: Mapping[str, object]
    texts: tuple[AuditText, ...]
    previous: str
    hash: str

    def texts_of(self, role: str) -> str:
        """What is still known in a role, several parted by commas; `(erased)` for what is not."""
        return ", ".join("(erased)" if text.text is None else text.text for text in self.texts if text.role == role)


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The last entry's number and hash; 0 and GENESIS before the first."""

    sequence: int
    hash: str


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Which entries; empty fields do not matter. `action`: one, or a noun (`quarantine`) for all of its actions.

    `actor` is compared as a whole. `subject` is an entry's subject, or the message whose units are. Times in ms UTC.
    At most `limit` entries, the newest; 0: all.
    """

    tenant: int | None = None
    action: str = ""
    actor: str = ""
    subject: str = ""
    since: int = 0
    until: int = 0
    limit: int = 100


def append_in(connection: Connection, *entries: AuditEntry) -> AuditHead:
    """Add entries in the transaction that makes the change they tell of: both are committed, or neither. The new head.

    Appends wait for each other until they are committed: on PostgreSQL by the lock of the head's row, on SQLite by that
    of the database. So call it last, after every lock of the change itself is held; otherwise two changes could wait for
    each other (PostgreSQL then breaks one off, and it is run again).
    """
    if not entries:
        return head_in(connection)
    head = lock_head(connection)
    at = now(connection)
    rows: list[dict[str, object]] = []
    texts: list[dict[str, object]] = []
    for entry in entries:
        added = _texts(entry)
        sequence = head.sequence + 1
        row: dict[str, object] = {
            "sequence": sequence,
            "at": at,
            "action": entry.action.value,
            "tenant": entry.tenant,
            "subject": clean(entry.subject, 128),
            "detail": canonical(entry.detail),
            "commitments": canonical([[text.role, text.commitment] for text in added]),
            "previous": head.hash,
        }
        row["hash"] = hash_of(row)
        head = AuditHead(sequence, str(row["hash"]))
        rows.append(row)
        texts += [
            {"entry": sequence, "number": number, "role": text.role, "salt": text.salt, "text": text.text}
            for number, text in enumerate(added)
        ]
    connection.execute(insert(audit), rows)
    if texts:
        connection.execute(insert(audit_subjects), texts)
    connection.execute(update(audit_head).values(sequence=head.sequence, hash=head.hash))
    return head


def lock_head(connection: Connection) -> AuditHead:
    """The head, which nobody else moves until the end of this transaction."""
    statement = select(audit_head).with_for_update()
    row = connection.execute(statement).one_or_none()
    if row is None:  # a database that was emptied: the first of all who append makes the row, the others wait for it
        first = upserting(connection, audit_head).values(id=1, sequence=0, hash=GENESIS)
        connection.execute(first.on_conflict_do_nothing(index_elements=["id"]))
        row = connection.execute(statement).one()
    return AuditHead(row.sequence, row.hash)


def head_in(connection: Connection) -> AuditHead:
    """The head as it is now."""
    row = connection.execute(select(audit_head)).one_or_none()
    return AuditHead(0, GENESIS) if row is None else AuditHead(row.sequence, row.hash)


# --- the chain's arithmetic ------------------------------------------------------------------------------------------


def canonical(value: object) -> str:
    """JSON that is the same for the same value: keys sorted, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=_plain)


def commitment(role: str, text: str, salt: str) -> str:
    """HMAC-SHA-256 in hex, by the salt (hex), of the canonical JSON of role and text: without the salt it tells nothing."""
    return hmac.new(bytes.fromhex(salt), canonical([role, text]).encode(), hashlib.sha256).hexdigest()


def hash_of(row: Mapping[str, Any]) -> str:
    """SHA-256 in hex of the canonical JSON of an entry's columns but its hash; `detail` and `commitments` as values.

    Raises ValueError when those two are not JSON.
    """
    record = {name: row[name] for name in ("sequence", "at", "action", "tenant", "subject", "previous")}
    record |= {name: json.loads(row[name]) for name in ("detail", "commitments")}
    return hashlib.sha256(canonical(record).encode()).hexdigest()


def _texts(entry: AuditEntry) -> list[AuditText]:
    given: dict[str, str | Sequence[str]] = {ACTOR: entry.actor, WHY: entry.why, **entry.personal}
    found = []
    for role, value in given.items():
        several = [value] if isinstance(value, str) else list(value)
        size = -(-len(several) // _TEXTS) or 1
        for start in range(0, len(several), size):
            text = clean("\n".join(several[start : start + size]))
            if text:
                salt = secrets.token_hex(32)
                found.append(AuditText(role, text, salt, commitment(role, text, salt)))
    return found


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, frozenset | set):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no place in the audit log")


# --- reading ---------------------------------------------------------------------------------------------------------


def search(connection: Connection, query: AuditQuery) -> list[AuditRecord]:
    """The entries that match, the oldest first."""
    statement = select(audit).where(*_conditions(query)).order_by(audit.c.sequence.desc())
    rows = connection.execute(statement.limit(query.limit) if query.limit else statement).all()
    return [
        record for start in range(0, len(rows), _PAGE) for record in _records(connection, rows[start : start + _PAGE])
    ][::-1]


def get(connection: Connection, sequence: int) -> AuditRecord:
    """One entry by its number. Raises NotFoundError."""
    rows = connection.execute(select(audit).where(audit.c.sequence == sequence)).all()
    if not rows:
        raise NotFoundError(f"there is no audit entry {sequence}; the last one is {head_in(connection).sequence}")
    return _records(connection, rows)[0]


def records_of(connection: Connection, sequences: Sequence[int]) -> list[AuditRecord]:
    """The entries of these numbers that there are, in their order."""
    found: list[AuditRecord] = []
    for start in range(0, len(sequences), _PAGE):
        chosen = audit.c.sequence.in_(sequences[start : start + _PAGE])
        rows = connection.execute(select(audit).where(chosen).order_by(audit.c.sequence)).all()
        found += _records(connection, rows)
    return found


def pages(connection: Connection, *, after: int = 0, through: int = 0) -> Iterator[list[AuditRecord]]:
    """All entries after one, up to and with another (0: to the end), in pages, in their order."""
    while True:
        statement = select(audit).where(audit.c.sequence > after).order_by(audit.c.sequence).limit(_PAGE)
        rows = connection.execute(statement.where(audit.c.sequence <= through) if through else statement).all()
        if not rows:
            return
        yield _records(connection, rows)
        after = rows[-1].sequence


def _conditions(query: AuditQuery) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if query.tenant is not None:
        conditions.append(audit.c.tenant == query.tenant)
    if query.action:
        exact = audit.c.action == query.action
        conditions.append(
            exact if "." in query.action else audit.c.action.startswith(f"{query.action}.", autoescape=True)
        )
    if query.actor:
        conditions.append(
            exists().where(
                audit_subjects.c.entry == audit.c.sequence,
                audit_subjects.c.role == ACTOR,
                audit_subjects.c.text == query.actor,
            )
        )
    if query.subject:
        of_message = audit.c.subject.startswith(f"{query.subject}-", autoescape=True)
        conditions.append((audit.c.subject == query.subject) | of_message)
    if query.since:
        conditions.append(audit.c.at >= query.since)
    if query.until:
        conditions.append(audit.c.at < query.until)
    return conditions


def _records(connection: Connection, rows: Sequence[Row[Any]]) -> list[AuditRecord]:
    texts: dict[int, dict[int, Row[Any]]] = {}
    chosen = audit_subjects.c.entry.in_([row.sequence for row in rows])
    for text in connection.execute(select(audit_subjects).where(chosen)):
        texts.setdefault(text.entry, {})[text.number] = text
    return [_record(row, texts.get(row.sequence, {})) for row in rows]


def _record(row: Row[Any], texts: Mapping[int, Row[Any]]) -> AuditRecord:
    shown = []
    for number, (role, committed) in enumerate(json.loads(row.commitments)):
        text = texts.get(number)
        shown.append(
            AuditText(role, None, None, committed)
            if text is None
            else AuditText(role, text.text, text.salt, committed, text.erased_at)
        )
    return AuditRecord(
        row.sequence,
        row.at,
        row.action,
        row.tenant,
        row.subject,
        json.loads(row.detail),
        tuple(shown),
        row.previous,
        row.hash,
    )
