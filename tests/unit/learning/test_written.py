"""Mail made from our own templates: every one can be read, is what it says, and the same each time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mailguard.learning.envelopes import read_envelopes
from mailguard.learning.sources import Source
from mailguard.learning.written import COPIES, families, written
from mailguard.message.parse import parse

SHORT = {"short", "attached", "phone"}
"""Families of mails of a line."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Source, ...]:
    return written(tmp_path_factory.mktemp("own"))


def test_each_family_is_a_source_and_some_are_only_measured_on(made: tuple[Source, ...]) -> None:
    assert {source.family: source.spam for source in made} == {f"own_{one.name}": one.spam for one in families()}
    for spam in (True, False):
        assert {source.learn for source in made if source.spam is spam} == {True, False}


def test_every_mail_can_be_read_and_has_an_envelope(made: tuple[Source, ...]) -> None:
    for source, family in zip(made, families(), strict=True):
        mails = sorted(source.path.glob("*.eml"))
        assert len(mails) == COPIES * len(family.templates)
        assert len(read_envelopes([source.path.parent / "envelope.jsonl"])) == len(mails)
        for file in mails:
            message = parse(file.read_bytes().replace(b"\n", b"\r\n"))
            text = f"{message.subject} {message.visible_text}"
            short = family.name in SHORT
            assert message.subject or short, file
            assert len(message.visible_text.strip()) > (1 if short else 20), file
            assert len(message.from_addresses) == 1, file
            assert not set(text) & set("{}|"), f"{file}: a choice is left open: {text}"


def test_the_same_templates_give_the_same_mails(made: tuple[Source, ...], tmp_path: Path) -> None:
    again = written(tmp_path)
    for one, other in zip(made, again, strict=True):
        for file in one.path.iterdir():
            assert file.read_bytes() == (other.path / file.name).read_bytes()
        lines = (other.path.parent / "envelope.jsonl").read_text().splitlines()
        assert all(json.loads(line)["rcpt_to"] for line in lines)


def test_mailings_can_be_left_and_answers_may_go_elsewhere(made: tuple[Source, ...]) -> None:
    for source, family in zip(made, families(), strict=True):
        for file in source.path.glob("*.eml"):
            template = family.templates[int(file.name[:2])]
            header = file.read_text().partition("\n\n")[0]
            assert ("List-Unsubscribe-Post: List-Unsubscribe=One-Click" in header) is template.bulk, file
            assert ("\nReply-To: <" in header) is bool(template.reply_to), file


def test_no_two_families_have_one_name() -> None:
    names = [family.name for family in families()]
    assert len(names) == len(set(names))
