"""The header block we put on top, what is taken out for it, and loops."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from mailguard.core.envelope import Session
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult, ScoredSymbol
from mailguard.message.headers import (
    authentication_results,
    count_received,
    mailguard_headers,
    outgoing,
    own_stamp,
    received,
)
from mailguard.message.stamps import HOPS_WITHIN, authserv_id_of

AT = int(datetime(2026, 11, 24, 4, 19, 51, tzinfo=UTC).timestamp()) * 1000
ID = "01JDF00000000000000000000X"


def session(helo: str = "mail.sender.example", ip: str = "192.0.2.7", tls: str = "", esmtp: bool = True) -> Session:
    return Session("s", ip, helo=helo, esmtp=esmtp, tls=tls)


def stamp(of: Session, recipient: str | None = None, smtputf8: bool = False) -> bytes:
    return received(of, hostname="mx.relay.example", message_id=ID, at_ms=AT, recipient=recipient, smtputf8=smtputf8)


def test_received_over_tls_for_one_recipient() -> None:
    assert stamp(session(tls="TLSv1.3 TLS_AES_256_GCM_SHA384"), "bob@client.example").decode() == (
        "Received: from mail.sender.example ([192.0.2.7])\r\n"
        f"\tby mx.relay.example with ESMTPS id {ID}\r\n"
        "\tfor <bob@client.example>\r\n"
        "\ttls TLS_AES_256_GCM_SHA384;\r\n"
        "\tTue, 24 Nov 2026 04:19:51 +0000\r\n"
    )


def test_received_of_several_recipients_tells_none_of_another() -> None:
    assert b"\tfor " not in stamp(session())


@pytest.mark.parametrize(
    ("helo", "ip", "expected"),
    [
        ("", "192.0.2.7", "from [192.0.2.7]\r\n"),
        ("[192.0.2.7]", "192.0.2.7", "from [192.0.2.7]\r\n"),
        ("[10.0.0.1]", "192.0.2.7", "from [10.0.0.1] ([192.0.2.7])\r\n"),
        ("x.example", "2001:db8::7", "from x.example ([IPv6:2001:db8::7])\r\n"),
        ("x.example", "::ffff:192.0.2.7", "from x.example ([192.0.2.7])\r\n"),
        ("a b\r\nX-Evil: (y)", "192.0.2.7", "from [192.0.2.7] (helo=a b X-Evil: ?y?)\r\n"),
        ("ünï.example", "192.0.2.7", "from [192.0.2.7] (helo=?n?.example)\r\n"),
    ],
)
def test_who_it_is_from(helo: str, ip: str, expected: str) -> None:
    assert stamp(session(helo, ip)).decode().startswith("Received: " + expected)


@pytest.mark.parametrize(
    ("of", "smtputf8", "word"),
    [
        (session(esmtp=False), False, "SMTP"),
        (session(), False, "ESMTP"),
        (session(tls="TLSv1.2 ECDHE-RSA-AES128-SHA"), False, "ESMTPS"),
        (session(), True, "UTF8SMTP"),
        (session(tls="TLSv1.3 TLS_AES_128_GCM_SHA256"), True, "UTF8SMTPS"),
    ],
)
def test_with_what_protocol(of: Session, smtputf8: bool, word: str) -> None:
    assert f" with {word} id ".encode() in stamp(of, smtputf8=smtputf8)


def test_a_cipher_without_a_registered_name_is_a_comment() -> None:
    assert b"\r\n\t(TLSv1.2 ECDHE-RSA-AES128-SHA);" in stamp(session(tls="TLSv1.2 ECDHE-RSA-AES128-SHA"))


def test_recipients_outside_ascii_stand_only_in_smtputf8_mail() -> None:
    assert "for <zoë@client.example>".encode() in stamp(session(), "zoë@client.example", smtputf8=True)
    assert b"for" not in stamp(session(), "zoë@client.example")
    assert b"for" not in stamp(session(), "bob@client.example>\r\nX: y")


def result(outcome: AuthOutcome = AuthOutcome.PASS, reason: str = "", **properties: str) -> AuthResult:
    named = tuple((name.replace("_", "."), value) for name, value in properties.items())
    return AuthResult(AuthMethod.SPF, outcome, "", reason, named)


def test_authentication_results() -> None:
    results = [
        AuthResult(AuthMethod.SPF, AuthOutcome.PASS, "a.example", "", (("smtp.mailfrom", "x@a.example"),)),
        AuthResult(
            AuthMethod.DKIM, AuthOutcome.FAIL, "a.example", "bad hash", (("header.d", "a.example"), ("header.s", "k1"))
        ),
        AuthResult(AuthMethod.DMARC, AuthOutcome.NONE),
    ]
    assert authentication_results("mx.relay.example", results).decode() == (
        "Authentication-Results: mx.relay.example;\r\n"
        "\tspf=pass smtp.mailfrom=x@a.example;\r\n"
        "\tdkim=fail (bad hash) header.d=a.example header.s=k1;\r\n"
        "\tdmarc=none\r\n"
    )
    assert authentication_results("mx.relay.example", []) == b"Authentication-Results: mx.relay.example; none\r\n"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("x@a.example", "x@a.example"),
        ("a.example", "a.example"),
        ("zoë@exämple.test", "zo?@xn--exmple-cua.test"),
        ("x y@a.example", '"x y@a.example"'),
        ('"q"@a.example', '"\\"q\\"@a.example"'),
        ("a; dkim=pass header.d=bank.example", '"a; dkim=pass header.d=bank.example"'),
        ("a\r\nX-Evil: y", '"a X-Evil: y"'),
        ("a\0b", '"a b"'),
        ("(comment)", '"(comment)"'),
    ],
)
def test_property_values_are_quoted_where_they_must_be(value: str, written: str) -> None:
    assert f" smtp.mailfrom={written}\r\n".encode() in authentication_results("mx", [result(smtp_mailfrom=value)])


@given(st.text(max_size=400), st.text(max_size=400))
def test_no_value_breaks_out(value: str, reason: str) -> None:
    field = authentication_results("mx", [result(AuthOutcome.FAIL, reason, smtp_mailfrom=value)])
    assert field.isascii()
    assert field.endswith(b"\r\n")
    for line in field[:-2].split(b"\r\n")[1:]:
        assert line.startswith(b"\t")
    assert not any(octet in field.replace(b"\r\n", b"") for octet in b"\r\n\0")
    parsed = email.message_from_bytes(field + stamp(session(value)) + b"\r\n", policy=email.policy.SMTP)
    assert parsed.keys() == ["Authentication-Results", "Received"]


def test_mailguard_headers() -> None:
    symbols = [ScoredSymbol("DKIM_VALID", -0.5), ScoredSymbol("URL_IP_ADDRESS", 1.5)]
    assert mailguard_headers(ID, "spam", 7.25, symbols).decode() == (
        f"X-MailGuard-Id: {ID}\r\n"
        "X-MailGuard-Verdict: spam\r\n"
        "X-MailGuard-Score: 7.25\r\n"
        "X-MailGuard-Symbols:\r\n\tDKIM_VALID(-0.50), URL_IP_ADDRESS(1.50)\r\n"
    )
    assert mailguard_headers(ID) == f"X-MailGuard-Id: {ID}\r\n".encode()
    many = mailguard_headers(ID, "clean", 0, [ScoredSymbol(f"SYMBOL_NUMBER_{i}", 0) for i in range(100)])
    assert max(map(len, many.split(b"\r\n"))) <= 80


# what goes out

BLOCK = b"Received: ours\r\n"


def out(raw: bytes, tag: str = "") -> bytes:
    return b"".join(outgoing(raw, BLOCK, authserv_id="mx.relay.example", subject_tag=tag))


@pytest.mark.parametrize(
    "forged",
    [
        b"Authentication-Results: mx.relay.example; spf=pass\r\n",
        b"authentication-results : MX.Relay.Example 1;\r\n\tspf=pass\r\n",
        b"Authentication-Results:\r\n (a (nested) comment) mx.relay.example;spf=pass\r\n",
        b'Authentication-Results: "mx.relay.example"; spf=pass\r\n',
        b'Authentication-Results: "mx.\\relay.example"; spf=pass\r\n',
        b"Authentication-Results: mx.relay.example(c); none\r\n",
        b"X-MailGuard-Verdict: clean\r\n",
        b"x-mailguard-anything-else:\r\n\tfolded\r\n\tmore\r\n",
        b"X-MAILGUARD-: x\r\n",
    ],
)
def test_what_claims_to_be_ours_goes(forged: bytes) -> None:
    kept = b"From: a@b.example\r\nSubject: x\r\n"
    for raw in (forged + kept, kept + forged, b"From: a@b.example\r\n" + forged + forged + b"Subject: x\r\n"):
        assert out(raw + b"\r\nbody\r\n") == BLOCK + kept + b"\r\nbody\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"Authentication-Results: other.example; spf=pass\r\n\r\nbody",
        b"Authentication-Results: mx.relay.example.evil.example; spf=pass\r\n\r\nbody",
        b"Authentication-Results: (mx.relay.example) other; spf=pass\r\n\r\nbody",
        b"Subject: x\r\n\r\nX-MailGuard-Id: in the body\r\nAuthentication-Results: mx.relay.example; none\r\n",
        b"Subject: x\r\n X-MailGuard-Id: folded\r\n\r\nbody",
        b"Subject: Authentication-Results: mx.relay.example;\r\n\r\nbody",
        b"X-Mail: Guard\r\nARC-Authentication-Results: i=1; mx.relay.example; none\r\n\r\nbody",
        b"Subject: odd  spaces \t\r\n\r\n\r\n\r\nbody \xff\0\r\n",
        b"no header at all",
        b"\r\nbody alone",
        b"",
    ],
)
def test_all_else_stays_as_it_is(raw: bytes) -> None:
    assert out(raw) == BLOCK + raw


def test_a_mail_that_begins_with_a_folded_line_cannot_continue_our_fields() -> None:
    raw = b" ; dkim=pass header.d=bank.example\r\nSubject: x\r\n\r\nbody"
    sent = out(raw)
    assert sent == BLOCK + b"\r\n" + raw
    assert email.message_from_bytes(sent).items() == [("Received", "ours")]


def test_without_removal_nothing_is_copied() -> None:
    raw = b"Subject: x\r\n\r\n" + b"x" * 1_000
    assert outgoing(raw, BLOCK, authserv_id="mx")[1] is raw


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"Subject: hello\r\n\r\nb", b"Subject: [SPAM] hello\r\n\r\nb"),
        (b"A: b\r\nsubject:hello\r\nX-MailGuard-Id: x\r\n\r\nb", b"A: b\r\nsubject:[SPAM] hello\r\n\r\nb"),
        (b"Subject: [SPAM] hello\r\n\r\nb", b"Subject: [SPAM] hello\r\n\r\nb"),
        (b"A: b\r\n\r\nSubject: in the body", b"Subject: [SPAM]\r\nA: b\r\n\r\nSubject: in the body"),
    ],
)
def test_subject_tag(raw: bytes, expected: bytes) -> None:
    assert out(raw, "[SPAM]") == BLOCK + expected


def test_a_subject_tag_outside_ascii_is_encoded() -> None:
    sent = out(b"Subject: x\r\n\r\n", "[Müll]")
    assert sent.isascii()
    assert str(email.message_from_bytes(sent, policy=email.policy.default)["Subject"]) == "[Müll] x"


def test_a_signature_still_verifies() -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    record = b"v=DKIM1; p=" + b"".join(public.splitlines()[1:-1])
    mail = b"From: a@b.example\r\nSubject: x\r\nReceived: from y\r\n\r\nbody \r\n.\r\n\r\n"
    signed = dkim.sign(mail, b"k", b"b.example", pem) + mail
    forged = b"X-MailGuard-Score: 0\r\nAuthentication-Results: mx.relay.example; none\r\n"
    sent = out(forged + signed)
    assert dkim.verify(sent, dnsfunc=lambda name, timeout=5: record)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b" a.example; none", b"a.example"),
        (b"a.example", b"a.example"),
        (b" (((x)))  (y\\)) a.example/1;", b"a.example"),
        (b" (open a.example; none", b""),
        (b"", b""),
        (b";", b""),
        (b'"a b" 1; none', b"a b"),
    ],
)
def test_authserv_id(value: bytes, found: bytes) -> None:
    assert authserv_id_of(value) == found


# loops


def test_received_fields_are_counted_in_the_header_alone() -> None:
    raw = b"Received: a\r\nreceived :b\r\n\tReceived: folded\r\nX-Received: c\r\n\r\nReceived: body\r\n"
    assert count_received(raw) == 2


def test_they_are_looked_for_where_hops_put_them() -> None:
    far = b"Received: a\r\n" + b"X-A: b\r\n" * (HOPS_WITHIN // 8) + stamp(session(), "bob@client.example") + b"\r\n"
    assert count_received(far) == 1
    assert not own_stamp(far, "mx.relay.example", "bob@client.example")


def test_our_own_stamp_for_the_same_recipient_is_a_loop() -> None:
    raw = b"Received: from x by other.example\r\n" + stamp(session(), "Bob@Client.example") + b"Subject: x\r\n\r\n"
    assert own_stamp(raw, "mx.relay.example", "bob@client.example")
    assert own_stamp(raw, "MX.RELAY.EXAMPLE", "bob@client.EXAMPLE.")
    assert not own_stamp(raw, "mx.relay.example", "alice@client.example")
    assert not own_stamp(raw, "relay.example", "bob@client.example")


def test_a_stamp_that_another_server_quotes_is_none() -> None:
    raw = b"Received: from x (by mx.relay.example for <bob@client.example>) by other.example for <bob@client.example>; d\r\n\r\n"
    assert not own_stamp(raw, "mx.relay.example", "bob@client.example")
    body = b"Subject: x\r\n\r\n" + stamp(session(), "bob@client.example")
    assert not own_stamp(body, "mx.relay.example", "bob@client.example")


def test_many_own_stamps_without_recipient_are_a_loop() -> None:
    nameless = stamp(session())
    assert not own_stamp(nameless * 3 + b"\r\n", "mx.relay.example", "bob@client.example")
    assert own_stamp(nameless * 10 + b"\r\n", "mx.relay.example", "bob@client.example")


def test_a_line_end_behind_a_property_name_leaves_it_out() -> None:
    given = AuthResult(AuthMethod.SPF, AuthOutcome.PASS, properties=(("smtp.helo\n", "a.test"), ("smtp.mailfrom", "b")))
    assert authentication_results("mx", [given]) == b"Authentication-Results: mx;\r\n\tspf=pass smtp.mailfrom=b\r\n"
