"""What a probe's mails came to: each way in which it may go, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mailguard.core.decision import Action, Reason
from mailguard.core.events import State
from mailguard.core.reply import Reply
from mailguard.watch.probe_mails import EICAR, GTUBE, header_message_id, probe_mail
from mailguard.watch.probe_mark import Kind, Mark
from mailguard.watch.probe_verdict import Arrived, Finding, ProbeMail, Recorded, Said, Seen, findings

AT = 1_764_000_000_000
OK = Said(Reply(250, "2.0.0", "Ok"), after_data=True, connect_ms=1, reply_ms=2)
BLOCK = b"Received: from x\r\n\tby relay.test\r\nX-MailGuard-Verdict: deliver; reason=clean\r\n"
TAGGED = b"X-MailGuard-Verdict: tag; reason=spam_score\r\n"
DELIVERED = Recorded(State.DELIVERED, Action.DELIVER, Reason.CLEAN, True, "delivered", 7)
KEPT = Recorded(State.QUARANTINED, Action.QUARANTINE, Reason.MALWARE, True, "quarantined (malware)")
LISTED = Recorded(State.REJECTED, Action.REJECT, Reason.SPAM_SCORE, True, "rejected (spam_score)")


def sent(kind: Kind, said: Said = OK, **seen: object) -> ProbeMail:
    mark = Mark("01KAVT0000000000000000000A", AT, kind)
    content = probe_mail(mark, sender="probe@relay.test", recipient="canary@client.test")
    return ProbeMail(mark, content, said, Seen(**seen))  # type: ignore[arg-type]


def arrived(kind: Kind, top: bytes = BLOCK, end: bytes = b"") -> Arrived:
    return Arrived(top + sent(kind).content + end, 5)


def found(*mails: ProbeMail) -> tuple[Finding, ...]:
    return findings(mails, patience=60)


WELL = sent(Kind.CLEAN, at_canary=True, arrived=arrived(Kind.CLEAN))


def test_the_mails_are_what_they_say() -> None:
    clean, eicar, gtube = (sent(kind).content for kind in Kind)
    assert GTUBE.encode() in gtube
    assert b"WDVPIVAl" in eicar  # the begin of EICAR in base64
    assert EICAR[:4].decode() == "X5O!"
    for content in (clean, eicar, gtube):
        assert content.isascii()
        assert content.count(b"\n") == content.count(b"\r\n")
        assert max(map(len, content.split(b"\r\n"))) <= 78
    assert header_message_id(sent(Kind.CLEAN).mark, sender="probe@relay.test").encode() in clean


def test_all_well_by_the_canary_and_by_the_record() -> None:
    assert found(WELL, sent(Kind.EICAR, at_canary=True), sent(Kind.GTUBE, at_canary=True)) == (
        Finding(Kind.CLEAN, True, "", 5),
        Finding(Kind.EICAR, True),
        Finding(Kind.GTUBE, True),
    )
    assert found(
        sent(Kind.CLEAN, in_record=True, recorded=DELIVERED),
        sent(Kind.EICAR, in_record=True, recorded=KEPT),
        sent(Kind.GTUBE, in_record=True, recorded=LISTED),
    ) == (Finding(Kind.CLEAN, True, "", 7), Finding(Kind.EICAR, True), Finding(Kind.GTUBE, True))


@pytest.mark.parametrize(
    ("mail", "ok", "words"),
    [
        (sent(Kind.CLEAN, Said(None, "no connection in time")), False, "the door did not take the clean mail: no conn"),
        (sent(Kind.CLEAN, Said(Reply(451, "4.3.0", "Later"), after_data=True)), False, "451 4.3.0 Later"),
        (sent(Kind.CLEAN, Said(Reply(250, "2.1.5", "Ok"))), False, "did not take"),
        (sent(Kind.CLEAN, at_canary=True), False, "did not arrive at the canary within 60 s"),
        (sent(Kind.CLEAN, at_canary=True, arrived=arrived(Kind.CLEAN, end=b"--\r\nAn advert")), False, "altered"),
        (sent(Kind.CLEAN, at_canary=True, arrived=arrived(Kind.CLEAN, top=b"\r\n")), False, "no header"),
        (sent(Kind.CLEAN, at_canary=True, arrived=arrived(Kind.CLEAN, top=TAGGED)), True, "marked (tag, spam_score)"),
        (sent(Kind.CLEAN, blind="mailbox away"), None, "mailbox away"),
        (sent(Kind.CLEAN), None, ""),
        (sent(Kind.CLEAN, in_record=True), False, "no record"),
        (
            sent(Kind.CLEAN, in_record=True, recorded=replace(DELIVERED, after_ms=None, now="spooled (away)")),
            False,
            "it is spooled (away)",
        ),
        (sent(Kind.CLEAN, in_record=True, recorded=replace(DELIVERED, probe=False)), True, "so it is billed"),
        (sent(Kind.CLEAN, in_record=True, recorded=replace(DELIVERED, action=Action.TAG)), True, "marked (tag"),
        (sent(Kind.CLEAN, at_canary=True, in_record=True, recorded=DELIVERED), False, "did not arrive"),
    ],
)
def test_the_clean_mail(mail: ProbeMail, ok: bool | None, words: str) -> None:
    (finding,) = found(mail)
    assert finding.ok is ok
    assert words in finding.problem
    assert bool(finding.problem) == bool(words)


REFUSED = Said(Reply(550, "5.7.1", "No"), after_data=True)


@pytest.mark.parametrize(
    ("mail", "ok", "words"),
    [
        (
            sent(Kind.EICAR, at_canary=True, arrived=arrived(Kind.EICAR)),
            False,
            "EICAR was delivered: the virus scanner",
        ),
        (sent(Kind.EICAR, REFUSED), True, ""),
        (sent(Kind.EICAR, replace(REFUSED, after_data=False)), None, "could not be sent: 550"),
        (sent(Kind.EICAR, Said(Reply(451, "4.7.1", "Later"), after_data=True)), False, "was put off"),
        (sent(Kind.EICAR), None, ""),
        (sent(Kind.EICAR, blind="database away"), None, "database away"),
        (sent(Kind.EICAR, in_record=True), False, "no record"),
        (sent(Kind.EICAR, in_record=True, recorded=replace(DELIVERED, now="delivered")), False, "it is delivered"),
        (
            sent(Kind.EICAR, in_record=True, recorded=replace(KEPT, state=State.HELD, now="held (scanner_failed)")),
            False,
            "it is held (scanner_failed): the virus scanner",
        ),
        (
            sent(Kind.EICAR, in_record=True, recorded=replace(KEPT, reason=Reason.DMARC_FAIL)),
            False,
            "for another reason than malware: quarantine (dmarc_fail)",
        ),
        (
            sent(
                Kind.EICAR, REFUSED, in_record=True, recorded=replace(DELIVERED, state=State.REJECTED, now="rejected")
            ),
            False,
            "was not stopped",
        ),
        (sent(Kind.EICAR, in_record=True, recorded=replace(KEPT, probe=False)), True, "did not know it for a probe"),
        (sent(Kind.GTUBE, at_canary=True, arrived=arrived(Kind.GTUBE)), False, "GTUBE was delivered: the rules"),
        (sent(Kind.GTUBE, at_canary=True, arrived=arrived(Kind.GTUBE, top=TAGGED)), True, ""),
        (
            sent(
                Kind.GTUBE,
                in_record=True,
                recorded=replace(DELIVERED, action=Action.TAG, reason=Reason.SPAM_SCORE),
            ),
            True,
            "",
        ),
        (
            sent(Kind.EICAR, in_record=True, recorded=replace(DELIVERED, action=Action.TAG, reason=Reason.MALWARE)),
            False,
            "EICAR was delivered",
        ),
    ],
)
def test_bad_mail(mail: ProbeMail, ok: bool | None, words: str) -> None:
    _, finding = found(WELL, mail)
    assert finding.ok is ok, finding
    assert words in finding.problem
    assert bool(finding.problem) == bool(words)


def test_that_bad_mail_does_not_come_says_nothing_when_nothing_comes() -> None:
    _, finding = found(sent(Kind.CLEAN, at_canary=True), sent(Kind.EICAR, at_canary=True))
    assert finding.ok is None
    assert "no clean mail arrived either" in finding.problem


def test_a_refusal_of_the_clients_server_leaves_the_door_up() -> None:
    theirs = replace(DELIVERED, state=State.REJECTED, after_ms=None)
    assert sent(Kind.CLEAN, REFUSED, in_record=True, recorded=theirs).door_is_up
    assert not sent(Kind.CLEAN, REFUSED, in_record=True, recorded=replace(theirs, action=Action.REJECT)).door_is_up
    assert not sent(Kind.CLEAN, REFUSED).door_is_up
    assert WELL.door_is_up
