"""`mailguard playground`: a relay to try, with a scanner, a name server, a tenant and its mail server; all on loopback."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import Cli, cli_of
from mailguard.cli.terminal import say
from mailguard.core.errors import ConfigError, ConflictError, NotFoundError, Problem

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.config.settings import Settings

TENANT = "demo"
DOMAIN = "client.test"
RECIPIENT = f"you@{DOMAIN}"
SENDER = "alice@sender.test"
SINK = "127.0.0.1:2526"
DNS = "127.0.0.1:2527"

SYSTEM_SIGNATURES = Path("/var/lib/clamav")
SIGNATURE_WAIT = 300.0
"""Seconds that clamd may take to load all of ClamAV's signatures."""
RELAY_WAIT = 60.0
DRAIN = 10.0
"""Seconds that open sessions have to end in at Ctrl-C; who tries things out does not want to wait."""

EICAR_SIGNATURE = (
    "58354f2150254041505b345c505a58353428505e2937434329377d2445494341522d5354414e444152442d414e544956495255532d544553"
    "542d46494c452124482b482a"
)
CLAMD_CONF = """\
# Written by `mailguard playground`.
Foreground yes
DatabaseDirectory {database}
{address}
LogFile {directory}/clamd.log
LogFileMaxSize 0
TemporaryDirectory {directory}/tmp
MaxThreads 4
AlertExceedsMax yes
AlertEncrypted yes
StreamMaxLength {limit}
MaxScanSize {limit}
MaxFileSize {limit}
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the playground keeps its files, and where its mail server and name server listen."""

    directory: Path
    sink: str = SINK
    dns: str = DNS

    @property
    def mailbox(self) -> Path:
        """The Maildir of the client's mail server."""
        return self.directory / "mailbox"

    @property
    def clamd_log(self) -> Path:
        """What clamd says."""
        return self.directory / "clamd.log"


def place_of(settings: Settings, *, sink: str = SINK, dns: str = DNS) -> Place:
    """The playground's place under the data directory."""
    return Place(settings.storage.path / "demo", sink, dns)


def program() -> str:
    """How the user calls us, for commands to copy: `.venv/bin/mailguard` from a clone, `mailguard` when it is on the PATH."""
    path = Path(sys.argv[0])
    if path.name != "mailguard":
        path = Path(sys.executable).with_name("mailguard")
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return "mailguard" if path.parent in map(Path, os.get_exec_path()) else str(path)


def playground(
    context: typer.Context,
    *,
    sink: Annotated[str, typer.Option("--sink", metavar="HOST:PORT", help="Of the client's mail server.")] = SINK,
    dns: Annotated[str, typer.Option("--dns", metavar="HOST:PORT", help="Of the name server.")] = DNS,
) -> None:
    """Run a relay to try, in the foreground: with a virus scanner, a demo tenant and a mailbox. Ctrl-C stops all of it.

    It uses the settings (127.0.0.1:2525, SQLite under var/) and never leaves this machine. See also `mailguard demo`.
    """
    cli = cli_of(context)
    settings = cli.settings
    place = place_of(settings, sink=sink, dns=dns)
    _require_free_ports(settings, place)
    place.directory.mkdir(parents=True, exist_ok=True)
    _add_tenant(cli, place)
    raise typer.Exit(asyncio.run(_run(settings, place, config=cli.config)))


async def _run(settings: Settings, place: Place, *, config: Path | None) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        await _start_neighbours(stack, place)
        environment = _environment(settings, place)
        clamd = await _start_clamd(stack, settings, place, stopping)
        if stopping.is_set():
            return 0
        arguments = [sys.executable, "-m", "mailguard", *(["--config", str(config)] if config else []), "serve"]
        relay = await _start(stack, "the relay", arguments, environment=environment, patience=DRAIN + 15.0)
        if not await _until_ready(settings, relay, stopping):
            say("the relay did not start; its last lines above say why", style="red")
            return 0 if stopping.is_set() else 1
        _print_guide(settings, place)
        ended = {asyncio.create_task(relay.wait()): "the relay", asyncio.create_task(stopping.wait()): ""}
        if clamd is not None:
            ended[asyncio.create_task(clamd.wait())] = f"clamd (see {place.clamd_log})"
        done, running = await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        for task in running:
            task.cancel()
        died = [ended[task] for task in done if ended[task]] if not stopping.is_set() else []
        say(f"{' and '.join(died)} has ended: stopping the rest" if died else "stopping")
        return 1 if died else 0


async def _start_neighbours(stack: AsyncExitStack, place: Place) -> None:
    """The client's mail server and the name server, in this process."""
    from mailguard.cli.playground_dns import DemoDns
    from mailguard.cli.sink import Maildir, Sink, announce
    from mailguard.config.values import split_host_port

    sink, names = Sink(Maildir(place.mailbox), on_mail=announce), DemoDns()
    await sink.start(*split_host_port(place.sink))
    stack.push_async_callback(sink.stop)
    await names.start(*split_host_port(place.dns))
    stack.callback(names.stop)


async def _start_clamd(
    stack: AsyncExitStack, settings: Settings, place: Place, stopping: asyncio.Event
) -> asyncio.subprocess.Process | None:
    """A clamd of our own at the settings' address; None when one answers there already. Waits until it takes scans."""
    from mailguard.net.clamd import ClamdClient

    client = ClamdClient(settings.clamav.address, timeout=2.0)
    stack.push_async_callback(client.close)
    if await client.ping():
        say(f"using the clamd that answers at {settings.clamav.address}")
        return None
    database = _signatures(place)
    config = place.directory / "clamd.conf"
    config.write_text(
        CLAMD_CONF.format(
            database=database.absolute(),
            address=_clamd_address(settings.clamav.address),
            directory=place.directory.absolute(),
            limit=settings.server.size_limit + (10 << 20),
        )
    )
    (place.directory / "tmp").mkdir(exist_ok=True)
    place.clamd_log.unlink(missing_ok=True)
    clamd = await _start(stack, "clamd", ["clamd", "-c", str(config.absolute())], quiet=True, patience=10.0)
    deadline = asyncio.get_running_loop().time() + SIGNATURE_WAIT
    while not stopping.is_set() and not await client.ping():
        if clamd.returncode is not None or asyncio.get_running_loop().time() > deadline:
            tail = (
                place.clamd_log.read_text(errors="replace")[-1500:] if place.clamd_log.exists() else "it said nothing"
            )
            raise ConfigError([Problem("clamd", f"did not start: {tail.strip()}")])
        await asyncio.sleep(0.1)
    return clamd


def _signatures(place: Place) -> Path:
    """The system's signature database when there is one, else one of our own that knows EICAR alone."""
    if any(SYSTEM_SIGNATURES.glob("*.c[vl]d")):
        say(f"scanner: signatures of {SYSTEM_SIGNATURES}; loading them takes a while")
        return SYSTEM_SIGNATURES
    say(
        f"scanner: no signatures in {SYSTEM_SIGNATURES} (freshclam fetches them), so it knows the EICAR test file alone"
    )
    own = place.directory / "clamav"
    own.mkdir(exist_ok=True)
    (own / "eicar.ndb").write_text(f"Eicar-Test:0:*:{EICAR_SIGNATURE}\n")
    return own


def _clamd_address(address: str) -> str:
    from mailguard.config.values import split_host_port

    if address.startswith("/"):
        return f"LocalSocket {address}"
    host, port = split_host_port(address)
    return f"TCPAddr {host}\nTCPSocket {port}"


async def _start(
    stack: AsyncExitStack,
    name: str,
    arguments: Sequence[str],
    *,
    environment: dict[str, str] | None = None,
    quiet: bool = False,
    patience: float,
) -> asyncio.subprocess.Process:
    """Start a process that the stack ends again: by SIGTERM, and after `patience` seconds by SIGKILL."""
    path = os.pathsep.join([*os.get_exec_path(), "/usr/sbin", "/usr/local/sbin"])  # clamd's place on Debian
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            env={**(environment or os.environ), "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if quiet else None,
            stderr=subprocess.DEVNULL if quiet else None,
            start_new_session=True,  # Ctrl-C reaches us alone, and we stop things in order
            preexec_fn=_end_with_parent,
        )
    except FileNotFoundError as error:
        raise ConfigError([Problem(name, f"{arguments[0]} is not installed; `make install` does that")]) from error

    async def stop() -> None:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), patience)
            except TimeoutError:
                say(f"{name} did not stop within {patience:g} s: killed", style="red")
                process.kill()
                await process.wait()

    stack.push_async_callback(stop)
    return process


def _end_with_parent() -> None:
    """In the child: SIGTERM when we are killed (prctl PR_SET_PDEATHSIG), so that nothing is left behind on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _environment(settings: Settings, place: Place) -> dict[str, str]:
    """What the relay gets besides the settings: the demo's name server, unless another is set, and a log for people."""
    extra = {"MAILGUARD_LOG__FORMAT": "console", "MAILGUARD_SERVER__DRAIN_SECONDS": f"{DRAIN:g}"}
    if not settings.dns.nameservers:
        extra["MAILGUARD_DNS__NAMESERVERS"] = f'["{place.dns}"]'
    return extra | dict(os.environ)


async def _until_ready(settings: Settings, relay: asyncio.subprocess.Process, stopping: asyncio.Event) -> bool:
    """Wait until the relay greets on its first listener; False when it died, or we are to stop."""
    host, port = _first_listener(settings)
    deadline = asyncio.get_running_loop().time() + RELAY_WAIT
    while not stopping.is_set() and relay.returncode is None and asyncio.get_running_loop().time() < deadline:
        try:
            reader, writer = await asyncio.open_connection(host, port)
            greeting = await asyncio.wait_for(reader.readline(), 5.0)
            writer.write(b"QUIT\r\n")
            writer.close()
            if greeting.startswith(b"220"):
                return True
        except OSError:
            await asyncio.sleep(0.1)
    return False


def _first_listener(settings: Settings) -> tuple[str, int]:
    from mailguard.config.values import split_host_port

    return split_host_port(settings.server.listen[0])


def _require_free_ports(settings: Settings, place: Place) -> None:
    """Raises ConfigError that names every port which is taken, and the setting that moves it."""
    from mailguard.config.values import split_host_port

    wanted = [(listener, "server.listen", "a relay") for listener in settings.server.listen]
    if settings.http.listen:
        wanted.append((settings.http.listen, "http.listen", "a relay"))
    wanted.append((place.sink, "--sink", "a playground"))
    problems = [
        Problem(key, f"{listener} is taken; is {what} running already? Else set {_variable(key)}")
        for listener, key, what in wanted
        if not _is_free(*split_host_port(listener))
    ]
    if not _is_free(*split_host_port(place.dns), kind=socket.SOCK_DGRAM):
        problems.append(Problem("--dns", f"{place.dns} (UDP) is taken; is a playground running already?"))
    if problems:
        raise ConfigError(problems)


def _variable(key: str) -> str:
    return key if key.startswith("--") else f"MAILGUARD_{key.replace('.', '__').upper()}"


def _is_free(host: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> bool:
    if port == 0:
        return True
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as probe:
        if kind is socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _add_tenant(cli: Cli, place: Place) -> None:
    """The database brought up to date, and in it the demo tenant with its domain and next hop."""
    from mailguard.config.values import split_host_port
    from mailguard.core.envelope import NextHop
    from mailguard.store import migrations, tenants

    migrations.upgrade(cli.settings.database.url)
    hop = NextHop(*split_host_port(place.sink))

    def work(conn: Connection) -> None:
        try:
            known = tenants.tenant_by_name(conn, TENANT)
        except NotFoundError:
            tenants.add_tenant(conn, name=TENANT, now=cli.now(conn), domains=[DOMAIN], next_hops=[hop])
            return
        if not any(domain.name == DOMAIN and domain.next_hops == (hop,) for domain in known.domains):
            say(f"tenant {TENANT} is there already, and stays as it is: see `{program()} tenant show {TENANT}`")

    try:
        cli.write(work)
    except ConflictError as error:
        raise ConflictError(f"the demo tenant cannot be added to {cli.settings.storage.path}: {error}") from error


def _print_guide(settings: Settings, place: Place) -> None:
    host, port = _first_listener(settings)
    us = program()
    swaks = f"swaks --server {host}:{port} --from {SENDER} --to {RECIPIENT}"
    _heading(f"MailGuard takes mail for {DOMAIN} on {host}:{port}. In another terminal:")
    say(f"  {us} demo")
    say("      sends clean mail, a virus, spam and forgeries, and shows what became of each")
    _heading("or one at a time:")
    say(f"  {swaks} --header 'Subject: Hello' --body 'Nothing wrong with this'")
    say(f"  {us} demo --print eicar | {swaks} --data -")
    say(f"  {us} demo --print gtube | {swaks} --data -")
    _heading("Then look at:")
    say(f"  {us} quarantine list     what is kept; then `quarantine show ID`, `quarantine release ID`")
    say(f"  {us} trace               what became of every mail, and why")
    say(f"  ls {shown_path(place.mailbox)}/new      what was delivered (a Maildir)")
    if settings.http.listen:
        say(f"  curl http://{settings.http.listen}/metrics    what Prometheus sees; /readyz tells whether all is well")
    _heading(f"Ctrl-C stops it. Mail and database stay in {shown_path(settings.storage.path)}.")
    say()


def _heading(title: str) -> None:
    say()
    say(title, style="bold")


def shown_path(path: Path) -> str:
    """A path as short as it can be typed from here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
