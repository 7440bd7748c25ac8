"""`mailguard scanner` with a real clamd, and without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.clamd import installed, private_clamd
from tests.servers.ports import free_port
from tests.unit.cli.conftest import Run


@pytest.mark.skipif(not installed(), reason="CLAMD MISSING: the scanner's commands were not tested")
@pytest.mark.parametrize("by_socket", [False, True])
def test_clamd_is_shown_and_reloads(
    mailguard: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_socket: bool
) -> None:
    with private_clamd(tmp_path / "clamd") as clamd:
        monkeypatch.setenv("MAILGUARD_CLAMAV__ADDRESS", clamd.socket if by_socket else clamd.address)
        shown = mailguard("scanner", "status", "--json").json
        assert shown["engine"].startswith("ClamAV ")
        assert shown["signatures"] == ""
        assert any("THREADS" in line for line in shown["stats"])
        assert "none official" in mailguard("scanner", "status").out
        assert "RELOADING" in mailguard("scanner", "reload").out


def test_a_clamd_that_is_away_is_named(mailguard: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILGUARD_CLAMAV__ADDRESS", f"127.0.0.1:{free_port()}")
    ran = mailguard("scanner", "status")
    assert ran.code == 1
    assert "does not answer" in ran.err
