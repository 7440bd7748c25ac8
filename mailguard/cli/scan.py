"""`mailguard scan`: what the relay would find in a message and decide, without sending it anywhere."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import Cli, Problems, cli_of
from mailguard.cli.scan_work import Transaction, scan_all
from mailguard.cli.terminal import complain
from mailguard.core.errors import ConfigError, Problem, UnavailableError

if TYPE_CHECKING:
    from mailguard.config import Settings
    from mailguard.core.tenant import Tenant
    from mailguard.learning.envelopes import Envelopes

PING_SECONDS = 2.0


def scan(
    context: typer.Context,
    *,
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="Messages (RFC 5322); '-': read their paths from standard input."),
    ],
    client_ip: Annotated[
        str, typer.Option("--client-ip", help="Address of the client it is taken to come from; without it no SPF.")
    ] = "",
    helo: Annotated[str, typer.Option("--helo", help="What that client says in EHLO.")] = "",
    mail_from: Annotated[str, typer.Option("--mail-from", help="Envelope sender; '<>' for none. Default: From.")] = "",
    rcpt: Annotated[str, typer.Option("--rcpt", help="Envelope recipient.")] = "recipient@client.test",
    policy: Annotated[
        str | None, typer.Option("--policy", metavar="PROFILE", help="Profile to decide by. Default: the tenant's.")
    ] = None,
    tenant: Annotated[
        str | None, typer.Option("--tenant", metavar="NAME", help="Whose lists, profile and experience.")
    ] = None,
    clamav: Annotated[
        bool | None, typer.Option("--clamav/--no-clamav", help="Ask the virus scanner. Default: when it answers.")
    ] = None,
    dns: Annotated[
        bool | None,
        typer.Option(
            "--dns/--no-dns",
            help="SPF, DKIM, DMARC, ARC and block lists. Default: with --client-ip, but not with --envelope.",
        ),
    ] = None,
    envelope: Annotated[
        list[Path] | None,
        typer.Option(
            "--envelope",
            metavar="FILE",
            help="JSON lines with what messages came with: `file` (a path as given here, or relative to FILE's folder), "
            "`client_ip`, `mail_from`, `rcpt_to`, and the `spf`, `dkim`, `dmarc` results of who received them, which stand "
            "in where nothing is looked up. Empty: unknown. Messages without a line have no authentication.",
        ),
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, max=600, help="Seconds for each file.")] = 5.0,
    jobs: Annotated[int, typer.Option("--jobs", min=1, max=64, help="Files at the same time.")] = 2,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Print of each symbol all that it was seen in, and the page of docs/ that explains it."
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, a line for each file.")] = False,
    tsv: Annotated[bool, typer.Option("--tsv", help="Print PATH, a tab and the score, a line for each file.")] = False,
) -> None:
    """Explain what the relay would find in messages and decide. Nothing is sent or recorded.

    Exits 1 when a file could not be read or took too long.
    """
    from mailguard.cli import scan_shown

    cli = cli_of(context)
    if json + tsv + explain > 1:
        raise ConfigError([Problem("--tsv", "give only one of --json, --tsv and --explain")])
    _check_client(client_ip)
    profile = profile_of(cli, policy)
    envelopes = _envelopes(envelope or ())
    if dns is None:
        dns = bool(client_ip) and envelopes is None
    transaction = Transaction(
        client_ip,
        helo,
        mail_from,
        rcpt,
        _tenant(cli, tenant, profile),
        envelopes,
        offline=envelopes is not None and not dns,
    )
    checks = _checks(cli, clamav=clamav, dns=dns, client=bool(client_ip) or envelopes is not None)
    if envelopes is not None and not dns:
        checks = _with_recorded(cli, checks)
    show = (
        scan_shown.print_tsv
        if tsv
        else scan_shown.print_as_json
        if json
        else scan_shown.print_explanation
        if explain
        else scan_shown.print_report
    )
    failed = asyncio.run(
        scan_all(
            cli.settings,
            _paths(files),
            transaction,
            checks=checks,
            seconds=timeout,
            jobs=jobs,
            show=show,
            db=cli.db if tenant else None,
        )
    )
    if failed:
        raise typer.Exit(1)


# --- arguments -------------------------------------------------------------------------------------------------------


def _check_client(client_ip: str) -> None:
    from ipaddress import ip_address

    if client_ip:
        try:
            ip_address(client_ip)
        except ValueError:
            raise ConfigError([Problem("--client-ip", f"{client_ip!r} is not an IP address")]) from None


def profile_of(cli: Cli, name: str | None) -> str | None:
    """The name of a profile that is there; None for None. Raises ConfigError."""
    from mailguard.cli.tenant_arguments import profile_name

    wrong = Problems()
    found = wrong.parse(lambda text: profile_name(cli, text), [] if name is None else [name])
    wrong.raise_any()
    return found[0] if found else None


def _tenant(cli: Cli, name: str | None, profile: str | None) -> Tenant:
    """The tenant whose lists and profile count; an unnamed one without lists when none is given, and no database needed."""
    from dataclasses import replace

    from mailguard.core.tenant import Tenant

    if name is None:
        return Tenant(0, "", profile=profile or "default")
    from mailguard.store import forms, tenants

    key = forms.tenant_name(name)
    found = cli.read(lambda conn: tenants.tenant_by_name(conn, key)).tenant
    return replace(found, profile=profile) if profile else found


def _envelopes(files: Sequence[Path]) -> Envelopes | None:
    if not files:
        return None
    from mailguard.learning.envelopes import read_envelopes

    envelopes = read_envelopes(files)
    for note in envelopes.notes:
        complain(f"note: {note}")
    return envelopes


def _with_recorded(cli: Cli, checks: Sequence[str]) -> list[str]:
    """`checks` and those that recorded results stand in for, in the order of the settings."""
    from mailguard.app.scan import RECORDED

    return [check for check in cli.settings.checks.enabled if check in checks or check in RECORDED]


def _checks(cli: Cli, *, clamav: bool | None, dns: bool, client: bool) -> list[str]:
    """The enabled checks that this run can make sense of; that the scanner is left out is told on standard error."""
    from mailguard.app.scan import NEEDS_CLIENT, NEEDS_DNS

    engines = {"rspamd": cli.settings.rspamd.address, "spamd": cli.settings.spamd.address}
    checks: list[str] = [check for check in cli.settings.checks.enabled if engines.get(check, "built in")]
    if not dns:
        checks = [check for check in checks if check not in NEEDS_DNS]
    if not client:
        checks = [check for check in checks if check not in NEEDS_CLIENT]
    if clamav is False:
        checks = [check for check in checks if check != "clamav"]
    elif clamav is None and "clamav" in checks and not asyncio.run(_clamd_answers(cli.settings)):
        complain(f"note: clamd at {cli.settings.clamav.address} does not answer: scanned without it")
        checks.remove("clamav")
    return checks


async def _clamd_answers(settings: Settings) -> bool:
    from mailguard.net.clamd import ClamdClient

    client = ClamdClient(settings.clamav.address, timeout=PING_SECONDS, connections=1)
    try:
        return await client.ping()
    except UnavailableError:
        return False
    finally:
        await client.close()


def _paths(files: Sequence[str]) -> Iterator[str]:
    for file in files:
        if file != "-":
            yield file
            continue
        for line in sys.stdin.buffer:
            path = os.fsdecode(line.rstrip(b"\r\n"))
            if path:
                yield path
