"""`mailguard scan`: what the relay would find in a message and decide, without sending it anywhere.

Thousands of files go through one process. Each has a time limit, and whatever is in it, the next one is scanned.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from mailguard.cli.context import Cli, Problems, cli_of
from mailguard.cli.terminal import Cell, complain, print_facts, print_json_line, print_line, print_table, safe, say
from mailguard.core.errors import ConfigError, Problem, UnavailableError

if TYPE_CHECKING:
    from mailguard.config import Settings
    from mailguard.core.decision import Decision
    from mailguard.core.tenant import Tenant
    from mailguard.core.verdict import Findings, Verdict

NEEDS_DNS = frozenset({"client", "spf", "dkim", "dmarc", "arc", "dnsbl", "urlbl"})
NEEDS_CLIENT = frozenset({"client", "spf", "dnsbl"})
LOOPBACK = "127.0.0.1"
CHECK_SHARE = 0.8
"""Share of a file's time that its checks get, so that one that is late is told as such and does not take the file along."""
PING_SECONDS = 2.0


class Report(Protocol):
    """What the scanner says of one message."""

    @property
    def findings(self) -> Findings:
        """What the checks found."""
        ...

    @property
    def verdict(self) -> Verdict:
        """What that means for the tenant."""
        ...

    @property
    def decision(self) -> Decision:
        """What would be done."""
        ...


@dataclass(frozen=True, slots=True)
class Transaction:
    """What the message is taken to have come with."""

    client_ip: str
    helo: str
    mail_from: str
    """`<>`: the null sender; empty: whoever the From field names."""
    recipient: str
    tenant: Tenant


@dataclass(frozen=True, slots=True)
class Scanned:
    """One file: its report, or what went wrong with it; and how many seconds that took."""

    path: str
    report: Report | None = None
    problem: str = ""
    seconds: float = 0.0


ScanOne = Callable[[bytes], "asyncio.Task[Report]"]


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
    tenant: Annotated[str | None, typer.Option("--tenant", metavar="NAME", help="Whose lists and profile.")] = None,
    clamav: Annotated[
        bool | None, typer.Option("--clamav/--no-clamav", help="Ask the virus scanner. Default: when it answers.")
    ] = None,
    dns: Annotated[
        bool | None,
        typer.Option("--dns/--no-dns", help="SPF, DKIM, DMARC, ARC and block lists. Default: with --client-ip."),
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, max=600, help="Seconds for each file.")] = 5.0,
    jobs: Annotated[int, typer.Option("--jobs", min=1, max=64, help="Files at the same time.")] = 2,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, a line for each file.")] = False,
    tsv: Annotated[bool, typer.Option("--tsv", help="Print PATH, a tab and the score, a line for each file.")] = False,
) -> None:
    """Explain what the relay would find in messages and decide. Nothing is sent or recorded.

    Exits 1 when a file could not be read or took too long.
    """
    cli = cli_of(context)
    if json and tsv:
        raise ConfigError([Problem("--tsv", "give either --json or --tsv")])
    _check_client(client_ip)
    profile = _profile(cli, policy)
    transaction = Transaction(client_ip, helo, mail_from, rcpt, _tenant(cli, tenant, profile))
    checks = _checks(cli, clamav=clamav, dns=bool(client_ip) if dns is None else dns, client_ip=client_ip)
    show = _print_tsv if tsv else _print_json if json else _print_report
    paths = _paths(files)
    failed = asyncio.run(
        _scan_all(cli.settings, paths, transaction, checks=checks, seconds=timeout, jobs=jobs, show=show)
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


def _profile(cli: Cli, name: str | None) -> str | None:
    from mailguard.cli.tenant import profile_name

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


def _checks(cli: Cli, *, clamav: bool | None, dns: bool, client_ip: str) -> list[str]:
    """The enabled checks that this run can make sense of; what is left out is told on standard error."""
    checks: list[str] = list(cli.settings.checks.enabled)
    if not dns:
        checks = [check for check in checks if check not in NEEDS_DNS]
    if not client_ip:
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


# --- work ------------------------------------------------------------------------------------------------------------


async def _scan_all(
    settings: Settings,
    paths: Iterable[str],
    transaction: Transaction,
    *,
    checks: Sequence[str],
    seconds: float,
    jobs: int,
    show: Callable[[Scanned], None],
) -> bool:
    """Scan and show every file in the order given; whether any failed."""
    from mailguard.app.filter import build_scanner

    failed = False
    async with build_scanner(
        settings, checks=checks, tenant=transaction.tenant, budget=seconds * CHECK_SHARE
    ) as scanner:

        def start(raw: bytes) -> asyncio.Task[Report]:
            mail_from = (transaction.mail_from or sender_of(raw)).strip("<>")
            return asyncio.create_task(
                scanner.scan(
                    raw,
                    client_ip=transaction.client_ip or LOOPBACK,
                    helo=transaction.helo,
                    mail_from=mail_from,
                    recipient=transaction.recipient,
                )
            )

        async for scanned in scan_each(paths, start, seconds=seconds, jobs=jobs):
            if scanned.report is None:
                failed = True
                complain(f"error: {scanned.path}: {scanned.problem}")
            else:
                show(scanned)
    return failed


async def scan_each(paths: Iterable[str], start: ScanOne, *, seconds: float, jobs: int) -> AsyncIterator[Scanned]:
    """Scan `jobs` files at a time, `seconds` for each, and yield them in the order given."""
    running: deque[asyncio.Task[Scanned]] = deque()
    for path in paths:
        running.append(asyncio.create_task(_scan_one(path, start, seconds)))
        if len(running) >= jobs:
            yield await running.popleft()
    while running:
        yield await running.popleft()


async def _scan_one(path: str, start: ScanOne, seconds: float) -> Scanned:
    try:
        raw = await asyncio.to_thread(Path(path).read_bytes)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        return Scanned(path, problem=f"cannot be read: {getattr(error, 'strerror', None) or error}")
    began = time.perf_counter()
    task = start(as_sent(raw))
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        task.cancel()
        await asyncio.wait({task}, timeout=1.0)
        return Scanned(path, problem=f"took longer than {seconds:g} s")
    bug = task.exception()
    if bug is not None:  # told with the file that shows it, and the others are still scanned
        return Scanned(path, problem=f"failed: {type(bug).__name__}: {bug}")
    return Scanned(path, task.result(), seconds=time.perf_counter() - began)


def as_sent(raw: bytes) -> bytes:
    """A file's content as SMTP would carry it: lines end in CRLF, and the `From ` line of a mailbox file is gone."""
    from mailguard.smtp.data import normalise

    if raw.startswith(b"From "):
        raw = raw.partition(b"\n")[2]
    return normalise(raw)


def sender_of(raw: bytes) -> str:
    """The address of the From field, empty when there is none or more than one: the likeliest envelope sender."""
    from mailguard.message.parse import parse

    header = raw.partition(b"\r\n\r\n")[0]
    addresses = parse(header + b"\r\n\r\n").from_addresses
    return addresses[0] if len(addresses) == 1 else ""


# --- output ----------------------------------------------------------------------------------------------------------


def _print_tsv(scanned: Scanned) -> None:
    assert scanned.report is not None
    path = scanned.path.translate({ord("\t"): "\\t", ord("\n"): "\\n", ord("\r"): "\\r"})
    print_line(os.fsencode(path) + f"\t{scanned.report.verdict.score:.2f}".encode())


def _print_json(scanned: Scanned) -> None:
    print_json_line(report_json(scanned))


def report_json(scanned: Scanned) -> dict[str, object]:
    """A report for `--json`."""
    from mailguard.cli.mail import findings_json

    report = scanned.report
    assert report is not None
    verdict, decision = report.verdict, report.decision
    return {
        "path": scanned.path,
        "seconds": round(scanned.seconds, 4),
        "score": round(verdict.score, 4),
        "action": decision.action,
        "reason": decision.reason,
        "explanation": decision.explanation,
        "policy": decision.policy,
        "policy_hash": decision.policy_hash,
        "reply": str(decision.reply),
        "symbols": [
            {
                "name": symbol.name,
                "points": symbol.points,
                "description": symbol.description,
                "evidence": list(symbol.evidence),
            }
            for symbol in verdict.symbols
        ],
        "malware": list(verdict.malware),
        "failed_checks": list(verdict.failed_checks),
        "list_match": verdict.list_match,
        "findings": findings_json(report.findings),
    }


def _print_report(scanned: Scanned) -> None:
    from mailguard.cli.mail import auth_text

    report = scanned.report
    assert report is not None
    verdict, decision, findings = report.verdict, report.decision, report.findings
    say(safe(scanned.path), style="bold")
    print_facts(
        {
            "  decision": f"{decision.action} ({decision.reason}): {decision.explanation}",
            "  reply": str(decision.reply),
            "  policy": f"{decision.policy} {decision.policy_hash[:12]}",
            "  malware": ", ".join(verdict.malware),
            "  lists": f"{verdict.list_match} {verdict.list_entry}" if verdict.list_entry else "",
            "  failed checks": ", ".join(verdict.failed_checks),
            "  not allowed": ", ".join(verdict.forbidden_attachments),
            "  checks": ", ".join(result.check for result in findings.results),
        }
    )
    for result in findings.auth:
        say(f"  auth       {auth_text(result)}" + (f" ({result.reason})" if result.reason else ""))
    print_table(
        ("POINTS", "SYMBOL", "WHAT", "IN"),
        [
            *(
                (f"{symbol.points:+.1f}", symbol.name, symbol.description, safe(", ".join(symbol.evidence), limit=80))
                for symbol in sorted(verdict.symbols, key=lambda symbol: -abs(symbol.points))
            ),
            (Cell(f"{verdict.score:.1f}", "bold"), Cell("score", "bold"), "", ""),
        ],
        right=("POINTS",),
    )
    say()
