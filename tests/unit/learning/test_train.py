"""Training and fitting on small made-up collections: what is learned, what is left out, and what points come to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mailguard.app.training import write_points, write_rules
from mailguard.checks.classifier import CLASSIFIED_SPAM
from mailguard.core.errors import ConfigError
from mailguard.core.verdict import Classification, ScoredSymbol
from mailguard.learning.fit import Fitted, fit
from mailguard.learning.report_across import report
from mailguard.learning.scanning import CorpusMail, ScannedMail
from mailguard.learning.sources import Source, find_sources, mended
from mailguard.learning.table import FEWEST, LENGTHS, Table, TableBuilder, texts_of
from mailguard.learning.train import Trained, across, alone_of, folds_of, logits, train

SOURCES = tuple(
    Source(f"{family} {kind}", Path(family), kind == "spam", family, modern=True, learn=family != "measured")
    for family in ("one", "two", "three", "measured")
    for kind in ("ham", "spam")
)
SPAM_WORD, HAM_WORD, COMMON = 11, 22, 33


def table_of(per_source: int = 40, *, noise: float = 0.0, sources: tuple[Source, ...] = SOURCES) -> Table:
    """Spam has one word, honest mail another; a rule hits spam alone, another one nobody has seen, a third both alike."""
    random = np.random.default_rng(1)
    builder = TableBuilder(sources)
    for number, source in enumerate(sources):
        for at in range(per_source):
            word = SPAM_WORD if source.spam else HAM_WORD
            misleading = random.random() < noise
            ids = {COMMON, SPAM_WORD + HAM_WORD - word if misleading else word}
            symbols = [ScoredSymbol("BOTH", 1.0, check="rules")] if random.random() < 0.5 else []
            symbols += [ScoredSymbol(CLASSIFIED_SPAM, 3.0, check="classifier")]
            if source.spam and random.random() < 0.8:
                symbols.append(ScoredSymbol("GOOD_RULE", 0.5, check="rules"))
            if at == 0 and number == 0:
                symbols.append(ScoredSymbol("RARE", 2.0, check="identity"))
            packed = np.array(sorted(ids), dtype=np.uint32).tobytes()
            builder.add(
                number,
                ScannedMail(
                    CorpusMail(Path(f"{source.name}/{at}"), source.spam),
                    symbols=tuple(symbols),
                    classification=Classification(0.0, "", packed),
                ),
                blank=False,
            )
    return builder.build()


def whole(table: Table) -> Trained:
    return train(table, np.flatnonzero(table.learnable))


def fitted_on(table: Table) -> Fitted:
    logits = across(table, whole(table), lambda _: None)
    return fit(table, logits, across(table, whole(table), lambda _: None, folds=alone_of(table)), lambda _: None)


@pytest.fixture(scope="module")
def doubtful() -> tuple[Table, Fitted]:
    """Fitted where a quarter of all mails read like the other kind."""
    table = table_of(noise=0.25)
    return table, fitted_on(table)


def test_the_classifier_learns_what_spam_and_honest_mail_say() -> None:
    table = table_of()
    trained = train(table, np.arange(len(table.row_source)))
    assert trained.weights[SPAM_WORD] > 0.5
    assert trained.weights[HAM_WORD] < -0.5
    found = logits(table, np.arange(len(table.row_source)), trained)
    assert ((found > 0) == table.row_spam).all()


def test_a_family_is_judged_by_what_never_saw_it() -> None:
    table = table_of()
    seen: list[str] = []
    found = across(table, whole(table), seen.append)
    assert ((found > 0) == table.row_spam).mean() > 0.95
    assert [line.split(":")[0] for line in seen] == [f"left out {name}" for name in sorted(folds_of(table))]


def test_what_is_only_measured_on_is_judged_by_what_all_others_teach() -> None:
    table = table_of()
    odd = Trained(np.zeros(table.texts.shape[1]), 7.0)
    found = across(table, odd, lambda _: None)
    measured = table.families == "measured"
    assert (found[measured] == 7.0).all()
    assert (found[~measured] != 7.0).all()


def test_of_a_family_of_several_collections_each_is_left_out_alone_too() -> None:
    old = tuple(
        Source(f"{name} {kind}", Path(name), kind == "spam", family)
        for name, family in (("letters", "business"), ("memos", "business"), ("posts", "lists"))
        for kind in ("ham", "spam")
    )
    table = table_of(noise=0.25, sources=old)
    folds = alone_of(table)
    assert {name: {str(family) for family in table.families[rows]} for name, rows in folds.items()} == {
        "letters": {"business"},
        "memos": {"business"},
    }
    seen: list[str] = []
    across(table, whole(table), seen.append, folds=folds)
    assert [line.split(":")[0] for line in seen] == ["left out letters", "left out memos"]
    fitted = fitted_on(table)
    differs = fitted.scores != fitted.alone
    assert differs[table.families == "business"].any()
    assert not differs[table.families == "lists"].any()
    text = report(table, fitted)
    assert "collection alone" in text
    assert "| all honest mail | " in text


def test_the_arms_of_modern_mail_are_reported() -> None:
    table = table_of(noise=0.25)
    text = report(table, fitted_on(table))
    honest = sum(1 for source in SOURCES if not source.spam) * 40
    arm = next(line for line in text.splitlines() if line.startswith("| (a)"))
    assert f" of {honest}; " in arm
    assert " of 40; " in arm


def test_what_must_not_be_learned_from_changes_nothing() -> None:
    table = table_of()
    learn = table.learnable
    assert not learn[table.families == "measured"].any()
    assert set(table.families[learn]) == {"one", "two", "three"}


def test_points_are_what_a_symbol_adds(doubtful: tuple[Table, Fitted]) -> None:
    table, fitted = doubtful
    assert CLASSIFIED_SPAM not in fitted.points
    assert fitted.points["GOOD_RULE"] > fitted.points["BOTH"] >= 0
    ham, spam = fitted.hits["GOOD_RULE"]
    assert ham == 0
    assert 0.7 < spam < 0.9
    scores = fitted.scores
    assert (scores[table.row_spam] >= 5).mean() > 0.7
    assert (scores[~table.row_spam] >= 8).mean() <= 0.06
    text = report(table, fitted)
    assert "| one ham | ham | 40 |" in text


def test_what_is_hardly_seen_stays_near_what_was_set_by_hand(doubtful: tuple[Table, Fitted]) -> None:
    _, fitted = doubtful
    assert fitted.points["RARE"] > 0


def test_points_are_written_beside_what_was_set_by_hand(tmp_path: Path) -> None:
    rules = tmp_path / "10-some.yaml"
    text = "# told\nrules:\n  - name: A_RULE\n    description: a\n    score: 1.5\n  - name: B_RULE\n    score: 2\n"
    rules.write_text(text)
    assert write_rules(rules, {"A_RULE": 2.25}) == {"A_RULE"}
    once = rules.read_text()
    assert once == text.replace("    score: 1.5\n", "    score: 2.25\n    prior: 1.5\n")
    write_rules(rules, {"A_RULE": 0.5})
    assert rules.read_text() == once.replace("2.25", "0.5")
    points = tmp_path / "points.yaml"
    write_points(points, {"B": 1.0, "A": -0.5})
    assert points.read_text().endswith("A: -0.5\nB: 1\n")


def test_collections_are_found_and_those_that_may_not_ship_are_not_learned_from(tmp_path: Path) -> None:
    for place in ("spamassassin/ham", "phishing_eval/phish", "modern_ham/synth/shop/ham"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "1.eml").write_bytes(b"Subject: x\n\nx\n")
    found = find_sources(tmp_path)
    assert {source.name: source.learn for source in found} == {
        "spamassassin ham": True,
        "phishing_eval": False,
        "modern_ham synth shop": True,
    }
    with pytest.raises(ConfigError, match="none of the known collections"):
        find_sources(tmp_path / "spamassassin")


def test_defanged_links_are_mended_and_what_the_receiver_recorded_is_kept(tmp_path: Path) -> None:
    place = tmp_path / "in"
    place.mkdir()
    (place / "1.eml").write_bytes(
        b"Authentication-Results: mx.example; dkim=pass header.d=a.example;\r\n spf=fail (no)\r\n"
        b" smtp.mailfrom=joe@a.example; dmarc=pass\r\n\r\nsee hxxps[:]//evil[.]example/x and hxxp://a[.]b/\r\n"
    )
    source = mended(Source("cwl", place, True, "cwl", defanged=True), tmp_path / "out")
    assert b"see https://evil.example/x and http://a.b/" in (source.path / "1.eml").read_bytes()
    assert json.loads((source.path.parent / "envelope.jsonl").read_text()) == {
        "file": "spam/1.eml",
        "dkim": "pass",
        "spf": "fail",
        "dmarc": "pass",
        "mail_from": "joe@a.example",
    }


def test_features_of_a_kind_together_have_one_length_but_few_have_a_small_one() -> None:
    fewest = FEWEST[0]
    counts = (1, fewest // 4, fewest, 10 * fewest)
    rows = texts_of([np.arange(count, dtype=np.uint32) for count in counts])
    lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    assert lengths == pytest.approx([LENGTHS[0] / fewest**0.5, LENGTHS[0] / 2, LENGTHS[0], LENGTHS[0]])
