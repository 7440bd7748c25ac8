"""Outcomes that the database could not take: appended to a file and synced, replayed into the ledger when it is back.

A worker has one journal, `<instance>.jsonl`, which it locks while it lives, so that another process can tell which of the
journals in the directory were left behind. Replay is idempotent: it may stop anywhere and start again.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from mailguard.core.decision import Reason
from mailguard.core.errors import UnavailableError
from mailguard.core.events import TRANSITIONS, EventKind, MailEvent, State
from mailguard.store import schema
from mailguard.store.blobs import FileOps, write_all
from mailguard.store.db import Database, now
from mailguard.store.leases import Leases
from mailguard.store.ledger import Move, QueueEntry, move_in, note_in
from mailguard.store.texts import to_json

_SUFFIX = ".jsonl"
_TURNED = ".turned"  # what is being replayed while new outcomes go to a new file


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did with the moves it found.

    `applied` now; `already` there; `impossible` since the unit had gone elsewhere meanwhile (noted in its trace) or is
    unknown; `unreadable` lines, at most the one being written at a crash.
    """

    applied: int = 0
    already: int = 0
    impossible: int = 0
    unreadable: int = 0

    def __add__(self, other: Replayed) -> Replayed:
        return Replayed(
            self.applied + other.applied,
            self.already + other.already,
            self.impossible + other.impossible,
            self.unreadable + other.unreadable,
        )


class Journal:
    """One worker's journal. `append` may block and be called from any thread."""

    def __init__(self, path: Path, *, files: FileOps | None = None) -> None:
        """Opens and locks `path`, whose name ends in `.jsonl`. Raises UnavailableError."""
        self._path = path
        self._files = files or FileOps()
        self._lock = threading.Lock()
        self._remembered: list[Move] = []
        self._descriptor: int | None = self._open()

    def append(self, moves: Sequence[Move]) -> None:
        """Add moves; when it returns the disk has them. Raises UnavailableError: none of them is kept."""
        lines = "".join(f"\n{to_json(move)}" for move in moves)  # first the line's end: the last one may be torn
        with self._lock:
            if self._descriptor is None:
                self._descriptor = self._open()
            try:
                before = os.fstat(self._descriptor).st_size
                try:
                    write_all(self._files, self._descriptor, f"{lines}\n".encode())
                    self._files.sync(self._descriptor)
                except OSError:
                    # Whoever is told that they are not kept acts on it: they must not be replayed later.
                    self._files.truncate(self._descriptor, before)
                    raise
            except OSError as error:
                raise UnavailableError(f"journal unavailable: {error}") from error

    def remember(self, moves: Sequence[Move]) -> None:
        """Keep in memory until `replay` what `append` could not take: it ends with this process, which no mail does.

        For what is so whether it is on record or not, such as a delivery.
        """
        with self._lock:
            self._remembered += [_move_from(json.loads(to_json(move))) for move in moves]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to replay."""
        return not self._remembered and not self._on_disk

    @property
    def _on_disk(self) -> bool:
        return bool(_size(self._path)) or _turned(self._path).exists()

    async def replay(self, db: Database) -> Replayed:
        """Bring all that was appended into the ledger. Raises UnavailableError: the rest stays for the next time."""
        done = Replayed()
        while self._remembered:
            done += await db.write(_Replay(self._remembered[0]))
            del self._remembered[0]
        if not self._on_disk:
            return done
        turned = _turned(self._path)
        try:
            done += await _replay_file(turned, db)
            await asyncio.to_thread(self._turn)
            return done + await _replay_file(turned, db)
        except OSError as error:
            raise UnavailableError(f"journal unavailable: {error}") from error

    def close(self) -> None:
        """Unlock, and remove the file when it is empty."""
        with self._lock:
            with contextlib.suppress(OSError):  # whoever settles what was left behind removes it
                if not _size(self._path):
                    self._path.unlink(missing_ok=True)
            self._let_go()

    def _turn(self) -> None:
        with self._lock:
            if self._descriptor is not None:
                self._files.rename(self._path, _turned(self._path))
                # First without a file: were the next one not to be had, nothing may go to a number that others get.
                self._let_go()
            self._descriptor = self._open()

    def _let_go(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _open(self) -> int:
        try:
            self._files.make_directory(self._path.parent)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._files.sync_directory(self._path.parent)
            except OSError:
                os.close(descriptor)
                raise
        except OSError as error:
            raise UnavailableError(f"journal {self._path.name} unavailable: {error}") from error
        return descriptor


async def settle_left_behind(directory: Path, db: Database) -> Replayed:
    """Replay the journals of workers that live no more, end what they held, and remove the journals.

    In this order: what a journal says was delivered must not be claimed again. Raises UnavailableError: the rest stays.
    """
    done = Replayed()
    for path in await asyncio.to_thread(_all, directory, _SUFFIX):
        with _abandoned(path) as abandoned:
            if abandoned:
                done += await _replay_file(_turned(path), db)
                done += await _replay(path, db)
                await Leases(db).bury(path.name.removesuffix(_SUFFIX))
                await asyncio.to_thread(path.unlink, missing_ok=True)
    for path in await asyncio.to_thread(_all, directory, _SUFFIX + _TURNED):
        if not _size(path.with_name(path.name.removesuffix(_TURNED))):
            done += await _replay_file(path, db)
    return done


def _all(directory: Path, suffix: str) -> list[Path]:
    return sorted(directory.glob(f"*{suffix}"))


@contextmanager
def _abandoned(path: Path) -> Iterator[bool]:
    """Holds another's journal locked; False when its worker lives, or somebody else is settling it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


async def _replay_file(path: Path, db: Database) -> Replayed:
    """Replay a journal and remove it."""
    done = await _replay(path, db)
    await asyncio.to_thread(path.unlink, missing_ok=True)
    return done


async def _replay(path: Path, db: Database) -> Replayed:
    try:
        content = await asyncio.to_thread(path.read_bytes)
    except FileNotFoundError:
        return Replayed()
    done = Replayed()
    for move in _moves(content):
        done += Replayed(unreadable=1) if move is None else await db.write(_Replay(move))
    return done


def _moves(content: bytes) -> Iterator[Move | None]:
    """The moves in a journal; None for a line that cannot be read."""
    for line in filter(None, content.split(b"\n")):
        try:
            yield _move_from(json.loads(line))
        except (ValueError, KeyError, TypeError):
            yield None


def _move_from(value: dict[str, Any]) -> Move:
    """A move as it can be made later: by then its claim has run out and its unit may be thought interrupted."""
    entry = value.get("queue")
    return Move(
        unit=value["unit"],
        to_state=State(value["to_state"]),
        reason=Reason(value["reason"]),
        actor=value.get("actor", ""),
        detail={**value.get("detail", {}), "replayed": True},
        size=value.get("size", 0),
        queue=None
        if entry is None
        else QueueEntry(entry["purpose"], max(entry["due_at"], entry["lease_until"]), entry["expires_at"]),
    )


@dataclass(frozen=True, slots=True)
class _Replay:
    """The work that brings one move into the ledger."""

    move: Move

    def __call__(self, connection: Connection) -> Replayed:
        units = schema.units
        found = connection.scalar(select(units.c.state).where(units.c.id == self.move.unit).with_for_update())
        if found is None:
            return Replayed(impossible=1)
        if found == self.move.to_state:
            return Replayed(already=1)
        if self.move.to_state in TRANSITIONS[State(found)]:
            move_in(connection, [replace(self.move, expected=State(found))])
            return Replayed(applied=1)
        detail = {"outcome": self.move.to_state, "why": self.move.reason, "outcome_detail": dict(self.move.detail)}
        note = MailEvent(self.move.unit, now(connection), EventKind.NOTE, Reason.JOURNAL_REPLAY, detail=detail)
        note_in(connection, [note])
        return Replayed(impossible=1)


def _turned(path: Path) -> Path:
    return path.with_name(path.name + _TURNED)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
