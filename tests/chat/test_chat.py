"""Every dialogue, under both event loops; and the rules that the dialogues themselves obey."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from .dialogue import octets, parse
from .runner import DIALOGUES, DialogueError, play_here

FILES = sorted(DIALOGUES.glob("*.chat"))
LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS.keys())
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_dialogue(path: Path, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(play_here(parse(path)))


def test_there_are_a_hundred_dialogues() -> None:
    assert len(FILES) >= 100


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_dialogue_names_the_standard_it_enforces(path: Path) -> None:
    assert re.search(r"RFC \d+ §|PROXY protocol §", parse(path).comment)


def test_octets_of_escapes_and_repetitions() -> None:
    assert octets(r"a\r\n\x00\0\\n{xy*3}é") == b"a\r\n\x00\x00\\nxyxyxy\xc3\xa9"


def test_wrong_reply_fails_the_dialogue(tmp_path: Path) -> None:
    path = tmp_path / "wrong.chat"
    path.write_text("# RFC 5321 §3.1\nS: 220\nC: NOOP\nS: 500\n")
    with asyncio.Runner() as runner, pytest.raises(DialogueError, match="wrong:4"):
        runner.run(play_here(parse(path)))


def test_unknown_line_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wrong.chat"
    path.write_text("# RFC 5321 §3.1\nX: what\n")
    with pytest.raises(ValueError, match=r"wrong\.chat:2"):
        parse(path)
