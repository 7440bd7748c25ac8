"""The list of smuggling tricks in docs/smtp.md agrees with the dialogues, and nothing that came in so smuggles on its way out."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from mailguard.core.envelope import Recipient
from mailguard.net.smtp_client import Handshake, SmtpConnection, Target, TlsMode, Transaction
from tests.servers.smtp_sink import SmtpSink

from .dialogue import Dialogue, octets, parse
from .runner import DIALOGUES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "smtp.md"
REFUSED = "-refused"
WORDS = {"CR": b"\r", "LF": b"\n", "NUL": b"\0", ".": b"."}
LARGE = b"x" * 70 + b"\r\n"
"""So many lines of it that a message goes by BDAT."""
LINES = 5_000
LONE_DOT = re.compile(rb"[\r\n]\0*\.\0*[\r\n]")
"""What any server could take for the end of a message, however it reads newlines and NULs."""
BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")


@dataclass(frozen=True)
class Trick:
    """A row of the page."""

    sent: str
    done: str
    refused: str
    standard: str
    dialogue: str


def tricks() -> list[Trick]:
    """The rows of the tables in the page's section."""
    section = PAGE.read_text("utf-8").partition("\n## Smuggling\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return [Trick(*row) for row in rows if row[-1].startswith("`")]


TRICKS = tricks()
IDS = [trick.dialogue.strip("`") for trick in TRICKS]


def dialogue_of(trick: Trick) -> Dialogue:
    return parse(DIALOGUES / f"{trick.dialogue.strip('`')}.chat")


@pytest.mark.parametrize("trick", TRICKS, ids=IDS)
def test_a_trick_has_its_dialogue_and_both_name_the_same_section(trick: Trick) -> None:
    dialogue = dialogue_of(trick)
    rfc, *sections = re.findall(r"RFC \d+|§[0-9.]*[0-9]", trick.standard)
    assert sections
    assert rfc in dialogue.comment
    for section in sections:
        assert re.search(rf"{re.escape(section)}(?![0-9.]*[0-9])", dialogue.comment), section


@pytest.mark.parametrize("trick", TRICKS, ids=IDS)
def test_what_is_refused_has_a_second_dialogue_with_that_reply(trick: Trick) -> None:
    path = DIALOGUES / f"{trick.dialogue.strip('`')}{REFUSED}.chat"
    assert path.exists() == bool(trick.refused)
    if trick.refused:
        refused = parse(path)
        assert refused.settings == {"bare_newline": "refuse"}
        assert any(step.kind == "S:" and step.text.startswith(trick.refused) for step in refused.steps)
        assert refused.messages == []


@pytest.mark.parametrize("trick", [each for each in TRICKS if re.fullmatch("`[A-Z. ]+`", each.sent)])
def test_the_octets_of_the_page_are_those_of_the_dialogue(trick: Trick) -> None:
    text = trick.sent.strip("`")
    if text == "CRLF. CRLF":
        wanted = b"\r\n. \r\n"
    else:
        wanted = b"".join(WORDS[word] for word in re.findall(r"CR|LF|NUL|\.", text))
        assert re.sub(r"CR|LF|NUL|\.| ", "", text) == ""
    said = b"\r\n".join(octets(step.text) for step in dialogue_of(trick).steps if step.kind in ("C:", "C>"))
    assert wanted in said


def test_every_trick_that_is_played_is_on_the_page() -> None:
    played = {path.stem for path in DIALOGUES.glob("smuggling-*.chat")}
    told = set(IDS)
    assert len(told) == len(IDS)
    assert {stem.removesuffix(REFUSED) for stem in played} <= told
    assert {stem for stem in told if stem.startswith("smuggling-")} <= played


def contents() -> dict[str, bytes]:
    """All content that a dialogue of this kind hands to the door, by the dialogue's name."""
    found = {}
    for path in sorted(DIALOGUES.glob("*.chat")):
        if path.stem.startswith(("smuggling", "data", "bdat")):
            for number, (_sender, _recipients, content) in enumerate(parse(path).messages or ()):
                if content is not None:
                    found[f"{path.stem}.{number}"] = content
    return found


async def sent_on(content: bytes, *, chunked: bool) -> SmtpSink:
    """The next hop, after it was given a message of this content."""
    async with SmtpSink(offers=("PIPELINING", "8BITMIME", "CHUNKING") if chunked else ("8BITMIME",)) as sink:
        target = Target("127.0.0.1", sink.port, tls=TlsMode.OFF)
        connection = await SmtpConnection.connect(target, Handshake(helo="relay.test"))
        recipient = Recipient("u@client.test", 2, "client.test", number=1)
        sent = await connection.send(Transaction("a@sender.test", (recipient,), (b"X-Ours: 1\r\n", content)))
        assert [answer.reply.code for answer in sent.answers if answer.reply] == [250]
        connection.close()
    return sink


@pytest.mark.parametrize("name", contents())
def test_what_came_in_smuggles_nothing_on_its_way_out(name: str) -> None:
    content = contents()[name]
    sink = asyncio.run(sent_on(content, chunked=False))
    (received,) = sink.messages
    verbs = [line.split(" ")[0].rstrip(":") for _, line in sink.commands]
    assert verbs[:4] == ["EHLO", "MAIL", "RCPT", "DATA"]
    assert set(verbs[4:]) <= {"QUIT"}
    assert not BARE.search(received.wire)
    assert not LONE_DOT.search(b"\r\n" + received.wire)
    whole = content if content.endswith(b"\r\n") or not content else content + b"\r\n"
    assert received.content == b"X-Ours: 1\r\n" + whole


def test_what_goes_out_in_one_chunk_is_read_by_its_size() -> None:
    tricky = b"".join(contents().values())
    content = tricky + LARGE * LINES
    sink = asyncio.run(sent_on(content, chunked=True))
    (received,) = sink.messages
    assert received.chunked
    assert received.content == b"X-Ours: 1\r\n" + content
    assert not BARE.search(received.wire)
