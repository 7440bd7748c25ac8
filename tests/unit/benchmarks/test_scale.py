"""What bench-scale and soak conclude: curves, copied mails, multiplied rules, memory that is flat or not."""

from __future__ import annotations

import shutil
import sqlite3
import xml.etree.ElementTree as ET
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import scale
from benchmarks.fill import author, copies, file_hash
from benchmarks.plot import curve_svg
from benchmarks.soak import problems, verdict
from mailguard.checks.rules_file import load_rules
from mailguard.core.decision import Action, Decision, Reason
from mailguard.core.envelope import MailOptions, Recipient, Session
from mailguard.core.events import State
from mailguard.core.ids import new_message_id
from mailguard.core.reply import OK
from mailguard.core.tenant import SYSTEM_TENANT
from mailguard.store import migrations
from mailguard.store.db import Database
from mailguard.store.file_trace import find_mail_with_file
from mailguard.store.ledger import NewMessage, NewUnit, begin_in

MB = 1_000_000


def test_a_curve_is_well_formed_and_has_every_point() -> None:
    svg = curve_svg({"cost <1>": [(1, 2.0), (10, 20.0), (500, 90.0)]}, title="a & b", across="n", up="ms")
    drawn = ET.fromstring(svg)
    names = [element.tag.rpartition("}")[2] for element in drawn.iter()]
    assert names.count("circle") == 3
    assert "a & b" in [element.text for element in drawn.iter()]


@pytest.mark.parametrize("points", [[], [(0, 1.0)], [(1, 0.0)]])
def test_what_has_no_place_on_the_axes_is_refused(points: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        curve_svg({"cost": points}, title="", across="", up="")


def test_options_name_curves(capsys: pytest.CaptureFixture[str]) -> None:
    assert scale.arguments(["--only", "size,queue"]).only == ["size", "queue"]
    for wrong in (["--only", "height"], ["--only", ","], ["--count", "3"], ["--events", "5"]):
        with pytest.raises(SystemExit):
            scale.arguments(wrong)
        assert wrong[0] in capsys.readouterr().err


def test_memory_that_only_grows_at_first_is_flat() -> None:
    assert verdict([80 * MB, 95 * MB, *[100 * MB] * 10]) == ""


def test_memory_that_grows_on_is_told() -> None:
    growing = [(100 + 2 * step) * MB for step in range(12)]
    assert "grew from" in verdict(growing)
    assert len(problems({1: growing, 2: [MB] * 12}, {1: 90 * MB, 2: 160 * MB}, 150 * MB)) == 2
    with pytest.raises(ValueError, match="too few"):
        verdict([MB] * 7)


def test_copies_are_whole_mails_of_their_own(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/mailguard.db"
    migrations.upgrade(url)
    database, message_id = Database.open(url), new_message_id()
    message = NewMessage(message_id, 1_000, Session("s", "192.0.2.1"), "a@sender.test", MailOptions(), 100, "0" * 64)
    unit = NewUnit(
        number=1,
        recipient=Recipient("u@client.test", SYSTEM_TENANT, "client.test"),
        state=State.DISCARDED,
        reason=Reason.CLEAN,
        decision=Decision(1, Action.DISCARD, Reason.CLEAN, "", "default", "0" * 16, OK),
    )
    database.write_sync(lambda connection: begin_in(connection, message, [unit]))
    database.close_sync()
    made = copies(tmp_path / "mailguard.db", message_id, events=50, since=10_000, until=20_000)
    database = Database.open(url)
    (one,) = database.read_sync(lambda connection: find_mail_with_file(connection, sha256=file_hash(8)))
    assert (one.header_from, [file.sha256 for file in one.findings.attachments]) == (author(8), [file_hash(8)])
    database.close_sync()
    with closing(sqlite3.connect(tmp_path / "mailguard.db")) as connection:

        def count(what: str) -> int:
            return int(connection.execute(f"SELECT count(*) FROM {what}").fetchone()[0])

        assert made == 50
        assert count("messages") == count("units") == count("events") == 51
        assert count("units u JOIN messages m ON m.id = u.message JOIN events e ON e.unit = u.id") == 51
        assert count("(SELECT DISTINCT header_message_id FROM messages)") == 51
    with pytest.raises(ValueError, match="no mail"):
        copies(tmp_path / "mailguard.db", "nothing", events=1, since=0, until=1)


def test_rules_are_multiplied_by_other_names(tmp_path: Path) -> None:
    (tmp_path / "own" / "rules").mkdir(parents=True)
    for name in ("rules/00-test.yaml", "rules/80-ordinary.yaml", "default.yaml"):
        shutil.copyfile(scale.ROOT / "policies" / name, tmp_path / "own" / name)
    scale.multiply(tmp_path / "own", tmp_path / "twice", 2)
    assert len(load_rules(tmp_path / "twice" / "rules")) == 2 * len(load_rules(tmp_path / "own" / "rules"))
    assert (tmp_path / "twice" / "default-1.yaml").exists()
