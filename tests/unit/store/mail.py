"""Messages, units and moves for the store's tests, with sensible rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mailguard.core.decision import Action, Decision, Reason
from mailguard.core.envelope import MailOptions, RcptOptions, Recipient, Session
from mailguard.core.events import State
from mailguard.core.ids import new_message_id
from mailguard.core.reply import OK
from mailguard.core.tenant import SYSTEM_TENANT
from mailguard.core.verdict import ScoredSymbol
from mailguard.store.ledger import QUEUED, Move, NewMessage, NewUnit, QueueEntry

START = 1_790_000_000_000
DAY = 86_400_000


def a_message(*, message_id: str = "", **fields: Any) -> NewMessage:
    message = NewMessage(
        id=message_id or new_message_id(START),
        received_at=START,
        session=Session("s1", "192.0.2.1", 2525, "mail.sender.example"),
        mail_from="Alice@Sender.example",
        options=MailOptions(size=1000, eight_bit=True),
        size=1000,
        sha256="0" * 64,
        header_message_id="<1@sender.example>",
        header_from="alice@sender.example",
        subject="Hello",
    )
    return replace(message, **fields)


def an_entry(**fields: Any) -> QueueEntry:
    return replace(QueueEntry("forward", START, START + 5 * DAY), **fields)


def a_unit(state: State = State.FORWARDING, number: int = 1, **fields: Any) -> NewUnit:
    address = fields.pop("address", f"Bob{number}@Client.test")
    domain = fields.pop("domain", "client.test")
    unit = NewUnit(
        number=number,
        recipient=Recipient(
            address, fields.pop("tenant", SYSTEM_TENANT), domain, RcptOptions(("FAILURE",), "rfc822;b"), number
        ),
        state=state,
        reason=Reason.CLEAN,
        decision=Decision(number, Action.DELIVER, Reason.CLEAN, "score 0.1", "default", "abc", OK),
        score=0.1,
        symbols=(ScoredSymbol("SPF_PASS", -0.1),),
        headers="X-MailGuard-Verdict: clean\r\n",
        holder="w1" if state is State.FORWARDING else "",
        queue=an_entry() if state in QUEUED else None,
    )
    return replace(unit, **fields)


def a_move(unit: str, to_state: State, **fields: Any) -> Move:
    queue = an_entry() if to_state in QUEUED else None
    return replace(Move(unit, to_state, Reason.NEXT_HOP_ACCEPTED, queue=queue), **fields)
