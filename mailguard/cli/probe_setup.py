"""From the options of `mailguard probe` to a run: whom to write to, through which door, and where to look for the mail."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mailguard.cli.context import Cli, Problems
from mailguard.cli.terminal import complain
from mailguard.core.address import is_mailbox
from mailguard.core.clock import system_clock
from mailguard.core.errors import ConfigError, Problem, UnavailableError
from mailguard.core.ids import new_message_id
from mailguard.core.transport import TlsMode
from mailguard.watch.probe_mark import Kind

if TYPE_CHECKING:
    from mailguard.net.smtp_client import Target
    from mailguard.store.tenants import TenantRecord
    from mailguard.watch.probe import Eyes, Fetch, Run
    from mailguard.watch.probe_result import RunResult
    from mailguard.watch.probe_verdict import Recorded

IMAPS = 993


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options as they were given."""

    tenant: str
    server: str
    to: str
    starttls: bool
    verify: bool
    listen: str
    imap: str
    imap_user: str
    imap_folder: str
    database: bool | None
    door_only: bool
    only: str
    timeout: float
    place: str


@dataclass(frozen=True, slots=True)
class Ready:
    """A run that can begin. `listen`: where to be the canary's mail server meanwhile."""

    tenant: str
    place: str
    server: str
    settings: Run
    eyes: Eyes
    listen: tuple[str, int] | None

    @property
    def has_clean(self) -> bool:
        """Whether the clean mail is among those that are sent."""
        return Kind.CLEAN in self.settings.kinds

    async def run(self) -> RunResult:
        """Probe. Raises ConfigError when the port cannot be listened on."""
        from mailguard.watch.probe import probe
        from mailguard.watch.probe_result import result_of
        from mailguard.watch.probe_verdict import findings

        canary = self.eyes.canary
        if canary is not None and self.listen is not None:
            try:
                await canary.start(*self.listen)
            except OSError as error:
                where = f"{self.listen[0]}:{self.listen[1]}"
                problem = f"cannot listen on {where}: {error.strerror or error}"
                raise ConfigError([Problem("--listen", problem)]) from error
        at = system_clock()
        try:
            mails = await probe(self.settings, self.eyes, at=at)
        finally:
            if canary is not None:
                await canary.stop()
        return result_of(
            mails,
            findings(mails, patience=self.settings.timeout),
            run=new_message_id(at),
            tenant=self.tenant,
            at=at,
            place=self.place,
            server=self.server,
            recipient=self.settings.recipient,
        )


def key_of(cli: Cli) -> str:
    """The key. Raises ConfigError when none is set."""
    key = cli.settings.probe.key
    if not key:
        problem = "is not set: make one with `openssl rand -hex 32`, the same at the relay and here (docs/probe.md)"
        raise ConfigError([Problem("probe.key", problem)])
    return key


def prepare(cli: Cli, wanted: Wanted) -> Ready:
    """Look at all of it before anything is sent. Raises ConfigError, NotFoundError, UnavailableError."""
    from mailguard.net.smtp_client import Handshake, Timeouts
    from mailguard.net.tls_contexts import TlsContexts
    from mailguard.watch.probe import Eyes, Run
    from mailguard.watch.probe_canary import Canary

    key, settings, problems = key_of(cli), cli.settings, Problems()
    if not wanted.tenant:
        problems.add(Problem("--tenant", "say whose mail is to be probed"))
    kinds = _kinds(wanted.only, problems)
    server = wanted.server or settings.probe.server or next(iter(settings.server.listen), "")
    door = _door(server, wanted, problems)
    listen = _pair(wanted.listen, "--listen", problems) if wanted.listen else None
    mailbox = _pair(_with_port(wanted.imap), "--imap", problems) if wanted.imap else None
    if wanted.door_only and (listen or mailbox):
        problems.add(Problem("--door-only", "does not go with --listen and --imap"))
    if listen and mailbox:
        problems.add(Problem("--imap", "give either --listen or --imap"))
    problems.raise_any()

    record = None if wanted.door_only and wanted.database is None else _record(cli, wanted)
    if not (record or listen or mailbox or wanted.door_only):
        ways = "give --listen or --imap, run it where the relay's database is, or be content with --door-only"
        raise ConfigError([Problem("--tenant", f"there is no way to see whether the mail arrives: {ways}")])
    recipient = _recipient(cli, wanted, record)
    assert door is not None
    contexts = TlsContexts(ca_file=settings.outbound.ca_file)
    run = Run(
        sender=settings.probe.sender or f"probe@{settings.outbound.from_domain}",
        recipient=recipient,
        key=key,
        kinds=kinds,
        door=door,
        handshake=Handshake(helo=settings.outbound.helo, timeouts=Timeouts(connect=wanted.timeout), contexts=contexts),
        timeout=wanted.timeout,
    )
    eyes = Eyes(
        canary=Canary(recipient) if listen else None,
        fetch=_fetch(cli, wanted, mailbox, recipient) if mailbox else None,
        look_up=partial(_look_up, cli, record.tenant.id) if record and not wanted.door_only else None,
    )
    place = (wanted.place or settings.probe.place or socket.gethostname())[:64]
    return Ready(wanted.tenant.strip().lower(), place, server, run, eyes, listen)


def _kinds(text: str, problems: Problems) -> tuple[Kind, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = [kind.value for kind in Kind]
    wrong = [name for name in names if name not in known]
    if wrong or not names:
        problems.add(Problem("--only", f"{text!r} is not a list of {', '.join(known)}"))
        return ()
    return tuple(kind for kind in Kind if kind.value in names)


def _door(server: str, wanted: Wanted, problems: Problems) -> Target | None:
    from mailguard.net.smtp_client import Target

    if not server:
        problem = "say which door: ours takes mail from load balancers alone ([server] proxy_listen)"
        problems.add(Problem("--server", problem))
        return None
    pair = _pair(server, "--server", problems)
    if pair is None:
        return None
    host, port = pair
    mode = TlsMode.VERIFIED if wanted.verify else TlsMode.REQUIRED if wanted.starttls else TlsMode.OPPORTUNISTIC
    any_address = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - our own listener, on all addresses
    return Target(any_address.get(host, host), port, name=host, tls=mode)


def _pair(text: str, option: str, problems: Problems) -> tuple[str, int] | None:
    from mailguard.config.values import split_host_port

    try:
        return split_host_port(text)
    except ValueError as error:
        problems.add(Problem(option, f"{text!r} {error}"))
        return None


def _with_port(text: str) -> str:
    host = text.rpartition("]")[2] if text.startswith("[") else text
    return text if ":" in host else f"{text}:{IMAPS}"


def _record(cli: Cli, wanted: Wanted) -> TenantRecord | None:
    """The tenant as the relay's database has it; None without one, where it is not insisted on."""
    from mailguard.store.tenants import tenant_by_name

    if wanted.database is False:
        return None
    try:
        database = cli.db
    except ConfigError:
        if wanted.database:
            raise
        return None  # it is another host's
    except UnavailableError as error:
        if wanted.database or not (wanted.listen or wanted.imap):
            raise
        complain(f"the relay's record cannot be looked into: {error}")
        return None
    return database.read_sync(lambda conn: tenant_by_name(conn, wanted.tenant.strip().lower()))


def _recipient(cli: Cli, wanted: Wanted, record: TenantRecord | None) -> str:
    if not wanted.to:
        domains = sorted(domain.name for domain in record.domains if not domain.alias_of) if record else []
        if not domains:
            raise ConfigError([Problem("--to", "say which mailbox of the tenant's the mail is for")])
        return f"{cli.settings.probe.local_part}@{domains[0]}"
    if not (is_mailbox(wanted.to) and wanted.to.isascii()):
        raise ConfigError([Problem("--to", f"{wanted.to!r} is not a mail address (in ASCII)")])
    return wanted.to


def _look_up(cli: Cli, tenant: int, header_message_id: str) -> Recorded | None:
    from mailguard.watch.probe_record import look

    return cli.read(partial(look, header_message_id=header_message_id, tenant=tenant))


def _fetch(cli: Cli, wanted: Wanted, mailbox: tuple[str, int], recipient: str) -> Fetch:
    from mailguard.net.tls_contexts import TlsContexts, TlsSetupError
    from mailguard.watch.probe_imap import ImapMailbox, fetch

    password = cli.settings.probe.imap_password
    if not password:
        raise ConfigError([Problem("probe.imap_password", "is not set, and --imap needs it")])
    try:
        context = TlsContexts(ca_file=cli.settings.outbound.ca_file).get(verified=True)
    except TlsSetupError as error:
        raise ConfigError([Problem("outbound.ca_file", str(error))]) from error
    host, port = mailbox
    user = wanted.imap_user or recipient
    return partial(fetch, ImapMailbox(host, port, user, password, wanted.imap_folder, wanted.timeout, context))
