"""A worker process: runs one Relay until its parent tells it to stop, or is gone. Started by the supervisor, never by hand."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import sys

import uvloop

from mailguard.app.relay import Relay
from mailguard.app.supervisor import CONTROL_FD_VARIABLE, INSTANCE_VARIABLE
from mailguard.config import Settings, load_settings
from mailguard.core.errors import ConfigError, MailGuardError
from mailguard.ops import log as logs


async def run(settings: Settings, *, instance: str, control: socket.socket) -> None:
    """Take mail in until SIGTERM or the parent's end. `control` hears `ready`, and is closed by the parent's death."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection(sock=control)

    async def wait_for_parents_end() -> None:
        await reader.read()
        stopping.set()

    relay = Relay(settings, instance=instance)
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, relay.reload)
    # Ctrl-C reaches the whole process group: the parent turns it into SIGTERM in its own time.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    await relay.start()
    writer.write(b"ready\n")
    watch = asyncio.create_task(wait_for_parents_end())
    await stopping.wait()
    watch.cancel()
    await relay.stop()
    writer.close()


def allow_connections() -> None:
    """As many open files as the system allows us: the usual 1,024 are less than `max_connections`."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    """The process's entry: exits 0 after a drain, 2 on a wrong setting, 1 when something needed is away."""
    settings = load_settings()
    logs.configure(level=settings.log.level, form=settings.log.format)
    log = logs.get_logger("worker")
    allow_connections()
    control = socket.socket(fileno=int(os.environ.pop(CONTROL_FD_VARIABLE)))
    try:
        uvloop.run(run(settings, instance=os.environ[INSTANCE_VARIABLE], control=control))
    except ConfigError as error:
        log.error("cannot_start", problems=[str(problem) for problem in error.problems])
        sys.exit(2)
    except (MailGuardError, OSError) as error:
        log.error("cannot_start", error=str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
