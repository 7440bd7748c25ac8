"""Proves the audit log: every entry is there, unchanged, in its order, and what was erased was erased on the record.

Whoever can write to the database could make a whole new chain; the head's hash, kept elsewhere, then tells.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, select

from mailguard.store.audit import GENESIS, AuditAction, AuditHead, commitment, hash_of, head_in
from mailguard.store.schema_audit import audit, audit_subjects

LIMIT = 1_000
"""How many defects are named."""
ERASURES = frozenset({AuditAction.PRIVACY_ERASE.value, AuditAction.PRIVACY_RETENTION.value})
"""Actions whose entries list the texts that were erased with them, in their detail under `audit_texts`."""
AUDIT_TEXTS = "audit_texts"
_PAGE = 1_000


class Defect(StrEnum):
    """What is wrong."""

    CHANGED = "changed"
    MISSING = "missing"
    OUT_OF_ORDER = "out_of_order"
    TRUNCATED = "truncated"
    BEYOND_HEAD = "beyond_head"
    UNKNOWN_HEAD = "unknown_head"
    TEXT_CHANGED = "text_changed"
    TEXT_MISSING = "text_missing"
    TEXT_UNKNOWN = "text_unknown"
    ERASED_UNRECORDED = "erased_unrecorded"
    NOT_ERASED = "not_erased"


@dataclass(frozen=True, slots=True)
class AuditDefect:
    """One thing that does not hold. `sequence` is the entry's number, 0 when it is of the whole log."""

    defect: Defect
    sequence: int
    text: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What the check found. `noted` is where the head that was kept elsewhere stands; None when none was given or it is not there."""

    entries: int
    head: AuditHead
    texts: int
    erased: int
    defects: tuple[AuditDefect, ...]
    noted: int | None = None

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return not self.defects


def verify_in(connection: Connection, *, noted: str = "") -> AuditReport:
    """Check the whole log in one transaction: one to two minutes per million entries. `noted`: a head's hash that was kept elsewhere."""
    walk = _Walk(noted.strip().lower())
    head = head_in(connection)
    for rows, texts in _pages(connection):
        for row in rows:
            walk.entry(row, texts.get(row.sequence, {}))
    walk.end(head)
    walk.strangers(connection)
    return AuditReport(
        walk.count,
        AuditHead(walk.sequence, walk.previous),
        walk.texts,
        len(walk.erased),
        tuple(walk.defects),
        walk.noted,
    )


class _Walk:
    """The state of a walk along the chain."""

    def __init__(self, noted: str) -> None:
        self.sequence = 0
        self.previous = GENESIS
        self.count = 0
        self.texts = 0
        self.noted: int | None = 0 if noted == GENESIS else None
        self.defects: list[AuditDefect] = []
        self.erased: set[tuple[int, int]] = set()
        self._wanted = noted
        self._recorded: set[tuple[int, int]] = set()

    def entry(self, row: Row[Any], texts: Mapping[int, Row[Any]]) -> None:
        """The next entry and its texts."""
        if row.sequence != self.sequence + 1:
            self._found(Defect.MISSING, row.sequence, f"entries {_span(self.sequence + 1, row.sequence - 1)} not there")
        elif row.previous != self.previous:
            self._found(
                Defect.OUT_OF_ORDER,
                row.sequence,
                "does not follow the entry before it: one of them was put in, taken out, changed or moved",
            )
        try:
            intact = hash_of(row._asdict()) == row.hash
            commitments = [(str(role), str(text)) for role, text in json.loads(row.commitments)]
            detail = json.loads(row.detail)
        except (ValueError, TypeError):
            intact, commitments, detail = False, [], {}
        if not intact:
            self._found(Defect.CHANGED, row.sequence, "its content is not what its hash was made of")
        self._texts(row.sequence, commitments, texts)
        if row.action in ERASURES and isinstance(detail, dict):
            self._recorded.update(_texts_of(detail.get(AUDIT_TEXTS, [])))
        self.sequence, self.previous = row.sequence, row.hash
        self.count += 1
        if row.hash == self._wanted:
            self.noted = row.sequence

    def end(self, head: AuditHead) -> None:
        """After the last entry: does the chain end where the head says, and was it ever where it was noted?"""
        if self.sequence < head.sequence:
            self._found(Defect.TRUNCATED, head.sequence, f"entries {_span(self.sequence + 1, head.sequence)} not there")
        elif self.sequence > head.sequence:
            self._found(
                Defect.BEYOND_HEAD, self.sequence, f"the head is entry {head.sequence}; what follows it was put in"
            )
        elif self.previous != head.hash:
            self._found(Defect.CHANGED, self.sequence, "the head's hash is another than the last entry's")
        if self._wanted and self.noted is None:
            self._found(
                Defect.UNKNOWN_HEAD,
                0,
                f"no entry has the hash {self._wanted}: what stood up to it was changed or removed",
            )
        for entry, number in sorted(self.erased - self._recorded):
            self._found(Defect.ERASED_UNRECORDED, entry, f"its text {number} was erased without a record of it")

    def strangers(self, connection: Connection) -> None:
        """Texts of entries that are not there."""
        missing = ~select(audit.c.sequence).where(audit.c.sequence == audit_subjects.c.entry).exists()
        for entry in connection.scalars(select(audit_subjects.c.entry).where(missing).distinct().limit(LIMIT)):
            self._found(Defect.TEXT_UNKNOWN, entry, "texts of an entry that is not there")
        for entry, number in sorted(self._recorded - self.erased):
            self._found(Defect.NOT_ERASED, entry, f"its text {number} is there, though its erasure was recorded")

    def _texts(self, sequence: int, commitments: Sequence[tuple[str, str]], texts: Mapping[int, Row[Any]]) -> None:
        for number, (role, committed) in enumerate(commitments):
            text = texts.get(number)
            self.texts += 1
            if text is None:
                self._found(Defect.TEXT_MISSING, sequence, f"its text {number} ({role}) is not there")
            elif text.text is None or text.salt is None:
                self.erased.add((sequence, number))
            elif text.role != role or commitment(role, text.text, text.salt) != committed:
                self._found(
                    Defect.TEXT_CHANGED, sequence, f"its text {number} ({role}) is not the one it was made with"
                )
        for number in sorted(texts.keys() - set(range(len(commitments)))):
            self._found(Defect.TEXT_UNKNOWN, sequence, f"its text {number} was put in: the entry does not commit to it")

    def _found(self, defect: Defect, sequence: int, text: str) -> None:
        if len(self.defects) < LIMIT:
            self.defects.append(AuditDefect(defect, sequence, text))


def text_name(entry: int, number: int) -> str:
    """How an erasure's entry names a text that was erased: `12.0`."""
    return f"{entry}.{number}"


def _texts_of(names: object) -> Iterator[tuple[int, int]]:
    for name in names if isinstance(names, list) else []:
        entry, _, number = str(name).partition(".")
        if entry.isdigit() and number.isdigit():
            yield int(entry), int(number)


def _span(first: int, last: int) -> str:
    return f"{first} is" if first == last else f"{first} to {last} are"


def _pages(connection: Connection) -> Iterator[tuple[Sequence[Row[Any]], dict[int, dict[int, Row[Any]]]]]:
    after = -1
    while True:
        rows = connection.execute(
            select(audit).where(audit.c.sequence > after).order_by(audit.c.sequence).limit(_PAGE)
        ).all()
        if not rows:
            return
        texts: dict[int, dict[int, Row[Any]]] = {}
        of_page = audit_subjects.c.entry.between(rows[0].sequence, rows[-1].sequence)
        for text in connection.execute(select(audit_subjects).where(of_page)):
            texts.setdefault(text.entry, {})[text.number] = text
        yield rows, texts
        after = rows[-1].sequence
