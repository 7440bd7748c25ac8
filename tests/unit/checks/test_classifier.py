"""The classifier: what is extracted of a mail, what a model makes of it, and what the check reports."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.checks import features
from mailguard.checks.classifier import BASELINE, CLASSIFIED_HAM, CLASSIFIED_SPAM, ClassifierCheck
from mailguard.checks.features import Kind, extract
from mailguard.checks.features_fold import fold
from mailguard.checks.model import Calibration, Model, quantised, shipped
from mailguard.message.parse import parse
from tests.unit.checks.contexts import context

ONES = (1.0,) * len(Kind)
FEWEST = (16,) * len(Kind)


def mail(subject: str = "Lunch", text: str = "shall we have lunch", sender: str = "Joe <joe@example.org>") -> bytes:
    return (
        f"From: {sender}\r\nSubject: {subject}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Transfer-Encoding: 8bit\r\n\r\n{text}\r\n"
    ).encode()


def model_of(**weights: float) -> Model:
    """A model that knows single words of the text, and nothing else."""
    found = np.zeros(features.SIZE)
    for word, weight in weights.items():
        one = extract(parse(mail(text=word)))
        found[one.body_ids[0]] = weight
    whole, scales = quantised(found)
    return Model(whole, scales, ONES, -0.5, Calibration(slope=2.0, baseline=1.0, least=-3.0, most=6.0), fewest=FEWEST)


def ids_of(raw: bytes, kind: Kind) -> set[int]:
    found = extract(parse(raw)).ids
    start, end = features.SPANS[kind]
    return {int(one) for one in found if start <= one < end}


def test_each_kind_sees_its_own_part_of_a_mail() -> None:
    plain = mail()
    for kind, other in (
        (Kind.WORD, mail(text="shall we have dinner")),
        (Kind.SUBJECT, mail(subject="Dinner")),
        (Kind.NAME, mail(sender="Jane <joe@example.org>")),
        (Kind.SENDER, mail(sender="Joe <joe.1234@example.info>")),
        (Kind.LINK, mail(text="shall we have lunch https://example.org/verify/account")),
        (Kind.FORM, plain.replace(b"text/plain", b"text/html")),
    ):
        assert ids_of(plain, kind) != ids_of(other, kind), kind
        if kind not in (Kind.WORD, Kind.FORM, Kind.LINK):
            assert ids_of(plain, Kind.WORD) == ids_of(other, Kind.WORD)


def test_numbers_links_and_addresses_are_alike() -> None:
    one = mail(text="pay 1,200 at https://a.example/x?1 or ask joe@a.example")
    other = mail(text="pay 9,999 at http://b.example/yyy or ask sue.x@b.example")
    assert ids_of(one, Kind.WORD) == ids_of(other, Kind.WORD)
    assert fold("Ask JOE@a.example, HTTPS://x.example/1 — 12\t34") == "ask $m , $u — 0 0"


def test_names_of_domains_are_no_features_of_the_sender() -> None:
    assert ids_of(mail(sender="Joe <joe@abcdef.org>"), Kind.SENDER) == ids_of(
        mail(sender="Joe <joe@uvwxyz.org>"), Kind.SENDER
    )


@given(st.binary(max_size=3_000))
@settings(deadline=None, max_examples=60)
def test_any_message_has_sorted_features_within_bounds(raw: bytes) -> None:
    found = extract(parse(raw))
    assert found.ids.dtype == np.uint32
    assert (np.diff(found.ids.astype(np.int64)) > 0).all()
    assert not len(found.ids) or found.ids[-1] < features.SIZE
    assert np.isfinite(shipped_model().logit(found))


def shipped_model() -> Model:
    if not hasattr(shipped_model, "kept"):
        shipped_model.kept = shipped()  # type: ignore[attr-defined]
    return shipped_model.kept  # type: ignore[attr-defined,no-any-return]


def test_a_huge_text_is_read_in_part() -> None:
    one = extract(parse(mail(text="word " * 200_000)))
    assert one.body.text.size <= features.TEXT_OCTETS


def test_the_logit_is_the_weights_of_what_is_there_and_the_bias() -> None:
    model = model_of(prize=12.0, lunch=-4.0)
    many = " ".join(f"word{'abcdefghijklmnopqrstuvwxy'[at]}" for at in range(24))
    assert model.logit(extract(parse(mail(text=f"{many} lunch")))) == pytest.approx(-0.5 - 4.0 / 25**0.5, abs=0.05)
    assert model.logit(extract(parse(mail(text=f"{many} prize")))) == pytest.approx(-0.5 + 12.0 / 25**0.5, abs=0.05)


def test_a_few_words_weigh_as_if_there_were_more() -> None:
    model = model_of(prize=12.0, lunch=-4.0)
    for text in ("prize", "prize it is"):
        assert model.logit(extract(parse(mail(text=text)))) == pytest.approx(
            -0.5 + 12.0 / FEWEST[Kind.WORD] ** 0.5, abs=0.05
        )


async def test_the_check_reports_points_and_the_words_that_said_so() -> None:
    check = ClassifierCheck(model_of(prize=12.0, lunch=-4.0))
    spam = await check.run(context(mail(text="prize")), {})
    symbol, baseline = spam.symbols
    assert (baseline.name, baseline.score) == (BASELINE, 1.0)
    assert symbol.name == CLASSIFIED_SPAM
    assert symbol.score == pytest.approx(2.0 * 2.5, abs=0.1)
    assert symbol.evidence == ('text: "prize" +3.0',)
    assert spam.classification is not None and spam.classification.logit == pytest.approx(2.5, abs=0.05)
    ham = await check.run(context(mail(text="lunch")), {})
    assert [one.name for one in ham.symbols] == [CLASSIFIED_HAM, BASELINE]
    assert ham.symbols[0].score == pytest.approx(-2.0 * 1.5, abs=0.1)
    assert ham.symbols[0].evidence == ('text: "lunch" -1.0',)


def test_points_keep_within_bounds() -> None:
    calibration = Calibration(slope=2.0, baseline=1.0, least=-3.0, most=6.0)
    assert calibration.points(100) == 6.0
    assert calibration.points(-100) == -3.0
    assert calibration.points(1) == 2.0


def test_a_model_comes_back_from_its_file() -> None:
    model = model_of(prize=3.0)
    again = Model.from_bytes(model.to_bytes())
    assert again.name == model.name
    assert again.fewest == FEWEST
    assert again.calibration == model.calibration
    found = extract(parse(mail(text="prize")))
    assert again.logit(found) == model.logit(found)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"\x93NUMPY"])
def test_what_is_no_model_is_told(content: bytes) -> None:
    with pytest.raises(ValueError, match="model"):
        Model.from_bytes(content)


def test_a_model_for_other_features_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = model_of(prize=3.0).to_bytes()
    monkeypatch.setattr(features, "VERSION", features.VERSION + 1)
    with pytest.raises(ValueError, match="train it again"):
        Model.from_bytes(content)


def test_the_shipped_model_says_what_it_was_trained_on() -> None:
    about = shipped_model().about
    assert "phishing_eval" not in about["sources"]
    assert sum(about["sources"].values()) > 10_000
