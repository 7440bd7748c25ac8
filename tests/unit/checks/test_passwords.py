"""Passwords that a mail gives are among the first that are tried, and any text gives a bounded number."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.checks.passwords import CANDIDATES, LENGTH, candidates


@pytest.mark.parametrize(
    "text",
    [
        "The password is: Tr0ub4dor.",
        "Password: Tr0ub4dor",
        "Passwort:\r\nTr0ub4dor\r\n",
        "Use password Tr0ub4dor to open it",
        'It opens with the password "Tr0ub4dor".',
        "Le mot de passe est : Tr0ub4dor",
        "Contraseña: Tr0ub4dor",
        "Пароль: Tr0ub4dor",
        "密码：Tr0ub4dor",
        "PIN = Tr0ub4dor",
        "Hasło do pliku: Tr0ub4dor",
        "You need the password below\n\nTr0ub4dor\n\nRegards",
    ],
)
def test_the_password_that_a_mail_gives_is_found(text: str) -> None:
    assert "Tr0ub4dor" in candidates(text)[:6]


def test_the_usual_ones_the_subject_and_the_names_are_tried() -> None:
    found = candidates("Hello", "Code: 77431", files=["invoice-4411.zip"], sender="Ann Smith")
    assert {"infected", "77431", "invoice-4411", "Ann"} <= set(found)


@settings(deadline=None)
@given(st.text(max_size=300), st.text(max_size=40), st.lists(st.text(max_size=20), max_size=3))
def test_any_text_gives_few_and_short_ones(text: str, subject: str, files: list[str]) -> None:
    found = candidates(text + " password: " + text, subject, files=files)
    assert len(found) <= CANDIDATES
    assert len(set(found)) == len(found)
    assert all(0 < len(one) <= LENGTH for one in found)
