"""Mail in its order with feedback: what is told when, and that learning shows."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mailguard.core.decision import Action
from mailguard.core.errors import ConfigError
from mailguard.learning.online import Feedback, TenantLearner, chronological, read_index, run_online
from mailguard.learning.scale import Scale
from mailguard.learning.scanning import ScannedMail
from tests.unit.learning.scanned import THRESHOLDS, scanned


@dataclass
class Notes:
    """Learns nothing, and notes in which order it was asked and told."""

    seen: list[str] = field(default_factory=list)

    def shift(self, mail: ScannedMail) -> float:
        self.seen.append(f"? {mail.mail.path.name}")
        return 0.0

    def learn(self, mail: ScannedMail, *, spam: bool) -> None:
        self.seen.append(f"{'spam' if spam else 'ham'} {mail.mail.path.name}")


def stream(*scores: float, every: int = 10) -> list[ScannedMail]:
    return [
        scanned(score, spam=bool(place % 2), name=str(place), date=1000 + place * every, features=b"\1\0\0\0")
        for place, score in enumerate(scores)
    ]


def order(feedback: Feedback, *scores: float) -> list[str]:
    notes = Notes()
    run_online(stream(*scores), notes, thresholds=THRESHOLDS, feedback=feedback)
    return notes.seen


def test_trecs_protocol_tells_each_mail_before_the_next() -> None:
    assert order(Feedback(), 0, 0, 0) == ["? 0", "ham 0", "? 1", "spam 1", "? 2"]


def test_later_by_mails_and_by_time() -> None:
    assert order(Feedback(delay=1), 0, 0, 0) == ["? 0", "? 1", "ham 0", "? 2"]
    # Mails are 10 s apart: each is told 15 s after it, so before the second one that follows.
    told_by_time = order(Feedback(delay=15, in_seconds=True), 0, 0, 0, 0)
    assert told_by_time == ["? 0", "? 1", "ham 0", "? 2", "spam 1", "? 3"]


def test_only_mistakes_and_only_some() -> None:
    # Wrong are the ham of 9 and the spam of 0.
    assert order(Feedback(mistakes=True), 9, 9, 0, 0, 0) == ["? 0", "ham 0", "? 1", "? 2", "? 3", "spam 3", "? 4"]
    told = [one for one in order(Feedback(share=0.5, seed=3), *[0.0] * 200) if not one.startswith("?")]
    assert 60 < len(told) < 140
    assert told == [one for one in order(Feedback(share=0.5, seed=3), *[0.0] * 200) if not one.startswith("?")]
    assert not [one for one in order(Feedback(share=0.0), 9, 9) if not one.startswith("?")]


def test_learning_shows_in_later_blocks() -> None:
    """A newsletter and a scam that the filter takes for each other, over and over."""
    news, scam = array("I", range(1, 60)).tobytes(), array("I", range(1000, 1060)).tobytes()
    mails = [
        scanned(9.0 if place % 2 == 0 else 1.0, spam=bool(place % 2), features=(news, scam)[place % 2], date=place)
        for place in range(60)
    ]
    learner = TenantLearner(Scale())
    run = run_online(mails, learner, thresholds=THRESHOLDS, feedback=Feedback(), block=20)
    assert run.told == 59
    assert [block.first for block in run.blocks] == [1, 21, 41]
    last = run.blocks[-1]
    assert last.static.ham.reached[Action.QUARANTINE].count == last.static.ham.n == 10
    assert last.learned.ham.reached[Action.QUARANTINE].count == 0
    assert last.learned.spam.roca < last.static.spam.roca == 1.0
    assert run.learned.ham.n == run.static.ham.n == 30


def test_the_order_of_dates() -> None:
    mails = [scanned(0, spam=False, name=str(date), date=date) for date in (30, 10, 0, 20)]
    assert [one.date for one in chronological(mails)] == [0, 10, 20, 30]


def test_an_index_as_trecs(tmp_path: Path) -> None:
    index = tmp_path / "full" / "index"
    index.parent.mkdir()
    index.write_text("spam ../data/inmail.1\nham ../data/in mail.2\n\n")
    found = list(read_index(index))
    assert [(mail.spam, mail.path) for mail in found] == [
        (True, tmp_path / "full" / "../data/inmail.1"),
        (False, tmp_path / "full" / "../data/in mail.2"),
    ]
    index.write_text("spam a\nperhaps b\nham\n")
    with pytest.raises(ConfigError) as error:
        list(read_index(index))
    assert [problem.where for problem in error.value.problems] == [f"{index}:2", f"{index}:3"]
    with pytest.raises(ConfigError, match="cannot be read"):
        list(read_index(tmp_path / "missing"))
