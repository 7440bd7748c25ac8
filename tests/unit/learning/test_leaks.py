"""Which header fields are dropped before accuracy is measured, and that nothing else changes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.learning.leaks import ALL_LEAKS, LeakyFields
from mailguard.message.parse import parse

MAIL = (
    b"Received: from a.test\r\n by b.test; now\r\nX-Spam-Status: No,\r\n\tscore=-2.6\r\nAuthentication-Results: b.test;\r\n spf=pass\r\n"
    b"From: Ann <ann@a.test>\r\nList-Unsubscribe: <https://a.test/u>\r\nX-MS-Exchange-Organization-SCL: 5\r\nSubject: Hi\r\n"
    b"DKIM-Signature: v=1; d=a.test\r\n\r\nX-Spam-Status: in the body\r\n"
)


def test_verdicts_and_list_fields_go_with_their_folds() -> None:
    assert ALL_LEAKS.strip(MAIL) == (
        b"Received: from a.test\r\n by b.test; now\r\nFrom: Ann <ann@a.test>\r\nSubject: Hi\r\n"
        b"DKIM-Signature: v=1; d=a.test\r\n\r\nX-Spam-Status: in the body\r\n"
    )


def test_what_to_keep_and_what_else_to_drop() -> None:
    fields = LeakyFields((*ALL_LEAKS.drop, "Received"), keep=("list-*",))
    kept = [header.name for header in parse(fields.strip(MAIL)).headers]
    assert kept == ["From", "List-Unsubscribe", "Subject", "DKIM-Signature"]
    assert LeakyFields(()).strip(MAIL) == MAIL


@pytest.mark.parametrize(
    "name",
    [
        "X-Spam-Flag", "x-spamd-result", "X-MS-Exchange-CrossTenant-Id", "X-Microsoft-Antispam", "X-Proofpoint-Spam-Details",
        "Received-SPF", "Authentication-Results-Original", "ARC-Authentication-Results", "List-Id", "X-Mailing-List",
        "X-Barracuda-Spam-Score", "X-BitDefenderWKS-Spam", "X-IronPort-AV", "X-Virus-Scanned", "X-Keywords", "X-Mozilla-Status2",
        "Status", "X-Folder", "Return-Path", "X-Forefront-Antispam-Report", "X-Greylist",
    ],
)  # fmt: skip
def test_what_tells(name: str) -> None:
    assert ALL_LEAKS.leaks(name)


@pytest.mark.parametrize(
    "name",
    [
        "From", "To", "Subject", "Received", "Message-ID", "DKIM-Signature", "ARC-Seal", "Reply-To", "X-Mailer", "X-AntiAbuse",
        "Feedback-ID", "X-SES-Outgoing", "Precedence", "Sender", "X-Priority", "X-Originating-IP", "Content-Type",
    ],
)  # fmt: skip
def test_what_every_mail_has_stays(name: str) -> None:
    assert not ALL_LEAKS.leaks(name)


@given(
    st.lists(
        st.sampled_from([b"X-Spam: 1", b" folded", b"A: b", b"no field", b"", b"\tx", b"List-Id: x", b":"]), max_size=9
    )
)
@settings(deadline=None)
def test_the_other_fields_and_the_body_stay_as_they_were(lines: list[bytes]) -> None:
    raw = b"\r\n".join(lines)
    before, after = parse(raw), parse(ALL_LEAKS.strip(raw))
    leaky = [header for header in before.headers if ALL_LEAKS.leaks(header.name)]
    assert [(header.name, header.value) for header in after.headers] == [
        (header.name, header.value) for header in before.headers if header not in leaky
    ]
    if not leaky:
        assert after.raw == raw
