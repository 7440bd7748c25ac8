"""Text without the tricks that keep programs from reading it: what is undone, what is counted, and what is left alone."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailguard.message.lookalikes import FOLDED, STYLED
from mailguard.message.normalise import NORMALISE_LIMIT, WORD_LENGTH, WORD_LIMIT, normalise


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Pay\u200bPal in\u00advoice wal\u2060let", "PayPal invoice wallet"),
        ("a\u202ecod.exe", "acod.exe"),
        ("P\u0430yP\u0430l and \u0410pple", "PayPal and Apple"),
        ("m\u03bfney", "money"),
        ("\U0001d400\U0001d41c\U0001d41c\U0001d428\U0001d42e\U0001d427\U0001d42d", "Account"),
        ("\uff21\uff43\uff43\uff4f\uff55\uff4e\uff54", "Account"),
        ("\u24b6\u24d2\u24d2\u24de\u24e4\u24dd\u24e3 \U0001f170", "Account A"),
        ("\u1d00\u1d04\u1d04\u1d0f\u1d1c\u0274\u1d1b", "account"),
        ("p\u0332a\u0332y\u0332", "pay"),
        ("V i a g r a", "Viagra"),
        ("C-i-a-l-i-s and b.i.t.c.o.i.n", "Cialis and bitcoin"),
        ("acc0unt PASSW0RD v1agra pa$$word p@yment", "account PASSWORD viagra pa$$word payment"),
        ("\u200bV\u200b i a g r a", "Viagra"),
        ("\u0412nimanie B\u043d\u0438\u043c\u0430\u043d\u0438\u0435", "Bnimanie \u0412\u043d\u0438\u043c\u0430\u043d\u0438\u0435"),
    ],
)  # fmt: skip
def test_tricks_are_undone(written: str, read: str) -> None:
    assert normalise(written).text == read


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Plain text, nothing to undo: 3.50 EUR, MP3, B2B, log4j2, IPv6.",
        "Grüße aus Köln – été, señor, português, zażółć, ığdır",
        "Ваш заказ подтверждён",
        "\u0391\u03b8\u03ae\u03bd\u03b1 \u03ba\u03b1\u03bb\u03b7\u03bc\u03ad\u03c1\u03b1",
        "ご注文ありがとうございます 您的订单",
        "שלום مرحبا नमस्ते",
        "j.smith@example.com a1b2c3 deadb33f 0xffee5a1e",
        "a b c and I a m",
        "VIPклиент",
        "Toplantıyı sıfırlandı alarmı",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    found = normalise(text)
    assert found.text == text
    assert found.clean


def test_tricks_are_counted() -> None:
    found = normalise(
        "P\u0430ypal, P\u0430ypal V\u200bi\u200ba \u202etxt\u202c x\u0336y\u0336 \U0001d400\U0001d401 S a l e s now"
    )
    assert (found.split_words, found.overrides, found.marks, found.styled) == (2, 1, 2, 2)
    assert found.mixed == ("P\u0430ypal",)
    assert found.spaced == ("Sales",)
    assert not found.clean


@pytest.mark.parametrize(
    "text",
    [
        "Order today\u200c \u00a0\u200c \u00a0\u200c\u034f \u034f ",  # filler after a preview
        "Donau\u00addampf\u00adschiff",  # hyphenation
        "example\u200b.com and +49\u200b30\u200b123",  # against links made by mail programs
        "می\u200cخواهم",  # Persian
        "👩\u200d👩\u200d👧 ❤\ufe0f",
        "שלום \u200e(abc)\u200e",
        "NF\u03baB and TNF\u03b1",  # science
        "注文番号：\uff11\uff12\uff13\uff21",  # full width is ordinary in East Asia
    ],
)
def test_honest_uses_are_not_counted(text: str) -> None:
    assert normalise(text).clean


def test_tables_lead_to_latin() -> None:
    for table in (FOLDED, STYLED):
        assert all(len(letter) == 1 and not letter.isascii() for letter in table)
        assert all(latin.isascii() and latin.isalpha() for latin in table.values())


_TRICKY = st.text(
    st.sampled_from("aAoObcexyzZ 013450@$.-_*\n\u00ad\u200b\u034f\u202e\u0301\u0336\u0430\u043e\u0438\u03bf\u03ba\u0131\uff21\uff10")
    | st.sampled_from("\U0001d400\U0001d7ce\u24d0\U0001f170\u1d00\u00e9\u1100\u1161\u3042\u05d0")
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(_TRICKY | st.text())
@example("a b c d-e-f-g-h")
@example("\u0430 b c d")
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    found = normalise(text)
    again = normalise(found.text)
    assert again.text == found.text
    assert len(found.text) <= 3 * len(text) + 10
    assert len(found.mixed) <= WORD_LIMIT
    assert all(len(word) <= WORD_LENGTH for word in (*found.mixed, *found.spaced))


def test_what_lies_beyond_the_limit_stays() -> None:
    text = "x" * NORMALISE_LIMIT + "P\u0430ypal"
    assert normalise(text).text == text


@pytest.mark.parametrize(
    "piece", ["a ", "a.", "a1", "P\u0430", "\u200b", "a\u0301\u0336", "\U0001d400", "a\u200b", "\uff21", "@a0"]
)
def test_hostile_text_takes_linear_time(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    started = time.process_time()
    normalise(text)
    assert time.process_time() - started < 2.0
