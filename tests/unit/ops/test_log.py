"""The log: hostile strings stay values, one line an event, no secrets."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from mailguard.core.decision import Reason
from mailguard.core.envelope import Session
from mailguard.core.errors import Problem
from mailguard.core.reply import Reply
from mailguard.ops.log import VALUE_LIMIT, MailLog, configure, escape_controls, get_logger, make_safe

SESSION = Session(id="S1", client_ip="192.0.2.7", client_port=4711, helo="evil\r\nfake: line\x1b[2J", esmtp=True)


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_refusal_is_one_json_line_with_hostile_values_escaped() -> None:
    stream = io.StringIO()
    configure(form="json", stream=stream)
    MailLog().refused(
        SESSION,
        reply=Reply(550, "5.7.1", "no"),
        reason=Reason.UNKNOWN_DOMAIN,
        mail_from="",
        recipient="a\u202eb@x.test",
    )
    (line,) = lines(stream)
    assert line["event"] == "refused"
    assert line["reason"] == "unknown_domain"
    assert line["reply"] == "550 5.7.1 no"
    assert line["helo"] == r"evil\r\nfake: line\x1b[2J"
    assert line["recipient"] == r"a\u202eb@x.test"
    assert str(line["at"]).endswith("Z")
    assert line["level"] == "info"


def test_console_form_lets_no_escape_sequence_of_mail_reach_the_terminal() -> None:
    stream = io.StringIO()
    configure(form="console", stream=stream)
    MailLog().received("M1", session=SESSION, mail_from="\x9b31m@x.test", recipients=1, size=10)
    assert "\x1b" not in stream.getvalue()
    assert "\x9b" not in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


def test_the_level_filters() -> None:
    stream = io.StringIO()
    configure(level="warning", form="json", stream=stream)
    log = MailLog()
    log.connected(SESSION)
    log.quarantined("U-1", reason=Reason.MALWARE)
    log.undeliverable("U-2", reason=Reason.SENDER_UNAUTHENTICATED)
    assert [line["event"] for line in lines(stream)] == ["undeliverable"]


def test_secrets_are_hidden_by_key_and_in_urls() -> None:
    stream = io.StringIO()
    configure(form="json", stream=stream)
    get_logger("store").info("database_opened", url="postgresql://mg:hunter2@db/mg", password="hunter2")
    assert "hunter2" not in stream.getvalue()
    assert lines(stream)[0]["url"] == "postgresql://mg:***@db/mg"


def test_the_standard_library_logs_the_same_way() -> None:
    stream = io.StringIO()
    configure(form="json", stream=stream)
    logging.getLogger("aiosmtpd").warning("bad %s", "thing\n{'level': 'forged'}")
    (line,) = lines(stream)
    assert line["logger"] == "aiosmtpd"
    assert line["event"] == r"bad thing\n{'level': 'forged'}"


def test_the_unforeseen_keeps_its_traceback() -> None:
    stream = io.StringIO()
    configure(form="json", stream=stream)
    try:
        raise ValueError("odd \x1b[0m value")
    except ValueError as error:
        MailLog().unforeseen("pipeline", message="M1", error=error)
    (line,) = lines(stream)
    assert line["where"] == "pipeline"
    assert "test_log.py" in str(line["exception"])
    assert r"odd \x1b[0m value" in str(line["exception"])


def test_policy_problems_are_a_list_of_lines() -> None:
    stream = io.StringIO()
    configure(form="json", stream=stream)
    MailLog().policies_invalid([Problem("default.yaml:3 thresholds.reject", "'x' is not a number")])
    assert lines(stream)[0]["problems"] == ["default.yaml:3 thresholds.reject: 'x' is not a number"]


def test_long_values_are_cut() -> None:
    event = make_safe(None, "info", {"event": "e", "helo": "a" * 10_000})
    assert len(str(event["helo"])) < VALUE_LIMIT + 40


@given(st.text())
def test_escaped_text_is_printable_on_one_line(text: str) -> None:
    escaped = escape_controls(text)
    assert len(escaped.splitlines()) <= 1
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in escaped)
    escaped.encode()


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.binary() | st.text(), st.lists, max_leaves=8))
def test_any_value_becomes_json(value: object) -> None:
    assert len(json.dumps(make_safe(None, "info", {"event": "e", "value": value})).splitlines()) == 1


@pytest.mark.parametrize("buffering", [1, 4096], ids=["by line", "by block"])
def test_log_that_cannot_be_written_stops_nobody(buffering: int) -> None:
    full = Path("/dev/full").open("w", buffering=buffering)  # noqa: SIM115 - to close it fails as well
    configure(form="json", stream=full)
    for _ in range(10_000):
        MailLog().replied("M1", reply=Reply(250, "2.0.0", "Ok"), seconds=0.1)
    with contextlib.suppress(OSError):
        full.close()


def test_log_whose_reader_has_gone_stops_nobody() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    gone = os.fdopen(writer, "w", buffering=1)
    configure(form="json", stream=gone)
    for _ in range(2):
        MailLog().replied("M1", reply=Reply(250, "2.0.0", "Ok"), seconds=0.1)
    with contextlib.suppress(OSError):
        gone.close()
