"""Scans collections of labelled mail in worker processes, and says of each mail what was found and how it scored.

How one mail is judged is handed in (`OpenScanner`): the same judge as at the door, built by `app.corpus`.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from mailguard.core.decision import Action
from mailguard.core.errors import ConfigError, Problem
from mailguard.core.verdict import AuthResult, Classification, ScoredSymbol
from mailguard.learning.envelopes import Envelopes, RecordedEnvelope
from mailguard.learning.traits import Trait

NOT_MAIL = frozenset({"ABOUT.txt", "README.orig.txt"})
"""Files of a collection that tell about it."""
NOT_MAIL_SUFFIXES = (".json", ".jsonl", ".md")
BATCH = 16
"""Mails that a worker is given at a time: enough to keep it busy, few enough that none has much left at the end."""


@dataclass(frozen=True, slots=True)
class CorpusMail:
    """One labelled message in a file. `source` names the collection it is from."""

    path: Path
    spam: bool
    source: str = ""
    recorded: RecordedEnvelope | None = None


@dataclass(frozen=True, slots=True)
class ScannedMail:
    """What the judge made of it. `cpu` is in seconds of processor time for all but reading the file.

    `problem` says why it could not be judged, and then the score is nothing.
    """

    mail: CorpusMail
    score: float = 0.0
    action: Action = Action.DELIVER
    reason: str = ""
    symbols: tuple[ScoredSymbol, ...] = ()
    auth: tuple[AuthResult, ...] = ()
    malware: tuple[str, ...] = ()
    classification: Classification | None = None
    traits: tuple[Trait, ...] = ()
    """By what the next mail of its sender is known; worked out with the classifier's features."""
    date: int = 0
    """The Date field in seconds since 1970; 0: none."""
    cpu: float = 0.0
    problem: str = ""


ScanMail = Callable[[CorpusMail], ScannedMail]
OpenScanner = Callable[[], AbstractContextManager[ScanMail]]
"""Makes what judges in a worker process; it is handed over there, so it must be picklable. Its ScanMail never raises."""


class WorkerLostError(RuntimeError):
    """A worker process ended before its work was done; what it said is on standard error."""


def find_mails(folders: Sequence[Path], *, spam: bool, envelopes: Envelopes | None = None) -> list[CorpusMail]:
    """The messages in `folders` and all folders below, in the order of their paths; a folder's name as given is the source.

    Raises ConfigError for a folder that is not there or empty.
    """
    found: list[CorpusMail] = []
    problems: list[Problem] = []
    for folder in folders:
        if not folder.is_dir():
            problems.append(Problem(str(folder), "is no folder"))
            continue
        files = sorted(_files(folder))
        if not files:
            problems.append(Problem(str(folder), "holds no message"))
        found += [CorpusMail(path, spam, str(folder), envelopes.of(path) if envelopes else None) for path in files]
    if problems:
        raise ConfigError(problems)
    return found


def _files(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            if name not in NOT_MAIL and not name.endswith(NOT_MAIL_SUFFIXES) and path.is_file():
                yield path


def scan_corpus(mails: Iterable[CorpusMail], open_scanner: OpenScanner, *, jobs: int = 2) -> Iterator[ScannedMail]:
    """Judge every mail, `jobs` at a time in as many processes, and yield them in the order given.

    With one job all is done in this process. Raises WorkerLostError when a process is lost.
    """
    if jobs == 1:
        with open_scanner() as scan:
            for mail in mails:
                yield scan(mail)
        return
    yield from _in_processes(list(mails), open_scanner, jobs)


def _in_processes(mails: Sequence[CorpusMail], open_scanner: OpenScanner, jobs: int) -> Iterator[ScannedMail]:
    batches = [mails[start : start + BATCH] for start in range(0, len(mails), BATCH)]
    # Not forked: threads and event loops of this process would come along half alive.
    start = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        workers: dict[Connection, int] = {}
        for _ in range(min(jobs, len(batches))):
            ours, theirs = start.Pipe()
            process = start.Process(target=_work, args=(theirs, open_scanner), daemon=True)
            process.start()
            theirs.close()
            stack.callback(process.join)
            stack.callback(ours.close)
            workers[ours] = -1
        yield from _in_order(_dispatch(workers, batches))


def _dispatch(
    workers: dict[Connection, int], batches: Sequence[Sequence[CorpusMail]]
) -> Iterator[tuple[int, list[ScannedMail]]]:
    """Give each worker the next batch whenever it is free; yields batches with their numbers as they are done."""
    todo = iter(enumerate(batches))
    busy = dict(workers)
    while busy:
        for ready in wait(list(busy)):
            assert isinstance(ready, Connection)
            try:
                done = ready.recv()
            except (EOFError, ConnectionError) as error:
                raise WorkerLostError("a scanning process ended before its work was done") from error
            number = busy.pop(ready)
            after = next(todo, None)
            if after is not None:
                busy[ready] = after[0]
                ready.send(after[1])
            if number >= 0:
                yield number, done


def _in_order(done: Iterator[tuple[int, list[ScannedMail]]]) -> Iterator[ScannedMail]:
    waiting: dict[int, list[ScannedMail]] = {}
    following = 0
    for number, results in done:
        waiting[number] = results
        while following in waiting:
            yield from waiting.pop(following)
            following += 1


def _work(connection: Connection, open_scanner: OpenScanner) -> None:
    """A worker: says that it is ready, then answers each batch, until the other end is closed."""
    try:
        with open_scanner() as scan:
            connection.send([])
            while True:
                batch = connection.recv()
                connection.send([scan(mail) for mail in batch])
    except (EOFError, ConnectionError, KeyboardInterrupt):
        pass  # the work is done, or nobody wants it any more
