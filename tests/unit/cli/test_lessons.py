"""`mailguard lessons`, and the commands that teach."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailguard.core.events import State
from mailguard.store.lessons import StoredDelta, read_delta
from tests.ledger_of import World
from tests.unit.cli.conftest import Run

NEWS = b"From: Shop <news@evil.test>\r\nTo: joe@acme.test\r\nSubject: Offers\r\nMessage-ID: <1@evil.test>\r\n\r\nHello Joe\r\n"


@pytest.fixture(autouse=True)
def senders_are_authentic(monkeypatch: pytest.MonkeyPatch) -> None:
    """The world's findings say that SPF failed: here it did not."""
    from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult, CheckResult, Findings
    from tests import ledger_of

    auth = (AuthResult(AuthMethod.SPF, AuthOutcome.PASS, "evil.test"),)
    made = lambda malware=(): Findings((CheckResult("clamav", malware=tuple(malware)), CheckResult("spf", auth=auth)))  # noqa: E731
    monkeypatch.setattr(ledger_of, "findings", made)


def delta(world: World) -> StoredDelta:
    return world.db.read_sync(lambda conn: read_delta(conn, world.tenant))


def test_a_release_teaches_and_says_what_it_moved(mailguard: Run, world: World) -> None:
    first, second = world.mail(raw=NEWS), world.mail(raw=NEWS)
    done = mailguard("quarantine", "release", *first, "--why", "wanted")
    assert "will be delivered; mail like it goes from 8.2 to 1.0" in done.out
    (released,) = mailguard("quarantine", "release", *second, "--json").json
    assert released["lesson"] == {"outcome": "learned", "lesson": 2, "score_before": 1.0, "score_after": 1.0}
    (one, two) = mailguard("lessons", "list", "--json").json
    assert (one["as"], one["teacher"], one["source"], one["why"], one["unit"]) == (
        "ham",
        "ann",
        "release",
        "wanted",
        *first,
    )
    assert (two["score_before"], two["step"]) == (1.0, 0.0)
    out = mailguard("lessons", "list", "--tenant", "acme").out
    assert "8.2 → 1.0" in out
    assert "eve@evil.test" in out
    assert mailguard("lessons", "list", "--teacher", "bob", "--json").json == []


def test_a_release_teaches_nothing_when_told_so_or_of_malware(mailguard: Run, world: World) -> None:
    (plain,), (malware,) = world.mail(raw=NEWS), world.mail(raw=NEWS, malware=["Eicar"])
    assert "mail like it" not in mailguard("quarantine", "release", plain, "--no-learn").out
    assert mailguard("quarantine", "release", malware, "--force", "--json").json[0]["lesson"] is None
    assert delta(world) == StoredDelta()


def test_a_message_with_several_recipients_is_one_lesson(mailguard: Run, world: World) -> None:
    units = world.mail(raw=NEWS, recipients=["joe@acme.test", "ann@acme.test"])
    done = mailguard("quarantine", "release", units[0][:26], "--json").json
    assert [one["lesson"]["lesson"] for one in done] == [1, 1]
    assert delta(world).lessons == 1


def test_kept_mail_is_taught_where_it_is(mailguard: Run, world: World) -> None:
    (unit,) = world.mail(raw=NEWS)
    done = mailguard("quarantine", "learn", "--ham", unit, "--json")
    assert (done.code, done.json[0]["outcome"]) == (0, "learned")
    assert mailguard("quarantine", "learn", "--ham", unit, "--json").json[0]["outcome"] == "known"
    spam = mailguard("quarantine", "learn", "--spam", unit)
    assert (
        "mail like it goes from 8.2 to 9.0" in spam.out
    )  # it is on that side, once the first lesson does not count any more
    assert [one["in_force"] for one in mailguard("lessons", "list", "--all", "--json").json] == [False, True]
    (shown,) = mailguard("quarantine", "list", "--json").json
    assert shown["state"] == "quarantined"


def test_either_spam_or_ham(mailguard: Run, world: World) -> None:
    (unit,) = world.mail(raw=NEWS)
    assert "give either --spam or --ham" in mailguard("quarantine", "learn", unit).err
    assert mailguard("quarantine", "learn", "--spam", "--ham", unit).code == 2


def test_delivered_mail_is_taught_of_a_copy(mailguard: Run, world: World, tmp_path: Path) -> None:
    (unit,) = world.mail(State.FORWARDING, raw=NEWS)
    world.move(unit, State.DELIVERED)
    world.blobs.delete(unit[:26])
    gone = mailguard("quarantine", "learn", "--spam", unit)
    assert (gone.code, "give a copy" in gone.out) == (1, True)
    copy = tmp_path / "copy.eml"
    copy.write_bytes(b"Return-Path: <x@y>\r\nX-MailGuard-Id: " + unit[:26].encode() + b"\r\n" + NEWS)
    done = mailguard("quarantine", "learn", "--spam", unit, "--file", str(copy), "--json")
    assert (done.code, done.json[0]["outcome"]) == (0, "learned")
    other = copy.read_bytes().replace(b"<1@evil.test>", b"<2@evil.test>")
    copy.write_bytes(other)
    assert "is a copy of" in mailguard("quarantine", "learn", "--spam", unit, "--file", str(copy)).err
    copy.write_bytes(NEWS)
    assert "bears no X-MailGuard-Id" in mailguard("quarantine", "learn", "--spam", unit, "--file", str(copy)).err


def test_a_report_teaches_while_the_message_is_kept_and_is_taken_back_with_it(mailguard: Run, world: World) -> None:
    (unit,) = world.mail(State.FORWARDING, raw=NEWS)
    world.move(unit, State.DELIVERED)
    assert "reported as spam; mail like it goes from 8.2 to 9.0" in mailguard("report", "spam", unit).out
    (lesson,) = mailguard("lessons", "list", "--json").json
    assert (lesson["source"], lesson["as"]) == ("report", "spam")
    assert mailguard("report", "spam", unit, "--undo").code == 0
    assert mailguard("lessons", "list", "--json").json == []


def test_probes_teach_nothing(mailguard: Run, world: World) -> None:
    (unit,) = world.mail(raw=NEWS, probe=True)
    done = mailguard("quarantine", "learn", "--ham", unit)
    assert (done.code, "a mail of `mailguard probe`" in done.out) == (1, True)
    assert delta(world).weights == b""


def test_lessons_are_shown_and_undone(mailguard: Run, world: World) -> None:
    units = [*world.mail(raw=NEWS), *world.mail(raw=NEWS.replace(b"news@", b"mail@"))]
    for unit in units:
        mailguard("quarantine", "learn", "--ham", unit)
    out = mailguard("lessons", "show", "1").out
    assert "mail like it from 8.2 → 1.0" in out
    assert "its sender's domain" in out
    assert mailguard("lessons", "show", "9").code == 1
    undone = mailguard("lessons", "undo", "1", "--actor", "bob", "--why", "wrong")
    assert f"lesson 1 (ham, {units[0]}): undone" in undone.out
    assert "was not in force (undone by bob)" in mailguard("lessons", "undo", "1").out
    assert mailguard("lessons", "undo", "--teacher", "ann", "--tenant", "acme", "--json").json == [
        {"lesson": 2, "unit": units[1], "undone": True}
    ]
    assert delta(world).weights == b""
    assert mailguard("lessons", "undo").code == 2
    entries = mailguard("audit", "list", "--action", "lessons", "--json").json
    assert [entry["action"] for entry in entries] == ["lessons.teach"] * 2 + ["lessons.undo"] * 2
