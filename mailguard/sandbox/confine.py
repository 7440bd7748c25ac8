"""Takes from this process what it must not have: first from the one that all are forked from, then from each, before it sees a file."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import resource
import signal
import struct
from pathlib import Path

from mailguard.sandbox import seccomp
from mailguard.sandbox.values import Protection

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CAPABILITY_VERSION_3 = 0x20080522
NICENESS = 10
"""How far the processes stand behind the relay where the processor is scarce: one of theirs gets a tenth of what one of its gets."""
KEPT = 3
"""Descriptors that stay: the channel to the relay, and twice nothing."""


def stand_back() -> None:
    """Leave the processor to others, and be what the system kills when memory runs out: rather we than the relay."""
    os.nice(NICENESS)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def withdraw(*, user: str, parent: int) -> frozenset[Protection]:
    """Give up user and network, here and for all that is forked; die with `parent`. What is now in force.

    `user` counts when we are root. Raises KeyError when there is no such user.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    held = set()
    if _without_network(libc):
        held.add(Protection.NETWORK)
    if os.geteuid() == 0:
        _become(pwd.getpwnam(user))
        held.add(Protection.USER)
    _die_with(parent, libc)
    return frozenset(held)


def confine(*, memory: int, cpu_seconds: float, parent: int) -> frozenset[Protection]:
    """Give up files, further processes and further descriptors; die with `parent`. What is now in force beside it.

    `memory` is in octets beyond what the process has. `cpu_seconds` is for its whole life. Raises OSError when a limit that every
    Linux has cannot be set.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    nothing = os.open("/dev/null", os.O_RDWR)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    os.closerange(KEPT, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _limit(memory=size + memory, cpu_seconds=cpu_seconds)
    _die_with(parent, libc)
    held = {Protection.LIMITS}
    if seccomp.install(libc):
        held.add(Protection.SECCOMP)
    return frozenset(held)


def _die_with(parent: int, libc: ctypes.CDLL) -> None:
    """Gain no rights, be looked into by nobody, and end with `parent`. A change of user, and a fork, would clear the last."""
    _must(libc, PR_SET_DUMPABLE, 0)
    _must(libc, PR_SET_NO_NEW_PRIVS, 1)
    _must(libc, PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # gone already: nobody would tell us
        os._exit(1)


def _without_network(libc: ctypes.CDLL) -> bool:
    """Whether a network namespace of our own could be had: as root, or where users may make user namespaces."""
    if libc.unshare(CLONE_NEWNET) == 0:
        return True
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        return False
    # In its own namespace it would have every capability, and with them more of the kernel to attack.
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    libc.capset(header, bytes(24))
    return True


def _become(account: pwd.struct_passwd) -> None:
    os.setgroups([])
    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)


def _limit(*, memory: int, cpu_seconds: float) -> None:
    for what, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, max(1, round(cpu_seconds))),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, KEPT),
    ):
        hard = resource.getrlimit(what)[1]
        lower = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(what, (lower, lower))


def _must(libc: ctypes.CDLL, option: int, value: int) -> None:
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
