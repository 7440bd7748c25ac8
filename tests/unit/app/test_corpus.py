"""Labelled mail judged offline by the relay's own checks: recorded results count, leaks do not, and files end nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailguard.app.corpus import CorpusScanner, offline_checks, prepared, sent_at
from mailguard.checks.recorded_auth import RecordedResults
from mailguard.config import Settings, load_settings
from mailguard.core.verdict import AuthOutcome
from mailguard.learning.envelopes import RecordedEnvelope
from mailguard.learning.leaks import ALL_LEAKS
from mailguard.learning.scanning import CorpusMail, ScannedMail

ROOT = Path(__file__).parents[3]
MAIL = (
    b"From eve@a.test Mon Nov  2 10:00:00 2026\nReceived: from a.test\nX-Spam-Flag: YES\nFrom: Shop <news@shop.test>\n"
    b"Date: Mon, 2 Nov 2026 10:00:00 +0100\nSubject: Your order\nMessage-ID: <1@shop.test>\n\nThank you for your order.\n"
)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    config = tmp_path / "mailguard.toml"
    config.write_text(f'[server]\nhostname = "mx.test"\n[policies]\npath = "{ROOT / "policies"}"\n')
    return load_settings(config)


def judged(settings: Settings, *mails: CorpusMail, leaks: bool = False) -> list[ScannedMail]:
    with CorpusScanner(settings, leaks=None if leaks else ALL_LEAKS)() as scan:
        return [scan(mail) for mail in mails]


def test_recorded_results_are_what_the_checks_see(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "1.eml"
    path.write_bytes(MAIL)
    results = RecordedResults(AuthOutcome.PASS, None, AuthOutcome.FAIL, "b@esp.test", "esp.test")
    recorded = CorpusMail(
        path, spam=False, source="set", recorded=RecordedEnvelope("192.0.2.1", "b@esp.test", "", results)
    )
    with_it, without = judged(settings, recorded, CorpusMail(path, spam=False))
    assert {"SPF_PASS", "DMARC_FAIL_NONE"} <= {symbol.name for symbol in with_it.symbols}
    assert [(auth.method, auth.outcome, auth.domain) for auth in with_it.auth if auth.method in ("spf", "dmarc")] == [
        ("spf", "pass", "esp.test"),
        ("dmarc", "fail", "shop.test"),
    ]
    assert not {symbol.name for symbol in without.symbols if symbol.name.startswith(("SPF", "DKIM", "DMARC"))}
    assert not with_it.problem
    assert with_it.cpu > 0
    assert with_it.date == 1_793_610_000
    assert with_it.mail == recorded


def test_what_cannot_be_read_is_told(settings: Settings, tmp_path: Path) -> None:
    missing, there = CorpusMail(tmp_path / "no.eml", spam=True), CorpusMail(tmp_path / "1.eml", spam=True)
    there.path.write_bytes(b"\xff\x00 no mail at all")
    first, second = judged(settings, missing, there)
    assert first.problem.startswith("cannot be read")
    assert not second.problem


def test_no_check_that_needs_a_network_takes_part(settings: Settings) -> None:
    checks = offline_checks(settings)
    assert {"spf", "dkim", "dmarc", "rules"} <= set(checks)
    assert not {"clamav", "dnsbl", "urlbl", "client", "arc", "rspamd", "spamd"} & set(checks)


def test_a_file_is_prepared_as_the_door_would_see_it() -> None:
    assert prepared(MAIL, ALL_LEAKS).startswith(b"Received: from a.test\r\nFrom: Shop")
    assert b"X-Spam-Flag: YES\r\n" in prepared(MAIL, None)


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        (b"Date: Thu, 1 Jan 1970 00:01:00 +0000", 60),
        (b"date:Thu, 1 Jan 1970 01:01:00 +0100", 60),
        (b"Date: yesterday", 0),
        (b"Date: Thu, 1 Jan 99999999 00:00:00 +0000", 0),
        (b"Subject: none", 0),
    ],
)
def test_dates(field: bytes, seconds: int) -> None:
    assert sent_at(b"From: a@b.test\r\n" + field + b"\r\n\r\nDate: Thu, 1 Jan 1970 00:00:01 +0000\r\n") == seconds
