"""`mailguard train` on small handwritten collections: what it writes, and what is wrong with what it is given."""

from __future__ import annotations

from pathlib import Path

from mailguard.checks.model import Model
from tests.unit.cli.conftest import Run

HAM = "see the patch below, thanks for the review of the driver, it builds and boots here, number {0}"
SPAM = "claim your prize now, dear winner, send the fee and your bank account to our agent, number {0}"

RULES = """\
rules:
  - name: CLAIMS_A_PRIZE
    description: somebody has won
    score: 1.5
    where: body
    patterns: 'claim your prize'
    hits: ['claim your prize']
    misses: ['a price']
"""


def collections(folder: Path) -> Path:
    for family in ("spamassassin", "csdmc2010"):
        for kind, text in (("ham", HAM), ("spam", SPAM)):
            place = folder / family / kind
            place.mkdir(parents=True)
            for number in range(20):
                (place / f"{number}.eml").write_text(
                    f"From: a{number}@{family}.example\nTo: b@example.org\nSubject: {text[:20]}\n"
                    f"Message-ID: <{number}@{family}.example>\nDate: Mon, 2 Feb 2026 10:00:00 +0000\n\n"
                    + text.format(number)
                    + "\n"
                )
    return folder


def test_a_model_the_points_and_a_report_are_written(tmp_path: Path, mailguard: Run) -> None:
    out = tmp_path / "out"
    out.mkdir()
    report = tmp_path / "across.md"
    rules = tmp_path / "policies" / "rules" / "10-prizes.yaml"
    rules.parent.mkdir()
    rules.write_text(RULES)
    ran = mailguard(
        "train",
        str(collections(tmp_path / "in")),
        "--out",
        str(out),
        "--report",
        str(report),
        "--jobs",
        "1",
    )
    assert ran.code == 0, ran.err
    model = Model.from_bytes((out / "classifier.npz").read_bytes())
    sources = model.about["sources"]
    assert any(name.startswith("own ham ") for name in sources)
    assert {name: count for name, count in sources.items() if not name.startswith("own ")} == {
        "spamassassin ham": 20, "spamassassin spam": 20, "csdmc2010 ham": 20, "csdmc2010 spam": 20,
    }  # fmt: skip
    assert model.name in ran.out
    assert "| csdmc2010 spam | spam | 20 |" in report.read_text()
    assert "    prior: 1.5\n" in rules.read_text()
    assert "    score: 1.5\n" not in rules.read_text()
    assert (out / "points.yaml").read_text().startswith("# Points")


def test_a_folder_without_collections_is_told(tmp_path: Path, mailguard: Run) -> None:
    ran = mailguard("train", str(tmp_path))
    assert ran.code == 2
    assert "none of the known collections" in ran.err


def test_a_place_that_is_not_there_is_told_before_the_work_begins(tmp_path: Path, mailguard: Run) -> None:
    ran = mailguard("train", str(collections(tmp_path / "in")), "--out", str(tmp_path / "nowhere"))
    assert ran.code == 2
    assert "is no folder" in ran.err
