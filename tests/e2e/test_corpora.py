"""Every file of three corpora of real mail, many of them malformed, through `mailguard scan` and through the door."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread
from tests.servers.smtp_load import Load, Mail

pytestmark = [pytest.mark.corpora, pytest.mark.serial, pytest.mark.timeout(900)]

CORPORA = ("mime_corpora", "spamassassin", "lists_vger")
AT_LEAST = 11_000
"""Files that the three hold: with fewer a corpus is incomplete, and this proves little."""
SECONDS_EACH = 5.0
INFECTED = "mime_corpora/rspamd/test/functional/messages/broken_richtext.eml"
"""The one file with the EICAR test virus; the tests' clamd knows no other."""

_LINE_END = re.compile(rb"\r*\n|\r")
_NULS_BEFORE_DOT = re.compile(rb"(\A|\r\n)\x00+\.")
_FOLDED = rb"[^\n]*\n(?:[ \t][^\n]*\n)*"
_BLOCK = re.compile(
    rb"Received: from mail\.sender\.test " + _FOLDED + rb"Authentication-Results: relay\.test;" + _FOLDED +
    rb"X-MailGuard-Id: [0-9A-Z]{26}\r\nX-MailGuard-Verdict: [^\n]+\nX-MailGuard-Score: [^\n]+\n"
    rb"(?:X-MailGuard-Symbols:" + _FOLDED + rb")?"
)  # fmt: skip


@pytest.fixture(scope="module")
def files(corpora: Callable[[str], Path]) -> list[Path]:
    found = sorted(path for name in CORPORA for path in corpora(name).rglob("*") if path.is_file())
    assert len(found) > AT_LEAST
    return found


def test_scan_explains_every_file_offline(new_relay: Callable[..., Relay], files: list[Path]) -> None:
    done = new_relay().cli("scan", "-", "--no-dns", "--no-clamav", "--tsv", stdin="\n".join(map(str, files)))
    assert done.stderr == ""
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [path for path, _score in lines] == [str(path) for path in files]
    assert all(math.isfinite(float(score)) for _path, score in lines)


def test_scan_runs_every_check_on_every_file(new_relay: Callable[..., Relay], files: list[Path]) -> None:
    options = ["--clamav", "--dns", "--client-ip", "127.0.0.1", "--helo", "mail.sender.test", "--jobs", "4"]
    relay = new_relay(
        environment={"MAILGUARD_DNS__TIMEOUT": "4"}
    )  # the name server shares a busy machine with all else
    done = relay.cli("scan", "-", *options, "--json", stdin="\n".join(map(str, files)))
    assert done.stderr == ""
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert [report["path"] for report in reports] == [str(path) for path in files]
    slowest = max(reports, key=lambda report: report["seconds"])
    assert slowest["seconds"] < SECONDS_EACH, slowest["path"]
    assert [report["path"] for report in reports if report["failed_checks"]] == []
    assert [report["path"] for report in reports if report["malware"]] == [
        str(path) for path in files if str(path).endswith(INFECTED)
    ]


def test_every_file_arrives_unchanged_below_the_added_headers(
    new_relay: Callable[..., Relay], sink: SinkThread, files: list[Path]
) -> None:
    """With the tag-only profile, by two workers: each mail delivered once, the infected one kept, and all of it counted."""
    sent = {str(number): _as_sent(path) for number, path in enumerate(files)}
    arriving = {number: _as_it_should_arrive(content) for number, content in sent.items()}
    infected = {str(number) for number, path in enumerate(files) if str(path).endswith(INFECTED)}
    relay = new_relay(workers=2)
    relay.add_tenant("acme", "client.test", sink.port, "--policy", "tag-only")
    relay.start()
    began = time.monotonic()
    month = f"{datetime.now(UTC):%Y-%m}"
    load = Load(relay.port, connections=12)
    asyncio.run(load.run(Mail(number, content, f"mail-{number}@sender.test") for number, content in sent.items()))
    print(f"{len(sent) / (time.monotonic() - began):.0f} messages a second")

    assert [answer for answer in load.answers if answer.code != 250] == []
    assert sorted(load.accepted) == sorted(sent)
    received = {_number_of(message.mail): _below_the_block(message.content) for message in sink.messages}
    assert len(sink.messages) == len(received)
    assert received.keys() == sent.keys() - infected
    changed = [files[int(number)] for number, digest in received.items() if digest != _expected_below(arriving[number])]
    assert changed == []
    (kept,) = relay.json("quarantine", "list")
    assert kept["reason"] == "malware"

    (usage,) = relay.json("usage", "--month", month)["tenants"]
    assert usage["received"] == _count(list(arriving.values()))
    assert usage["delivered"] == _count([content for number, content in arriving.items() if number not in infected])
    assert usage["quarantined"] == _count([arriving[number] for number in infected])
    assert all(usage[other] == _count([]) for other in ("rejected", "deferred", "released"))
    assert usage["active_recipients"] == 1
    relay.cli("ledger", "check")


def _as_sent(path: Path) -> bytes:
    """What a client sends: lines made to end in CRLF, but the malformed mails as they are, for the door to mend."""
    raw = path.read_bytes()
    return raw if "/mime_corpora/" in str(path) else _LINE_END.sub(b"\r\n", raw)


def _as_it_should_arrive(content: bytes) -> bytes:
    """What docs/smtp.md promises: a bare CR or LF, and CRs before an LF, become CRLF; the last line is ended; NULs before the
    first dot of a line go."""
    lines = _LINE_END.sub(b"\r\n", content if content.endswith(b"\r\n") else content + b"\r\n")
    return _NULS_BEFORE_DOT.sub(rb"\1.", lines)


def _number_of(mail: str) -> str:
    return mail.partition("<mail-")[2].partition("@")[0]


def _below_the_block(content: bytes) -> str:
    block = _BLOCK.match(content)
    assert block, content[:1000]
    return _digest(content[block.end() :])


def _expected_below(content: bytes) -> str:
    # A mail that begins with white space has no header: an empty line keeps it from continuing ours.
    return _digest(b"\r\n" + content if content.startswith((b" ", b"\t")) else content)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _count(contents: list[bytes]) -> dict[str, Any]:
    return {"units": len(contents), "messages": len(contents), "bytes": sum(map(len, contents))}
