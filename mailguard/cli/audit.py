"""`mailguard audit`: the log of who did what, to what and why; and the proof that nobody has changed it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import cli_of, tenant_id
from mailguard.cli.terminal import print_facts, print_json, print_json_line, print_table, say
from mailguard.cli.when import point, shown
from mailguard.core.clock import to_iso
from mailguard.core.errors import ConfigError, Problem

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.store.audit import AuditRecord
    from mailguard.store.audit_check import AuditReport

app = typer.Typer(no_args_is_help=True, help="The audit log: who did what, to what and why. It can only be added to.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help="From then on: 7d, 2026-11-01 (UTC).")]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before then.")]


@app.command("verify")
def verify(
    context: typer.Context,
    *,
    head: Annotated[
        str,
        typer.Option("--head", metavar="HASH", help="A head's hash that was noted earlier: is it still in the log?"),
    ] = "",
    json: Json = False,
) -> None:
    """Check that every entry is there, unchanged and in order; name what is not, exit 1. Prints the head's hash.

    Keep that hash outside of this machine: with --head it proves that all up to it is still as it was.
    """
    from mailguard.store.audit_check import verify_in

    noted = _head(head)
    report = cli_of(context).read(lambda conn: verify_in(conn, noted=noted))
    if json:
        print_json(_report_json(report))
    elif report.holds:
        _print_holds(report)
    else:
        print_table(
            ("ENTRY", "KIND", "WHAT DOES NOT HOLD"),
            ((str(one.sequence or ""), one.defect, one.text) for one in report.defects),
            right=("ENTRY",),
        )
        say(f"head      {report.head.hash} (entry {report.head.sequence})")
    if not report.holds:
        raise typer.Exit(1)


@app.command("list")
def list_(
    context: typer.Context,
    *,
    tenant: Annotated[str | None, typer.Option("--tenant", metavar="NAME", help="Only this tenant's.")] = None,
    action: Annotated[
        str, typer.Option("--action", help="Only this: quarantine.release, or quarantine for all of that noun.")
    ] = "",
    by: Annotated[str, typer.Option("--actor", help="Only what this person did.")] = "",
    subject: Annotated[
        str,
        typer.Option("--subject", metavar="ID", help="Only about this: a mail's or message's id, a domain, a profile."),
    ] = "",
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="At most so many, the newest.")] = 100,
    json: Json = False,
) -> None:
    """List what was done, the newest last."""
    from mailguard.store import audit
    from mailguard.store.tenants import tenant_names

    cli = cli_of(context)
    if action and not any(known == action or known.startswith(f"{action}.") for known in audit.AuditAction):
        nouns = ", ".join(dict.fromkeys(known.partition(".")[0] for known in audit.AuditAction))
        raise ConfigError([Problem("--action", f"there is no {action!r}; the nouns are {nouns}")])

    def work(conn: Connection) -> tuple[list[AuditRecord], dict[int, str]]:
        now = cli.now(conn)
        query = audit.AuditQuery(
            tenant=tenant_id(conn, tenant),
            action=action,
            actor=by,
            subject=subject,
            since=point(since, option="--since", now=now) if since else 0,
            until=point(until, option="--until", now=now) if until else 0,
            limit=limit,
        )
        return audit.search(conn, query), tenant_names(conn)

    records, names = cli.read(work)
    if json:
        print_json([_record_json(record, names) for record in records])
        return
    print_table(
        ("ENTRY", "TIME", "WHO", "ACTION", "TENANT", "SUBJECT", "WHAT", "WHY"),
        (
            (
                str(record.sequence),
                shown(record.at),
                record.texts_of(audit.ACTOR),
                record.action,
                _tenant(record, names),
                record.subject,
                _what(record),
                record.texts_of(audit.WHY),
            )
            for record in records
        ),
        right=("ENTRY",),
        empty="nothing was recorded",
    )
    if len(records) == limit:
        say(f"these are the newest {limit}; narrow the search or raise --limit for more")


@app.command("show")
def show(
    context: typer.Context,
    *,
    entry: Annotated[int, typer.Argument(metavar="ENTRY", min=1, help="Its number.", show_default=False)],
    json: Json = False,
) -> None:
    """Show one entry with all that is known of it."""
    from mailguard.store import audit
    from mailguard.store.tenants import tenant_names

    record, names = cli_of(context).read(lambda conn: (audit.get(conn, entry), tenant_names(conn)))
    if json:
        print_json(_record_json(record, names))
        return
    facts = {
        "entry": str(record.sequence),
        "time": shown(record.at),
        "action": record.action,
        "tenant": _tenant(record, names),
        "subject": record.subject,
    }
    facts |= {name: _plain(value) for name, value in record.detail.items()}
    facts |= {role: record.texts_of(role) for role in dict.fromkeys(text.role for text in record.texts)}
    print_facts({**facts, "previous": record.previous, "hash": record.hash})


@app.command("export")
def export(
    context: typer.Context,
    *,
    after: Annotated[int, typer.Option("--after", metavar="ENTRY", min=0, help="Only what follows this entry.")] = 0,
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="Without texts and salts: enough to prove the chain, nothing personal.")
    ] = False,
) -> None:
    """Print the log as JSON, one entry a line, with all that is needed to check it elsewhere (docs/audit.md)."""
    from mailguard.store import audit

    cli = cli_of(context)
    through = cli.read(audit.head_in).sequence
    while after < through:
        page = cli.read(partial(_page, after=after, through=through))
        if not page:
            return
        for record in page:
            print_json_line(_exported(record, anonymous=anonymous))
        after = page[-1].sequence


def _page(conn: Connection, *, after: int, through: int) -> list[AuditRecord]:
    """The next entries: one transaction for each page, so that none of them is long."""
    from mailguard.store import audit

    return next(audit.pages(conn, after=after, through=through), [])


# --- output ----------------------------------------------------------------------------------------------------------


def _head(text: str) -> str:
    """The value of `--head`. Raises ConfigError."""
    noted = text.strip().lower()
    if noted and (len(noted) != 64 or set(noted) - set("0123456789abcdef")):
        raise ConfigError(
            [Problem("--head", f"{text!r} is not a hash of 64 hexadecimal digits, as `audit verify` prints")]
        )
    return noted


def _print_holds(report: AuditReport) -> None:
    say(f"the audit log holds: {report.entries:,} entries, each with the hash of the one before it")
    if report.texts:
        say(f"texts     {report.texts:,}, of which {report.erased:,} were erased, each on the record")
    if report.noted is not None:
        say(f"noted     entry {report.noted}; {report.entries - report.noted:,} entries since")
    say(f"head      {report.head.hash} (entry {report.head.sequence})")


def _report_json(report: AuditReport) -> dict[str, object]:
    return {
        "holds": report.holds,
        "entries": report.entries,
        "head": report.head.hash,
        "head_entry": report.head.sequence,
        "noted_entry": report.noted,
        "texts": report.texts,
        "erased": report.erased,
        "defects": [{"kind": one.defect, "entry": one.sequence or None, "text": one.text} for one in report.defects],
    }


def _record_json(record: AuditRecord, names: Mapping[int, str]) -> dict[str, object]:
    return {
        "entry": record.sequence,
        "at": to_iso(record.at),
        "action": record.action,
        "tenant": _tenant(record, names) or None,
        "subject": record.subject,
        "detail": record.detail,
        "texts": [
            {"role": text.role, "text": text.text, "erased_at": to_iso(text.erased_at) if text.erased_at else None}
            for text in record.texts
        ],
        "previous": record.previous,
        "hash": record.hash,
    }


def _exported(record: AuditRecord, *, anonymous: bool) -> dict[str, object]:
    """`entry` is what the hash is made of; `texts` are what its commitments are made of, in their order."""
    return {
        "entry": {
            "sequence": record.sequence,
            "at": record.at,
            "action": record.action,
            "tenant": record.tenant,
            "subject": record.subject,
            "detail": record.detail,
            "commitments": [[text.role, text.commitment] for text in record.texts],
            "previous": record.previous,
        },
        "hash": record.hash,
        **(
            {}
            if anonymous
            else {
                "texts": [{"salt": text.salt, "text": text.text, "erased_at": text.erased_at} for text in record.texts]
            }
        ),
    }


def _tenant(record: AuditRecord, names: Mapping[int, str]) -> str:
    return "" if record.tenant is None else names.get(record.tenant, str(record.tenant))


def _what(record: AuditRecord) -> str:
    """The facts of an entry on a line."""
    from mailguard.store.audit import ACTOR, WHY

    roles = dict.fromkeys(text.role for text in record.texts if text.role not in (ACTOR, WHY))
    parts = [f"{role} {record.texts_of(role)}" for role in roles]
    parts += [f"{name} {_plain(value)}" for name, value in record.detail.items() if value not in ("", None)]
    return "; ".join(parts)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_plain(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return "none" if value is None else str(value)
