"""Telling senders of mail that an admin takes out of the queue: by the DSN rule, in the transaction that cancels it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from sqlalchemy import Connection, select

from mailguard.core.envelope import RcptOptions
from mailguard.core.errors import NotFoundError
from mailguard.delivery.bounce_rule import may_bounce, wants_failure
from mailguard.message.dsn import ReportedRecipient, Told
from mailguard.queue.group import FORWARD
from mailguard.queue.reports import Reports, Subject
from mailguard.store import schema
from mailguard.store.blobs import BlobStore
from mailguard.store.ledger import begin_in
from mailguard.store.texts import mail_options_from_json, rcpt_options_from_json
from mailguard.store.waiting import Going

EXPLANATION = "An administrator of the mail system took it out of the queue."


class CancelNotices:
    """Implements store.waiting.Tell. Of mail out of quarantine, and of our own reports, nobody is told."""

    def __init__(self, reports: Reports, blobs: BlobStore) -> None:
        self._reports = reports
        self._blobs = blobs

    def __call__(self, connection: Connection, going: Sequence[Going]) -> Mapping[str, str]:
        """Enqueue a report for each message of which a sender is to be told. Raises UnavailableError.

        A body that was written for a transaction that then failed belongs to nothing, and is swept up later.
        """
        told: dict[str, str] = {}
        forwards = sorted(
            (
                gone
                for gone in going
                if gone.purpose == FORWARD and may_bounce(gone.unit.mail_from, gone.unit.findings.auth)
            ),
            key=lambda gone: gone.unit.id,
        )
        for message, group in groupby(forwards, key=lambda gone: gone.unit.message):
            told |= self._tell(connection, message, list(group))
        return told

    def _tell(self, connection: Connection, message: str, going: Sequence[Going]) -> Mapping[str, str]:
        options = _rcpt_options(connection, [gone.unit.id for gone in going])
        units = [gone.unit for gone in going if wants_failure(options[gone.unit.id])]
        if not units:
            return {}
        of_message = schema.messages.c
        mail_options = mail_options_from_json(
            connection.execute(select(of_message.options).where(of_message.id == message)).scalar_one()
        )
        report = self._reports.compose(
            Told.FAILED,
            Subject(message, units[0].mail_from, units[0].received_at, mail_options),
            [ReportedRecipient(unit.recipient, None, EXPLANATION, orcpt=options[unit.id].orcpt) for unit in units],
            self._original(message),
        )
        self._blobs.put(report.id, [report.content])
        begin_in(connection, report.message, [report.unit])
        return {unit.id: report.id for unit in units}

    def _original(self, message: str) -> bytes:
        try:
            return self._blobs.get(message)
        except NotFoundError:  # parked since it was gone: there is nothing to give back
            return b""


def _rcpt_options(connection: Connection, ids: Sequence[str]) -> Mapping[str, RcptOptions]:
    units = schema.units.c
    rows = connection.execute(select(units.id, units.options).where(units.id.in_(ids)))
    return {row.id: rcpt_options_from_json(row.options) for row in rows}
