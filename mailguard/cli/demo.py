"""`mailguard demo`: sends a mail of each kind to the running playground, and shows what became of each."""

from __future__ import annotations

import re
import smtplib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import Cli, cli_of
from mailguard.cli.terminal import Cell, print_json, print_raw, print_table, say
from mailguard.core.errors import ConfigError, Problem, UnavailableError
from mailguard.core.events import State

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.cli.demo_mails import DemoMail
    from mailguard.store.trace import TracedUnit

SETTLE = 10.0
"""Seconds to wait until each mail has come to a state that the table can show."""
ON_THE_WAY = frozenset({State.FORWARDING.value, State.SPOOLED.value})
_ID = re.compile(r" \([0-9A-Z]{26}\)$")  # of the message, at the end of a reply: the table is wide enough without
STYLES = {
    State.DELIVERED.value: "green",
    State.QUARANTINED.value: "yellow",
    State.REJECTED.value: "red",
    "refused": "red",
}


@dataclass(frozen=True, slots=True)
class Sent:
    """One mail of the demo, and what the relay replied to it."""

    mail: DemoMail
    header_message_id: str
    reply: str


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of it. `unit` is None for what was refused before its data."""

    sent: Sent
    unit: TracedUnit | None
    in_mailbox: bool

    @property
    def state(self) -> str:
        """The ledger's state, or `refused`."""
        return self.unit.state if self.unit else "refused"


def demo(
    context: typer.Context,
    *,
    print_: Annotated[
        str, typer.Option("--print", metavar="NAME", help="Print one of the mails instead, to send it yourself.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Send clean mail, a virus, spam and forgeries to the relay that `mailguard playground` runs, and show their fates."""
    from mailguard.cli.demo_mails import demo_mails
    from mailguard.cli.playground import RECIPIENT, SENDER

    mails = demo_mails(sender=SENDER, recipient=RECIPIENT)
    if print_:
        chosen = next((mail for mail in mails if mail.name == print_), None)
        if chosen is None:
            names = ", ".join(mail.name for mail in mails)
            raise ConfigError([Problem("--print", f"{print_!r} is not one of the mails: {names}")])
        print_raw(chosen.build()[1])
        return
    cli = cli_of(context)
    fates = _fates(cli, _send(cli, mails))
    if json:
        print_json([_json(fate) for fate in fates])
        return
    _print_fates(fates)
    _print_next(cli, fates)


def _send(cli: Cli, mails: Sequence[DemoMail]) -> list[Sent]:
    """Send them all in one session. Raises UnavailableError when no relay is there."""
    host, port = cli.listeners()[0]
    sent = []
    try:
        with smtplib.SMTP(host, port, local_hostname="sender.test", timeout=90) as client:
            for mail in mails:
                header_message_id, content = mail.build()
                sent.append(Sent(mail, header_message_id, _transact(client, mail, content)))
    except (OSError, smtplib.SMTPException) as error:
        raise UnavailableError(f"no relay answers on {host}:{port} ({error}); `make run` starts one to try") from error
    return sent


def _transact(client: smtplib.SMTP, mail: DemoMail, content: bytes) -> str:
    """The reply that ends the transaction."""
    client.ehlo_or_helo_if_needed()
    code, text = client.mail(mail.mail_from)
    if code == 250:
        code, text = client.rcpt(mail.recipient)
        if code == 250:
            code, text = client.data(content)
    if code != 250:
        client.rset()
    return f"{code} {text.decode('ascii', 'replace')}"


def _fates(cli: Cli, sent: Sequence[Sent]) -> list[Fate]:
    """Look each up in the trace, until none is under way any more or the time is over."""
    from mailguard.cli.playground import place_of
    from mailguard.cli.sink import Maildir

    maildir = Maildir(place_of(cli.settings).mailbox)
    deadline = time.monotonic() + SETTLE
    while True:
        fates = [Fate(one, _unit(cli, one), bool(maildir.find(one.header_message_id.encode()))) for one in sent]
        if time.monotonic() > deadline or not any(fate.state in ON_THE_WAY for fate in fates):
            return fates
        time.sleep(0.1)


def _unit(cli: Cli, sent: Sent) -> TracedUnit | None:
    from mailguard.store.trace import TracedUnit, TraceQuery, search

    def work(conn: Connection) -> TracedUnit | None:
        rows = search(conn, TraceQuery(header_message_id=sent.header_message_id))
        return next((row for row in rows if isinstance(row, TracedUnit)), None)

    return cli.read(work)


def _print_fates(fates: Sequence[Fate]) -> None:
    print_table(
        ("MAIL", "THE SENDER HEARD", "IT IS", "BECAUSE", "IN THE MAILBOX"),
        [
            (
                fate.sent.mail.what,
                _ID.sub("", fate.sent.reply),
                Cell(fate.state, STYLES.get(fate.state, "")),
                fate.unit.explanation if fate.unit else "the relay takes mail for its tenants' domains alone",
                "yes" if fate.in_mailbox else "no",
            )
            for fate in fates
        ],
    )


def _print_next(cli: Cli, fates: Sequence[Fate]) -> None:
    from mailguard.cli.playground import RECIPIENT, place_of, program, shown_path

    us = program()
    say()
    say("What to look at next:", style="bold")
    say(f"  {us} quarantine list")
    kept = next((fate.unit for fate in fates if fate.sent.mail.name == "program" and fate.unit), None)
    if kept is not None and kept.state == State.QUARANTINED.value:
        say(f"  {us} quarantine show {kept.id}")
        say(f"  {us} quarantine release {kept.id} --why 'the recipient expects it'")
        say(f"  ls {shown_path(place_of(cli.settings).mailbox)}/new    (the released mail arrives)")
    say(f"  {us} trace --to {RECIPIENT}")
    say(f"  {us} usage --month {datetime.now(UTC):%Y-%m}")
    if cli.settings.http.listen:
        say(f"  curl -s http://{cli.settings.http.listen}/metrics | grep dispositions")


def _json(fate: Fate) -> dict[str, object]:
    return {
        "mail": fate.sent.mail.name,
        "header_message_id": fate.sent.header_message_id,
        "reply": fate.sent.reply,
        "unit": fate.unit.id if fate.unit else None,
        "state": fate.state,
        "reason": fate.unit.reason if fate.unit else None,
        "in_mailbox": fate.in_mailbox,
    }
