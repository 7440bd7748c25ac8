"""A worker process: runs one Relay until its parent tells it to stop, or is gone. Forked by the supervisor, never started by hand."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket

import uvloop

from mailguard.app.filter import FilterFiles
from mailguard.app.relay import Relay
from mailguard.config import Settings
from mailguard.core.errors import ConfigError, MailGuardError
from mailguard.net.tls_contexts import TlsContexts
from mailguard.ops import log as logs


def run_worker(settings: Settings, files: FilterFiles, tls: TlsContexts, control: socket.socket, instance: str) -> int:
    """The process; the exit code: 0 after a drain, 2 on a wrong setting, 1 when something needed is away."""
    log = logs.get_logger("worker")
    _allow_connections()
    try:
        uvloop.run(_run(settings, files, tls, control=control, instance=instance))
    except ConfigError as error:
        log.error("cannot_start", problems=[str(problem) for problem in error.problems])
        return 2
    except (MailGuardError, OSError) as error:
        log.error("cannot_start", error=str(error))
        return 1
    return 0


async def _run(
    settings: Settings, files: FilterFiles, tls: TlsContexts, *, control: socket.socket, instance: str
) -> None:
    """Take mail in until SIGTERM or the parent's end. `control` hears `ready`, and is closed by the parent's death."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection(sock=control)

    async def wait_for_parents_end() -> None:
        await reader.read()
        stopping.set()

    relay = Relay(settings, instance=instance, files=files, tls=tls)
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, relay.reload)
    await relay.start()
    writer.write(b"ready\n")
    watch = asyncio.create_task(wait_for_parents_end())
    await stopping.wait()
    watch.cancel()
    await relay.stop()
    writer.close()


def _allow_connections() -> None:
    """As many open files as the system allows us: the usual 1,024 are less than `max_connections`."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
