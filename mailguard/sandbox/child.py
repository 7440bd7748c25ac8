"""The sandbox's process: imports the registered functions, gives up its rights, then does one job after the other.

Started by process.py, never by hand. Descriptor 0 is the channel to the relay: first its order, then jobs.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable, Mapping

from mailguard.sandbox.confine import confine
from mailguard.sandbox.frames import HEAD, Json, WithOctets, lengths, pack, unpack

Function = Callable[[bytes, Mapping[str, Json]], "Json | WithOctets"]
"""A registered function: raw octets and arguments to what is answered. Raises whatever it likes for a broken file."""

CHANNEL = 0
ERROR_LIMIT = 200
"""Characters of an error's text."""
_CHUNK = 1024 * 1024


def main() -> None:
    """The process's entry; ends with the channel."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # whoever started the relay may have it ignored
    order, material = _receive()
    cpu_seconds, jobs = float(str(order["cpu_seconds"])), int(str(order["jobs"]))
    paths, options = order["paths"], order["options"]
    if isinstance(paths, list):
        sys.path.extend(map(str, paths))
    try:
        registry = importlib.import_module(str(order["registry"]))
        functions: Mapping[str, Function] = registry.FUNCTIONS
        registry.prepare(options if isinstance(options, dict) else {}, material)
        held = confine(
            user=str(order["user"]),
            memory=int(str(order["memory"])),
            cpu_seconds=cpu_seconds * jobs,
            parent=int(str(order["parent"])),
        )
    except Exception as error:  # noqa: BLE001 - told to the relay, which logs it
        _send({"unable": f"{type(error).__name__}: {error}"[:ERROR_LIMIT]})
        return
    _send({"held": [one.value for one in sorted(held)]})
    while True:
        try:
            job, raw = _receive()
        except EOFError:
            return
        # The default action of SIGPROF ends the process, whatever code it is in.
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        answer, octets = _do(functions, job, raw)
        signal.setitimer(signal.ITIMER_PROF, 0)
        del raw
        _send(answer, octets)
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


def _receive() -> tuple[dict[str, Json], bytes]:
    header, raw = lengths(_read(HEAD.size))
    return unpack(_read(header)), _read(raw)


def _read(size: int) -> bytes:
    out = bytearray()
    while len(out) < size:
        chunk = os.read(CHANNEL, min(size - len(out), _CHUNK))
        if not chunk:
            raise EOFError
        out += chunk
    return bytes(out)


def _send(header: Mapping[str, Json], raw: bytes = b"") -> None:
    left = memoryview(pack(header, raw))
    while left:
        left = left[os.write(CHANNEL, left) :]


if __name__ == "__main__":
    main()
