"""A registry of functions that do what hostile files make parsers do; the pool's tests run them in its processes."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from mailguard.sandbox.child import Function
from mailguard.sandbox.frames import HEAD, Json

PREPARED: list[dict[str, Json]] = []


def prepared(raw: bytes, arguments: Mapping[str, Json]) -> Json:
    return {"with": [*PREPARED], "pid": os.getpid()}


def echo(raw: bytes, arguments: Mapping[str, Json]) -> Json:
    return {"size": len(raw), "arguments": dict(arguments), "pid": os.getpid()}


def loop(raw: bytes, arguments: Mapping[str, Json]) -> Json:
    while True:
        pass


def sleep(raw: bytes, arguments: Mapping[str, Json]) -> Json:
    time.sleep(3600)
    return None


def nap(raw: bytes, arguments: Mapping[str, Json]) -> Json:
    time.sleep(0.5)
    return {"pid": os.getpid()}


def allocate(raw: bytes, arguments: Mapping[str, Json]) -> Json:
    kept = []
    while True:
        kept.append(bytearray(16 << 20))


def crash(raw: bytes, arguments: Mapping[str, Json]) -> Json:
    ctypes.string_at(0)
    return None


def leave(raw: bytes, arguments: Mapping[str, Json]) -> Json:
    os._exit(7)


def garbage(raw: bytes, arguments: Mapping[str, Json]) -> Json:
    os.write(0, b"\xff" * 64)
    time.sleep(3600)
    return None


def nested(raw: bytes, arguments: Mapping[str, Json]) -> Json:
    os.write(0, HEAD.pack(200_000, 0) + b"[" * 200_000)
    time.sleep(3600)
    return None


def hang_up(raw: bytes, arguments: Mapping[str, Json]) -> Json:
    os.close(0)
    time.sleep(3600)
    return None


def broken(raw: bytes, arguments: Mapping[str, Json]) -> Json:
    raise ValueError("no picture")


def unserialisable(raw: bytes, arguments: Mapping[str, Json]) -> Json:
    return "x" * 2_000_000


def _errors(attempts: Mapping[str, Callable[[], object]]) -> Json:
    """Which attempts failed as they must, by the error's name."""
    out: dict[str, Json] = {}
    for name, attempt in attempts.items():
        try:
            out[name] = f"did it: {attempt()!r}"
        except (OSError, RuntimeError, ValueError) as error:
            out[name] = type(error).__name__
    return out


def reach_out(raw: bytes, arguments: Mapping[str, Json]) -> Json:
    """Try what a program that took the process over would try first."""
    target = str(arguments["target"])
    return _errors(
        {
            "fork": os.fork,
            "thread": threading.Thread(target=print).start,
            "execute": lambda: os.execv(sys.executable, [sys.executable, "-c", "0"]),
            "spawn": lambda: subprocess.run(["/bin/true"], check=True),
            "socket": socket.socket,
            "pair": socket.socketpair,
            "read": lambda: Path("/etc/hostname").read_bytes(),
            "write": lambda: Path(target).write_bytes(b"x"),
            "remove": lambda: Path(target).unlink(),
            "rename": lambda: Path(target).rename(target + ".new"),
            "directory": lambda: Path(target).with_name("new").mkdir(),
            "list": lambda: list(Path("/").iterdir()),
            "pipe": os.pipe,
            "kill": lambda: os.kill(os.getppid(), signal.SIGTERM),
            "more files": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
            "root": lambda: os.setresuid(0, 0, 0),
            "memory to run": _executable_memory,
        }
    )


def _executable_memory() -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    if libc.mmap(None, 4096, 7, 0x22, -1, 0) == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap")
    return "mapped"


def identity(raw: bytes, arguments: Mapping[str, Json]) -> Json:
    environment: list[Json] = [*sorted(os.environ)]
    return {"uid": os.getuid(), "gid": os.getgid(), "environment": environment}


FUNCTIONS: Mapping[str, Function] = {
    function.__name__: function
    for function in (
        echo,
        loop,
        sleep,
        nap,
        prepared,
        allocate,
        crash,
        leave,
        garbage,
        nested,
        hang_up,
        broken,
        unserialisable,
        reach_out,
        identity,
    )
}


def prepare(options: Mapping[str, Json], material: bytes) -> None:
    """Nothing is left to be imported."""
    _errors({"mapped": _executable_memory})
    if options.get("thread"):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    PREPARED.append({"options": dict(options), "material": material.hex()})
