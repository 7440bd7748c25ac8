"""`mailguard probe`: what must be said before anything is sent, and results on their way into the database."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from mailguard.core.clock import DAY, HOUR
from mailguard.store import billing_months
from mailguard.store.billing_months import Closing
from mailguard.store.schema_service import probes
from mailguard.watch.probe_result import MailResult, RunResult, line_of
from tests.ledger_of import World
from tests.unit.cli.conftest import Run

KEY = "k" * 32
RESULT = RunResult(
    1, "01K", "acme", 0, "here", "mx:25", "c@acme.test", True, True, True, True, True, 5, 6, "",
    (MailResult("clean", "01K", "250 Ok", 1, 5, 6, True, ""),),
)  # fmt: skip


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILGUARD_PROBE__KEY", KEY)


def test_without_a_key_nothing_is_sent(mailguard: Run) -> None:
    done = mailguard("probe", "--tenant", "acme")
    assert done.code == 2
    assert "probe.key: is not set" in done.err


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, ["--tenant"]),
        (["--tenant", "acme", "--only", "clean,worm", "--server", "nowhere"], 2, ["--only", "--server"]),
        (["--tenant", "acme", "--listen", "x", "--imap", "y:z"], 2, ["--listen", "--imap"]),
        (["--tenant", "acme", "--door-only", "--listen", "127.0.0.1:1"], 2, ["--door-only"]),
        (["--tenant", "acme", "--no-database"], 2, ["no way to see"]),
        (["--tenant", "acme", "--door-only"], 2, ["--to"]),
        (["--tenant", "acme", "--to", "nobody"], 2, ["--to"]),
        (["--tenant", "acme", "--imap", "127.0.0.1"], 2, ["probe.imap_password"]),
        (["--tenant", "acme", "--record", "--only", "eicar"], 2, ["--only"]),
        (["--tenant", "nobody"], 1, ["acme"]),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_sent(
    mailguard: Run, world: World, arguments: list[str], code: int, words: list[str]
) -> None:
    done = mailguard("probe", *arguments)
    assert done.code == code, done.err
    assert all(word in done.err for word in words), done.err


@pytest.mark.usefixtures("key")
def test_a_door_behind_a_load_balancer_must_be_named(
    mailguard: Run, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILGUARD_SERVER__LISTEN", "[]")
    monkeypatch.setenv("MAILGUARD_SERVER__PROXY_LISTEN", "127.0.0.1:2525")
    monkeypatch.setenv("MAILGUARD_SERVER__PROXY_TRUSTED", "127.0.0.1")
    done = mailguard("probe", "--tenant", "acme")
    assert (done.code, "--server: say which door" in done.err) == (2, True), done.err


def test_a_short_key_is_none(mailguard: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILGUARD_PROBE__KEY", "short")
    assert "32 characters" in mailguard("probe", "--tenant", "acme").err


@pytest.mark.usefixtures("key")
def test_results_are_taken_in_once_and_all_or_none(mailguard: Run, world: World, tmp_path: Path) -> None:
    now = world.db.read_sync(world.db.now)
    closed = Closing("2020-01", now - 2 * HOUR, now, 0)
    world.db.write_sync(lambda conn: billing_months.add(conn, closed))

    def fed(*results: RunResult) -> tuple[int, str]:
        file = tmp_path / "lines"
        file.write_text("\n".join(line_of(result, key=KEY) for result in results) + "\n\n")
        done = mailguard("probe", "record", str(file))
        return done.code, done.out + done.err

    one, late = replace(RESULT, at=now - HOUR), replace(RESULT, at=now - 3 * HOUR)
    code, text = fed(one, replace(one, tenant="nobody"), replace(one, at=now + DAY))
    assert code == 2
    assert "line 2: there is no tenant 'nobody'" in text
    assert "line 3: lies in the future" in text
    assert fed(one, late) == (0, "1 recorded, 1 too late: their month is closed\n")
    assert fed(replace(one, up=False), replace(one, place="there")) == (0, "1 recorded, 1 recorded before\n")
    rows = world.db.read_sync(lambda conn: conn.execute(select(probes.c.place, probes.c.up)).all())
    assert sorted(map(tuple, rows)) == [("here", True), ("there", True)]
    assert mailguard("probe", "record", str(tmp_path / "gone")).code == 2
