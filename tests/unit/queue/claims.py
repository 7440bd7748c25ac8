"""Claims for tests that need no database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mailguard.core.envelope import MailOptions, RcptOptions
from mailguard.store.claims import Claim

CLAIM = Claim(
    unit="01J0000000000000000000MAIL-1",
    message="01J0000000000000000000MAIL",
    tenant=2,
    domain="client.test",
    purpose="forward",
    attempts=0,
    crashes=0,
    fence=1,
    queued_at=0,
    expires_at=10**13,
    lease_until=0,
    last_reply="",
    received_at=0,
    size=1000,
    mail_from="alice@remote.test",
    recipient="bob@client.test",
    mail_options=MailOptions(),
    rcpt_options=RcptOptions(),
    headers="X-MailGuard-Id: x\r\n",
)


def a_claim(number: int = 1, **fields: Any) -> Claim:
    """A claim on a message of its own, unless `message` is given."""
    message = fields.pop("message", f"01J{number:023d}")
    return replace(CLAIM, unit=f"{message}-{fields.pop('recipient_number', 1)}", message=message, **fields)
