"""What a process of the sandbox does once it has given up its rights: one job after the other, over descriptor 0."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping

from mailguard.sandbox.frames import HEAD, Json, WithOctets, lengths, pack, unpack

Function = Callable[[bytes, Mapping[str, Json]], "Json | WithOctets"]
"""A registered function: raw octets and arguments to what is answered. Raises whatever it likes for a broken file."""

CHANNEL = 0
ERROR_LIMIT = 200
"""Characters of an error's text."""
_CHUNK = 1024 * 1024


def serve(functions: Mapping[str, Function], cpu_seconds: float) -> None:
    """Do jobs until the channel is closed, or one wants too much memory. One of more than `cpu_seconds` ends the process."""
    while True:
        try:
            job, raw = receive(CHANNEL)
        except EOFError:
            return
        # The default action of SIGPROF ends the process, whatever code it is in.
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        answer, octets = _do(functions, job, raw)
        signal.setitimer(signal.ITIMER_PROF, 0)
        del raw
        send(CHANNEL, answer, octets)
        if "memory" in answer:
            return


def _do(functions: Mapping[str, Function], job: Mapping[str, Json], raw: bytes) -> tuple[dict[str, Json], bytes]:
    arguments = job.get("arguments")
    try:
        function = functions[str(job.get("function"))]
        value = function(raw, arguments if isinstance(arguments, dict) else {})
    except MemoryError:
        return {"memory": True}, b""
    except Exception as error:  # noqa: BLE001 - whatever a parser raises for a broken file is its answer
        return {"error": f"{type(error).__name__}: {error}"[:ERROR_LIMIT]}, b""
    return ({"value": value.value}, value.raw) if isinstance(value, WithOctets) else ({"value": value}, b"")


def receive(channel: int) -> tuple[dict[str, Json], bytes]:
    """The next frame. Raises EOFError at the end of the channel."""
    header, raw = lengths(_read(channel, HEAD.size))
    return unpack(_read(channel, header)), _read(channel, raw)


def _read(channel: int, size: int) -> bytes:
    out = bytearray()
    while len(out) < size:
        chunk = os.read(channel, min(size - len(out), _CHUNK))
        if not chunk:
            raise EOFError
        out += chunk
    return bytes(out)


def send(channel: int, header: Mapping[str, Json], raw: bytes = b"") -> None:
    """Write a frame."""
    left = memoryview(pack(header, raw))
    while left:
        left = left[os.write(channel, left) :]
