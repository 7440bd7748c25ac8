"""Mail of a collection judged in several processes: all of it, in order, and what happens when one is lost."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mailguard.core.errors import ConfigError
from mailguard.learning.scanning import (
    BATCH,
    CorpusMail,
    ScanMail,
    ScannedMail,
    WorkerLostError,
    find_mails,
    scan_corpus,
)


@dataclass(frozen=True)
class Fake:
    """Scores a mail by the number in its name, the first batches more slowly than the rest."""

    die_at: int = -1

    @contextmanager
    def __call__(self) -> Iterator[ScanMail]:
        yield self._scan

    def _scan(self, mail: CorpusMail) -> ScannedMail:
        number = int(mail.path.stem)
        if number == self.die_at:
            os._exit(3)
        if number < BATCH:
            time.sleep(0.002)
        return ScannedMail(mail, score=float(number), reason=str(os.getpid()))


def mails(count: int) -> list[CorpusMail]:
    return [CorpusMail(Path(f"/nowhere/{number}.eml"), spam=bool(number % 2)) for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, 3 * BATCH + 5])
def test_all_of_it_in_order_however_it_is_shared(count: int) -> None:
    here = list(scan_corpus(mails(count), Fake(), jobs=1))
    assert [one.score for one in here] == [float(number) for number in range(count)]
    assert [one.mail for one in here] == mails(count)
    there = list(scan_corpus(mails(count), Fake(), jobs=2))
    assert [(one.mail, one.score) for one in there] == [(one.mail, one.score) for one in here]
    assert str(os.getpid()) not in {one.reason for one in there}


def test_a_lost_process_is_told() -> None:
    with pytest.raises(WorkerLostError):
        list(scan_corpus(mails(2 * BATCH), Fake(die_at=BATCH + 2), jobs=2))


def test_whoever_stops_early_leaves_no_process_behind() -> None:
    found = scan_corpus(mails(6 * BATCH), Fake(), jobs=2)
    assert next(found).score == 0.0
    found.close()  # type: ignore[attr-defined]  # joins the processes: it would hang if they did not end


def test_the_mails_of_folders(tmp_path: Path) -> None:
    for name in ("b/2.eml", "b/deep/1.eml", "b/ABOUT.txt", "b/envelope.jsonl", "b/0.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = find_mails([tmp_path / "b"], spam=True)
    assert [mail.path.relative_to(tmp_path).as_posix() for mail in found] == ["b/0.txt", "b/2.eml", "b/deep/1.eml"]
    assert {(mail.spam, mail.source) for mail in found} == {(True, str(tmp_path / "b"))}
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError) as error:
        find_mails([tmp_path / "empty", tmp_path / "missing", tmp_path / "b"], spam=False)
    assert [problem.message for problem in error.value.problems] == ["holds no message", "is no folder"]
