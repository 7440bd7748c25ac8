"""`mailguard evaluate` with the relay's own settings and worker processes, beside the real rspamd and SpamAssassin."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.mails import mail, spam
from tests.servers import rspamd, spamd
from tests.servers.relay import Relay

TELLING = b"X-Spam-Flag: YES\r\n"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty clean mails and eight of spam, four of these with the GTUBE that every filter knows."""
    root = tmp_path_factory.mktemp("corpus")
    (root / "ham").mkdir()
    (root / "spam").mkdir()
    for number in range(40):
        (root / "ham" / f"{number:02}.eml").write_bytes(TELLING + mail(f"Notes {number}"))
    for number in range(4):
        (root / "spam" / f"gtube{number}.eml").write_bytes(spam(f"Offer {number}"))
        (root / "spam" / f"winner{number}.eml").write_bytes(mail(f"You are a winner {number}"))
    recorded = [{"file": f"ham/{number:02}.eml", "spf": "pass", "mail_from": "a@sender.test"} for number in range(40)]
    (root / "envelope.jsonl").write_text("".join(json.dumps(line) + "\n" for line in recorded))
    return root


def evaluated(relay: Relay, corpus: Path, *more: object) -> dict[str, Any]:
    given = ("--ham", corpus / "ham", "--spam", corpus / "spam", "--envelope", corpus / "envelope.jsonl")
    found: dict[str, Any] = relay.json("evaluate", *given, "--jobs", 1, *more)
    return found


def test_it_judges_as_scan_does(shared_relay: Relay, corpus: Path, tmp_path: Path) -> None:
    (run,) = evaluated(shared_relay, corpus, "--out", tmp_path / "out")["runs"]
    assert (run["ham"]["n"], run["spam"]["n"]) == (40, 8)
    assert run["ham"]["reached"]["quarantine"]["count"] == 0
    assert run["spam"]["reached"]["reject"]["count"] == 4
    (use,) = (use for use in run["symbols"] if use["name"] == "SPF_PASS")
    assert (use["ham"]["count"], use["spam"]["count"]) == (40, 0)
    rows = [line.split("\t") for line in (tmp_path / "out" / "scores.tsv").read_text().splitlines()[1:]]
    paths = [row[0] for row in rows]
    lines = shared_relay.run("scan", "--tsv", "--no-clamav", "--envelope", corpus / "envelope.jsonl", *paths).stdout
    scores = dict(line.split("\t") for line in lines.splitlines())
    assert {row[0]: f"{float(row[3]):.2f}" for row in rows} == scores


def test_worker_processes_of_the_command(shared_relay: Relay, corpus: Path) -> None:
    command = [sys.executable, "-m", "mailguard", "--config", str(shared_relay.config), "evaluate", "--ham"]
    done = subprocess.run(
        [*command, str(corpus / "ham"), "--spam", str(corpus / "spam"), "--jobs", "2"],
        capture_output=True,
        check=True,
        text=True,
        env={**shared_relay.environment, "PATH": "/usr/bin:/bin"},
    )
    assert f"| {corpus / 'spam'} | 8 | " in done.stdout


@pytest.mark.skipif(not rspamd.is_installed(), reason="RSPAMD MISSING: not compared with it")
def test_beside_rspamd(shared_relay: Relay, corpus: Path, tmp_path: Path) -> None:
    with rspamd.private_rspamd(tmp_path) as address:
        found = evaluated(shared_relay, corpus, "--baseline", "rspamd", "--rspamd-address", address)
    ours, theirs = found["runs"]
    assert (ours["engine"], theirs["engine"]) == ("mailguard", "rspamd")
    assert theirs["thresholds"] == {"tag": 6, "reject": 15}
    assert theirs["spam"]["n"] == 8
    (winner,) = (use for use in theirs["symbols"] if use["name"] == "TEST_WINNER")
    assert (winner["ham"]["count"], winner["spam"]["count"], winner["points"]) == (0, 4, 7.5)
    assert theirs["ham"]["reached"]["tag"]["count"] == 0


@pytest.mark.skipif(not spamd.is_installed(), reason="SPAMD MISSING: not compared with it")
def test_beside_spamassassin(shared_relay: Relay, corpus: Path) -> None:
    with spamd.private_spamd() as address:
        found = evaluated(shared_relay, corpus, "--baseline", "spamd", "--spamd-address", address, "--sample", 8)
    theirs = found["runs"][1]
    (winner,) = (use for use in theirs["symbols"] if use["name"] == "TEST_WINNER")
    assert (winner["ham"]["count"], winner["spam"]["count"]) == (0, 4)
    assert theirs["spam"]["reached"]["tag"]["count"] == 4
