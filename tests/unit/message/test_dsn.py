"""Failure reports: what people, programs and mail servers read in them, whatever the original was."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage, Message
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.core.reply import Reply
from mailguard.message.dsn import FULL_LIMIT, RETURNED_LIMIT, Report, ReportedRecipient, Told, dsn

ORIGINAL = b"From: alice@remote.test\r\nSubject: Hello\r\n\r\nSecret body\r\n"
AT = 1_790_000_000_000


def report(*recipients: ReportedRecipient, original: bytes = ORIGINAL, **fields: Any) -> bytes:
    given = recipients or (
        ReportedRecipient(
            "bob@client.test",
            Reply(550, "5.1.1", "No such user"),
            "",
            "mx.client.test:25",
            "rfc822;bob+2B1@client.test",
            AT,
        ),
    )
    values: dict[str, Any] = {
        "message_id": "01J0000000000000000000DSN1",
        "hostname": "relay.test",
        "from_domain": "relay.test",
        "to": "alice@remote.test",
        "at": AT,
        "received_at": AT - 1000,
        "original_id": "01J0000000000000000000ORIG",
        "envid": "QQ314159",
    }
    return dsn(Report(original=original, recipients=given, **(values | fields)))


def parsed(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def fields_of(raw: bytes) -> list[Message]:
    """The groups of fields of the delivery-status part: of the message, then of each recipient."""
    part = list(parsed(raw).iter_parts())[1]
    payload = part.get_payload()
    assert isinstance(payload, list)
    return payload  # type: ignore[return-value]


def test_structure() -> None:
    message = parsed(report())
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert [part.get_content_type() for part in message.iter_parts()] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]
    assert message["To"] == "alice@remote.test"
    assert message["From"] == "Mail Delivery System <MAILER-DAEMON@relay.test>"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["Message-ID"] == "<01J0000000000000000000DSN1@relay.test>"
    assert not message.defects


def test_what_programs_read() -> None:
    whole, recipient = fields_of(report())
    assert whole["Reporting-MTA"] == "dns; relay.test"
    assert whole["Original-Envelope-Id"] == "QQ314159"
    assert whole["Arrival-Date"] == "Mon, 21 Sep 2026 14:13:19 +0000"
    assert recipient["Original-Recipient"] == "rfc822; bob+2B1@client.test"
    assert recipient["Final-Recipient"] == "rfc822; bob@client.test"
    assert recipient["Action"] == "failed"
    assert recipient["Status"] == "5.1.1"
    assert recipient["Remote-MTA"] == "dns; mx.client.test:25"
    assert recipient["Diagnostic-Code"] == "smtp; 550 5.1.1 No such user"
    assert recipient["Last-Attempt-Date"] == "Mon, 21 Sep 2026 14:13:20 +0000"


def test_what_people_read() -> None:
    text = next(parsed(report()).iter_parts()).get_content()
    assert "<bob@client.test>" in text
    assert "mx.client.test:25 said: 550 5.1.1 No such user" in text


def test_expired_without_a_word_from_the_server() -> None:
    raw = report(ReportedRecipient("bob@client.test", None, "No server of client.test answered for 5 days."))
    (_, recipient) = fields_of(raw)
    assert recipient["Status"] == "5.4.7"
    assert recipient["Diagnostic-Code"] is None
    assert b"answered for 5 days" in raw


@pytest.mark.parametrize(
    ("reply", "status"),
    [(Reply(554, "", "No"), "5.0.0"), (Reply(451, "4.3.0", "Later"), "5.4.7"), (Reply(550, "5.7.1"), "5.7.1")],
)
def test_status_is_of_class_5(reply: Reply, status: str) -> None:
    assert fields_of(report(ReportedRecipient("bob@client.test", reply, "")))[1]["Status"] == status


def test_header_is_returned_and_the_body_is_not() -> None:
    raw = report()
    assert b"Subject: Hello\r\n" in raw
    assert b"Secret body" not in raw


def test_header_that_is_not_ascii_is_encoded() -> None:
    original = "Subject: Grüße\r\nX-Long: ".encode() + b"x" * 2000 + b"\r\n\r\nbody"
    raw = report(original=original)
    assert raw.isascii()
    part = list(parsed(raw).iter_parts())[2]
    decoded = part.get_payload(decode=True)
    assert isinstance(decoded, bytes)
    assert decoded.replace(b"\r\n", b"\n") == original.partition(b"\r\n\r\n")[0].replace(b"\r\n", b"\n") + b"\n"


def test_large_header_is_cut_at_the_end_of_a_line() -> None:
    original = b"".join(b"X-%d: filler filler filler\r\n" % i for i in range(5000)) + b"\r\nbody"
    raw = report(original=original)
    assert len(raw) < RETURNED_LIMIT + 4000
    assert list(parsed(raw).iter_parts())[2].get_payload().endswith("filler\r\n")


def test_addresses_that_are_not_ascii() -> None:
    raw = report(ReportedRecipient("josé@client.test", None, "Expired."), to="zoë@remote.test")
    assert "To: <zoë@remote.test>".encode() in raw
    assert raw.replace("zoë".encode(), b"").isascii()
    assert fields_of(raw)[1]["Final-Recipient"] == r"utf-8; jos\x{E9}@client.test"


def test_many_recipients_are_counted() -> None:
    raw = report(*(ReportedRecipient(f"r{i}@client.test", None, "Expired.") for i in range(150)))
    assert len(fields_of(raw)) == 101
    assert b"and 50 more." in raw


def test_bad_orcpt_and_envid_are_left_out() -> None:
    raw = report(ReportedRecipient("bob@client.test", None, "", orcpt="rfc822;a b\r\nX: y"), envid="a\r\nEvil: yes")
    assert b"Original-Recipient" not in raw
    assert b"Original-Envelope-Id" not in raw


hostile = st.text(max_size=60) | st.sampled_from(
    [
        "a\r\nBcc: victim@other.test",
        "\r\n\r\n<script>",
        "--=01J0000000000000000000DSN1=--",
        "\x00\x1b[2J",
        "é\u2028x",
        "\ud800",
    ]
)


@given(hostile, hostile, hostile, hostile, st.binary(max_size=300))
def test_hostile_texts_stay_in_their_places(address: str, text: str, hop: str, orcpt: str, original: bytes) -> None:
    raw = report(
        ReportedRecipient(address, Reply(550, "5.1.1", text), text, hop, orcpt), original=original, to="a@remote.test"
    )
    assert raw.replace(b"\r\n", b"").count(b"\n") == 0 or b"\n" in original
    message = parsed(raw)
    assert [part.get_content_type() for part in message.iter_parts()][:2] == ["text/plain", "message/delivery-status"]
    assert "Bcc" not in message
    _, recipient = fields_of(raw)
    assert set(recipient.keys()) <= {
        "Original-Recipient",
        "Final-Recipient",
        "Action",
        "Status",
        "Remote-MTA",
        "Diagnostic-Code",
    }
    header, _, _ = raw.partition(b"\r\n\r\n")
    assert header.isascii()


# what was asked for by RET, and what is told beside failures


def test_whole_message_is_returned_when_it_is_asked_for() -> None:
    original = ORIGINAL + "Grüße\r\n".encode()
    raw = report(original=original, full=True)
    last = list(parsed(raw).iter_parts())[2]
    assert last.get_content_type() == "message/rfc822"
    assert last["Content-Transfer-Encoding"] == "8bit"
    assert raw.endswith(original + b"\r\n--=01J0000000000000000000DSN1=--\r\n")


@pytest.mark.parametrize(
    "original",
    [
        ORIGINAL + b"x" * FULL_LIMIT,
        ORIGINAL + b"x" * 2000 + b"\r\n",
        ORIGINAL + b"a\0b\r\n",
        ORIGINAL + b"bare\n",
        ORIGINAL + b"--=01J0000000000000000000DSN1=--\r\n",
    ],
    ids=["too large", "long line", "NUL", "bare newline", "our boundary"],
)
def test_header_is_returned_when_the_whole_cannot_be(original: bytes) -> None:
    last = list(parsed(report(original=original, full=True)).iter_parts())[2]
    assert last.get_content_type() == "text/rfc822-headers"


def test_delay() -> None:
    waiting = ReportedRecipient(
        "bob@client.test", Reply(450, "4.2.2", "Full"), "", "mx.client.test:25", "", AT, retry_until=AT + 86_400_000
    )
    raw = report(waiting, told=Told.DELAYED, full=True)
    _, recipient = fields_of(raw)
    assert recipient["Action"] == "delayed"
    assert recipient["Status"] == "4.2.2"
    assert recipient["Diagnostic-Code"] == "smtp; 450 4.2.2 Full"
    assert recipient["Will-Retry-Until"] == "Tue, 22 Sep 2026 14:13:20 +0000"
    assert b"You need not send it again" in raw
    assert list(parsed(raw).iter_parts())[2].get_content_type() == "text/rfc822-headers"  # RFC 3461 §4.3


@pytest.mark.parametrize(
    ("told", "reply", "status"),
    [
        (Told.DELAYED, None, "4.4.1"),
        (Told.DELAYED, Reply(550, "5.7.1", "Your address is blocked"), "4.0.0"),
        (Told.DELAYED, Reply(451, "", "Later"), "4.0.0"),
        (Told.RELAYED, Reply(250, "2.6.0", "Queued"), "2.6.0"),
        (Told.RELAYED, Reply(250, "", "Ok"), "2.0.0"),
    ],
)
def test_status_is_of_the_class_of_the_action(told: Told, reply: Reply | None, status: str) -> None:
    _, recipient = fields_of(report(ReportedRecipient("bob@client.test", reply, ""), told=told))
    assert (recipient["Action"], recipient["Status"]) == (told.value, status)


@pytest.mark.parametrize(
    ("envid", "orcpt"), [("QQ314159\n", ""), ("", "rfc822;bob@client.test\n"), ("", "rfc822\n;bob@client.test")]
)
def test_line_end_behind_envid_or_orcpt_does_not_pass(envid: str, orcpt: str) -> None:
    raw = report(ReportedRecipient("bob@client.test", None, "", "", orcpt), envid=envid)
    assert raw.count(b"\n") == raw.count(b"\r\n")
    assert b"Original-" not in raw


def test_header_with_the_boundary_is_encoded() -> None:
    hostile = b"Subject: x\r\nX-Y: z\r\n --=01J0000000000000000000DSN1=--\r\n--=01J0000000000000000000DSN1=--\r\n"
    parts = list(parsed(report(original=hostile + b"\r\n")).iter_parts())
    assert len(parts) == 3
    assert parts[2].get_payload(decode=True) == hostile
