"""`mailguard privacy`: all that is stored about an address, for the person; and taking it out of the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import Cli, actor_name, cli_of, tenant_id
from mailguard.cli.recorded import Actor, Why
from mailguard.cli.terminal import print_facts, print_json, say
from mailguard.core.clock import to_iso
from mailguard.core.errors import ConflictError, UnavailableError
from mailguard.core.events import State

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mailguard.store.audit import AuditRecord
    from mailguard.store.erasure import Finished, StandIns
    from mailguard.store.person import Person
    from mailguard.store.trace import TracedUnit

app = typer.Typer(no_args_is_help=True, help="Personal data: what is stored about an address, and erasing it (GDPR).")

Address = Annotated[
    str,
    typer.Argument(
        metavar="ADDRESS",
        help="Of a recipient or a sender; for a tenant's mailbox also what senders add to it (joe+news) and alias domains.",
        show_default=False,
    ),
]
CANCELLED = frozenset({State.SPOOLED, State.PARKED})
"""Kept mail that is cancelled; the rest is deleted."""
_ATTEMPTS = 5
PATIENCE = 1_000
"""Milliseconds for which those who write events are waited for before what they wrote is counted."""


@app.command("export")
def export(
    context: typer.Context,
    *,
    address: Address,
    tenant: Annotated[str | None, typer.Option("--tenant", metavar="NAME", help="Only what is of this tenant.")] = None,
    why: Why = "",
    actor: Actor = "",
) -> None:
    """Print all that is stored about an address as JSON: mail with its events, refusals, lists, usage, audit. Recorded.

    The text of mail itself is not among it: where it is still kept, `body_kept` says so and `quarantine show --raw` shows it.
    """
    from mailguard.store import audit
    from mailguard.store.audit import AuditAction, AuditEntry
    from mailguard.store.person import person
    from mailguard.store.privacy import mail_page, stored
    from mailguard.store.tenants import tenant_names

    cli, by = cli_of(context), actor_name(actor)

    def begin(conn: Connection) -> tuple[Person, int | None, dict[int, str]]:
        return person(conn, address), tenant_id(conn, tenant), tenant_names(conn)

    who, of, names = cli.read(begin)
    mails: list[TracedUnit] = []
    while page := cli.read(partial(mail_page, who=who, tenant=of, after=mails[-1].id if mails else "")):
        mails += page
    rest = cli.read(partial(stored, who=who, tenant=of))
    entry = AuditEntry(
        AuditAction.PRIVACY_EXPORT,
        by,
        why,
        tenant=of,
        subject=_subject(who),
        detail={"mails": len(mails)},
        personal={"address": who.address},
    )
    cli.write(lambda conn: audit.append_in(conn, entry))
    mine = set(who.texts)
    print_json(
        {
            "address": who.address,
            "forms": list(who.texts),
            "exported_at": to_iso(cli.read(cli.now)),
            "tenant": None if of is None else names.get(of),
            "mails": [_mail(unit, names, mine) for unit in mails],
            "refusals": [_row(row, names) for row in rest.refusals],
            "list_entries": [_row(row, names) for row in rest.lists],
            "recipients": [_row(row, names) for row in rest.recipients],
            "verifications": [_row(row, names) for row in rest.verifications],
            "correspondents": [_row(row, names) for row in rest.correspondents],
            "vips": [_row(row, names) for row in rest.vips],
            "usage": [_row(row, names) for row in rest.usage],
            "invoices": [_row(row, names) for row in rest.invoices],
            "lessons": [_row(row, names) for row in rest.lessons],
            "audit": [_audit(record, names, who) for record in rest.audit],
        }
    )


@app.command("erase")
def erase(
    context: typer.Context,
    *,
    address: Address,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Delete its mail in quarantine and cancel that in the queue, which is then not delivered."
        ),
    ] = False,
    why: Why = "",
    actor: Actor = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Take an address out of the database, with the subjects of its mail and what was found in it. Recorded; for good.

    What happened stays, under a number in place of the address: counts, bills, the ledger and the audit log hold as before.
    Mail that is still in the queue or in quarantine is in the way, and named. Files that are no database are not touched:
    logs and backups end by themselves.
    """
    cli, by = cli_of(context), actor_name(actor)
    for attempt in range(_ATTEMPTS):
        try:
            done = _erase(cli, address, force=force, actor=by, why=why)
            break
        except ConflictError:
            if attempt == _ATTEMPTS - 1 or _kept(cli, address):
                raise
    if json:
        print_json(done.as_json())
        return
    if not done.known:
        say(f"nothing was stored about {done.address}")
        return
    say(f"{done.address} is erased; it is now known as {done.subject}")
    print_facts({name.replace("_", " "): f"{count:,}" for name, count in done.counts.items() if count})
    for note in done.kept:
        say(f"kept: {note}")


@dataclass(slots=True)
class Done:
    """What an erasure did. `kept` says what of the person stays, and why."""

    address: str
    subject: str
    known: bool = True
    counts: dict[str, int] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "address": self.address,
            "known": self.known,
            "subject": self.subject,
            "erased": self.counts,
            "kept": self.kept,
        }


def _erase(cli: Cli, address: str, *, force: bool, actor: str, why: str) -> Done:
    """One go. Raises ConflictError when kept mail is in the way, or when new mail came meanwhile."""
    from mailguard.billing import closing
    from mailguard.billing.months import time_zone
    from mailguard.store import erasure
    from mailguard.store.person import person

    _make_way(cli, address, force=force, actor=actor, why=why)
    with suppress(UnavailableError):  # what is not counted by now still keeps the mailboxes apart by their stand-ins
        closing.catch_up(cli.write, zone=time_zone(cli.settings.billing.time_zone), patience=PATIENCE)
    cli.write(partial(_fix_mailboxes, address=address))
    who, instead = cli.read(lambda conn: _begin(conn, address))
    messages: set[str] = set()
    while batch := cli.write(lambda conn: erasure.erase_mail_in(conn, who, instead, now=cli.now(conn))):
        messages.update(batch)
        _drop_bodies(cli, batch)
    mentions = 0
    for table in erasure.tables():
        after: Sequence[object] = ()
        while True:
            changed, after = cli.write(
                partial(erasure.erase_mentions_in, who=who, instead=instead, table=table, after=after)
            )
            mentions += changed
            if not after:
                break
    detail = {"messages": len(messages), "mentions": mentions}

    def finish(conn: Connection) -> Finished:
        return erasure.finish_in(conn, who, instead, actor=actor, why=why, now=cli.now(conn), detail=detail)

    before = cli.read(lambda conn: _kept_by_law(conn, person(conn, address)))
    finished = cli.write(finish)
    counts = {
        "addresses": len(who.ids),
        "messages": len(messages),
        "mentions": mentions,
        "list_entries": finished.list_entries,
        "recipients": finished.recipients,
        "answers": finished.verifications,
        "correspondents": finished.correspondents,
        "vips": finished.vips,
        "refusals": finished.refusals,
        "audit_texts": finished.audit_texts,
    }
    return Done(who.address, _subject(who), any(counts.values()), counts, before)


def _begin(conn: Connection, address: str) -> tuple[Person, StandIns]:
    from mailguard.store.erasure import stand_ins
    from mailguard.store.person import person

    who = person(conn, address)
    return who, stand_ins(conn, who)


def _kept(cli: Cli, address: str) -> list[TracedUnit]:
    from mailguard.store.erasure import kept_mail
    from mailguard.store.person import person

    return cli.read(lambda conn: kept_mail(conn, person(conn, address)))


def _make_way(cli: Cli, address: str, *, force: bool, actor: str, why: str) -> None:
    """Delete and cancel what is still kept, if that is wanted. Raises ConflictError with what is in the way."""
    from mailguard.quarantine import hold
    from mailguard.store import waiting

    while units := _kept(cli, address):
        if not force:
            shown = ", ".join(f"{unit.id} ({unit.state})" for unit in units[:5]) + (" …" if len(units) > 5 else "")
            raise ConflictError(
                f"{len(units)} mail{'' if len(units) == 1 else 's'} to or from it still in the queue or kept: {shown}; deliver, "
                "release or delete them first, or use --force, and they are deleted undelivered"
            )
        batch = units[:100]
        if any(unit.state == State.FORWARDING for unit in batch):
            raise ConflictError("mail to or from it is being delivered at this moment; try again in a minute")

        def work(conn: Connection, batch: Sequence[TracedUnit] = batch) -> list[str]:
            queued = [unit for unit in batch if State(unit.state) in CANCELLED]
            changes = waiting.cancel(conn, queued, actor=actor, now=cli.now(conn), why=why)
            hold.delete(conn, [unit for unit in batch if State(unit.state) not in CANCELLED], actor=actor, why=why)
            return [change.text for change in changes if not change.done]

        left = cli.write_persistently(work)
        if left:
            raise ConflictError(f"mail to or from it {left[0]}")
        _drop_bodies(cli, sorted({unit.message for unit in batch}))


def _drop_bodies(cli: Cli, messages: Sequence[str]) -> None:
    """What is not needed any more goes now, not with the next upkeep."""
    from mailguard.store.bodies import unmark_in

    for message in cli.write(lambda conn: unmark_in(conn, limit=len(messages), of=messages)):
        cli.blobs.delete(message)


def _fix_mailboxes(conn: Connection, address: str) -> None:
    """Fix which mailbox the address stands for in months that are not closed yet: afterwards nobody could tell."""
    from sqlalchemy import select

    from mailguard.billing.mailboxes import rules_of
    from mailguard.store import metered
    from mailguard.store.person import person
    from mailguard.store.schema import metered_recipients

    texts = {number: text for text, number in person(conn, address).ids.items()}
    table = metered_recipients
    rows = conn.execute(select(table).where(table.c.recipient.in_(sorted(texts)), table.c.mailbox.is_(None))).all()
    rules = rules_of(conn, {row.tenant for row in rows})
    for row in rows:
        mailbox = rules[row.tenant].mailbox_of(texts[row.recipient])
        metered.keep_mailboxes(conn, row.month, row.tenant, {row.recipient: mailbox})


def _kept_by_law(conn: Connection, who: Person) -> list[str]:
    """What names the person and is not erased."""
    from sqlalchemy import func, or_, select

    from mailguard.store.redact import Redaction
    from mailguard.store.schema_bill import contracts, invoices

    redaction = Redaction(who.texts)
    notes = []
    for what, key, text in (
        ("contract", contracts.c.id, contracts.c.buyer),
        ("invoice", invoices.c.number, invoices.c.document),
    ):
        near = or_(*(func.lower(text).contains(one, autoescape=True) for one in who.texts))
        found = [str(row[0]) for row in conn.execute(select(key, text).where(near)) if redaction.found_in(row[1])]
        if found:
            notes.append(f"{what} {', '.join(found)} names it as the client's address, which the law has us keep")
    return notes


# --- output ----------------------------------------------------------------------------------------------------------


def _subject(who: Person) -> str:
    """What the address is known as once it is erased."""
    return f"address {min(who.ids.values())}" if who.ids else ""


def _mail(unit: TracedUnit, names: Mapping[int, str], mine: set[str]) -> dict[str, object]:
    from mailguard.cli.mail import unit_json
    from mailguard.core.address import normalise

    received = normalise(unit.recipient) in mine
    sent = normalise(unit.mail_from) in mine or unit.header_from in mine
    roles = [role for role, applies in (("recipient", received), ("sender", sent)) if applies]
    return {"as": roles, **unit_json(unit, names)}


def _row(row: Mapping[str, object], names: Mapping[int, str]) -> dict[str, object]:
    """A row with its tenant by name and its times readable; surrogate ids of addresses stay numbers."""
    shown: dict[str, object] = {}
    for name, value in row.items():
        if name == "tenant" and isinstance(value, int):
            shown[name] = names.get(value, str(value))
        elif isinstance(value, int) and (name == "at" or name.endswith("_at")):
            shown[name] = to_iso(value) if value else None
        else:
            shown[name] = value
    return shown


def _audit(record: AuditRecord, names: Mapping[int, str], who: Person) -> dict[str, object]:
    """What was done, with those of its texts that name the person; who did it is not the person's data."""
    from mailguard.store.redact import Redaction

    redaction = Redaction(who.texts)
    return {
        "entry": record.sequence,
        "at": to_iso(record.at),
        "action": record.action,
        "tenant": None if record.tenant is None else names.get(record.tenant, str(record.tenant)),
        "subject": record.subject,
        "texts": {text.role: text.text for text in record.texts if text.text and redaction.found_in(text.text)},
    }
