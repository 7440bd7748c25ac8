"""`mailguard policy diff`: what a draft of a profile would have made of the mail that came."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import Cli, cli_of
from mailguard.cli.terminal import print_json, print_table, say
from mailguard.cli.when import point, shown
from mailguard.core.clock import to_iso

if TYPE_CHECKING:
    from mailguard.core.recorded import RecordedMail
    from mailguard.core.tenant import Tenant
    from mailguard.policy.profile import Policy
    from mailguard.policy.whatif import Replayed, WhatIf

SINCE_THEN = "not the draft: the lists or the profile have changed since"


def diff(
    context: typer.Context,
    *,
    draft: Annotated[
        Path,
        typer.Argument(metavar="DRAFT.yaml", help="The draft; it may extend any profile there is.", show_default=False),
    ],
    tenant: Annotated[str, typer.Option("--tenant", metavar="NAME", help="Whose mail.", show_default=False)],
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Received from then on: 7d, 2026-11-01 (UTC).")
    ] = "7d",
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Received before then.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=0, max=1_000_000, help="Show at most so many mails; --json has them all.")
    ] = 50,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Replay what was found in a tenant's mail against a draft of its profile, and say what would have become of it.

    Nothing is changed. What is wrong with the draft is told, each error at its line; exit 2.
    """
    from mailguard.policy.files import PolicyFiles
    from mailguard.policy.read import read_draft
    from mailguard.policy.whatif import WhatIf
    from mailguard.store import forms, tenants

    cli = cli_of(context)
    directory = cli.settings.policies.path
    policy = read_draft(directory, draft)
    files = PolicyFiles(directory)
    files.load()
    found = cli.read(lambda conn: tenants.tenant_by_name(conn, forms.tenant_name(tenant))).tenant
    current = files.get(found.profile)
    now = cli.read(cli.now)
    start = point(since, option="--since", now=now)
    end = point(until, option="--until", now=now) if until else now + 1
    total = WhatIf()
    changed: list[Replayed] = []
    for page in _pages(cli, found, start, end):
        for mail in page:
            changed += total.add(mail, tenant=found, draft=policy, current=current)
    notes = list(_notes(total, policy, current, checks=cli.settings.checks.enabled))
    if json:
        print_json(_as_json(total, changed, notes, tenant=found, draft=policy, current=current, since=start, until=end))
        return
    say(f"{draft.name} against the mail of {found.name} since {shown(start)}: {total.mails:,} mails replayed")
    say(total.sentence(), style="bold")
    if changed:
        _print(changed, limit)
    for note in notes:
        say(f"note: {note}")


def _pages(cli: Cli, tenant: Tenant, since: int, until: int) -> Iterator[Sequence[RecordedMail]]:
    """The mail in the order of time; each page is a short transaction of its own."""
    from mailguard.store import recorded

    after = ""
    while page := cli.read(partial(recorded.page, tenant=tenant.id, since=since, until=until, after=after)):
        yield page
        after = page[-1].envelope.message_id


def _print(changed: Sequence[Replayed], limit: int) -> None:
    print_table(
        ("ID", "RECEIVED", "TO", "WAS", "WOULD BE", "WHAT MAKES THE DIFFERENCE"),
        (
            (
                one.unit.id,
                shown(one.mail.received_at),
                one.unit.recipient.address,
                one.unit.action.value,
                one.draft.action.value,
                _difference(one),
            )
            for one in changed[:limit]
        ),
    )
    if len(changed) > limit:
        say(f"and {len(changed) - limit:,} more; raise --limit, or use --json, to see them")


def _difference(one: Replayed) -> str:
    if one.changed_anyway:
        return SINCE_THEN
    return "; ".join(one.causes) or one.draft.explanation


def _notes(total: WhatIf, draft: Policy, current: Policy, *, checks: Sequence[str]) -> Iterator[str]:
    """What the replay cannot know."""
    from mailguard.policy.whatif import unmet_symbols

    if total.changed_anyway:
        yield (
            f"{total.changed_anyway:,} of them would be so by the profile and lists that are in force now, too: those have "
            "changed since"
        )
    for (name, hash_), count in sorted(total.policies.items()):
        if hash_ != current.hash:
            yield f"{count:,} mails were decided by profile {name} as it was then ({hash_[:12]}), which is not in force now"
    for symbol in unmet_symbols(draft, current, total.symbols):
        yield f"no mail had the symbol {symbol}: if its rule is newer than the mail, what it would have hit is not known"
    for check in checks:
        missing = total.messages - total.checks.get(check, 0)
        if missing:
            yield f"check {check} did not report on {missing:,} of {total.messages:,} messages; it is enabled now"
    if total.erased:
        yield f"{total.erased:,} mails were not replayed: their addresses and findings are erased"
    if total.not_decided:
        yield f"{total.not_decided:,} mails were not replayed: no profile decided about them"
    if total.mails:
        yield "allow and deny lists are as they are now; entries that were removed since are not known any more"


def _as_json(
    total: WhatIf,
    changed: Sequence[Replayed],
    notes: Sequence[str],
    *,
    tenant: Tenant,
    draft: Policy,
    current: Policy,
    since: int,
    until: int,
) -> dict[str, object]:
    return {
        "tenant": tenant.name,
        "since": to_iso(since),
        "until": to_iso(until),
        "draft": {"name": draft.name, "hash": draft.hash},
        "in_force": {"name": current.name, "hash": current.hash},
        "replayed": total.mails,
        "sentence": total.sentence(),
        "changed": len(changed),
        "changed_anyway": total.changed_anyway,
        "transitions": [
            {"from": was, "to": is_, "mails": count} for (was, is_), count in sorted(total.transitions.items())
        ],
        "decided_by": [
            {"profile": name, "hash": hash_, "in_force": hash_ == current.hash, "mails": count}
            for (name, hash_), count in sorted(total.policies.items())
        ],
        "not_replayed": {"erased": total.erased, "not_decided": total.not_decided},
        "notes": list(notes),
        "mails": [
            {
                "id": one.unit.id,
                "received_at": to_iso(one.mail.received_at),
                "recipient": one.unit.recipient.address,
                "mail_from": one.mail.envelope.mail_from,
                "from": one.unit.action,
                "to": one.draft.action,
                "reason": one.draft.reason,
                "explanation_then": one.unit.explanation,
                "explanation": one.draft.explanation,
                "causes": list(one.causes),
                "changed_anyway": one.changed_anyway,
            }
            for one in changed
        ],
    }
