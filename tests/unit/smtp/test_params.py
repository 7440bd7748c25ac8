"""Parameters of MAIL and RCPT."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.core.envelope import MailOptions, RcptOptions
from mailguard.core.reply import Reply
from mailguard.smtp import replies
from mailguard.smtp.params import mail_options, rcpt_options


def mail(parameters: str, *, esmtp: bool = True, size_limit: int = 1000, dsn: bool = True) -> MailOptions | Reply:
    return mail_options(parameters, esmtp=esmtp, size_limit=size_limit, dsn=dsn)


def rcpt(parameters: str, *, esmtp: bool = True, dsn: bool = True) -> RcptOptions | Reply:
    return rcpt_options(parameters, esmtp=esmtp, dsn=dsn)


@pytest.mark.parametrize(
    ("parameters", "options"),
    [
        ("", MailOptions()),
        ("SIZE=1000", MailOptions(size=1000)),
        ("size=0", MailOptions()),
        ("BODY=8BITMIME", MailOptions(eight_bit=True)),
        ("body=7bit", MailOptions()),
        ("SMTPUTF8", MailOptions(smtputf8=True)),
        ("RET=hdrs ENVID=a+2Bb", MailOptions(ret="HDRS", envid="a+2Bb")),
        ("  SIZE=5   smtputf8 BODY=8bitmime", MailOptions(size=5, smtputf8=True, eight_bit=True)),
    ],
)
def test_mail_options(parameters: str, options: MailOptions) -> None:
    assert mail(parameters) == options


@pytest.mark.parametrize(
    ("parameters", "options"),
    [
        ("", RcptOptions()),
        ("NOTIFY=NEVER", RcptOptions(notify=("NEVER",))),
        ("notify=success,delay", RcptOptions(notify=("SUCCESS", "DELAY"))),
        ("ORCPT=rfc822;u+2B@client.test", RcptOptions(orcpt="rfc822;u+2B@client.test")),
    ],
)
def test_rcpt_options(parameters: str, options: RcptOptions) -> None:
    assert rcpt(parameters) == options


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (mail("SIZE=1001"), 552),
        (mail("SIZE"), 501),
        (mail("SIZE=1 SIZE=1"), 501),
        (mail("SIZE=١"), 501),
        (mail("BODY=BINARYMIME"), 555),
        (mail("BODY="), 501),
        (mail("SMTPUTF8=1"), 501),
        (mail("RET="), 501),
        (mail("RET=FULL", dsn=False), 555),
        (mail("ENVID=a=b"), 501),
        (mail("NOTIFY=NEVER"), 555),
        (mail("SIZE=1", esmtp=False), 555),
        (rcpt("NOTIFY=SUCCESS,SUCCESS"), 501),
        (rcpt("NOTIFY=,"), 501),
        (rcpt("NOTIFY=NEVER", dsn=False), 555),
        (rcpt("ORCPT=;x"), 501),
        (rcpt("ORCPT=rfc822;a+zz"), 501),
        (rcpt(f"ORCPT=rfc822;{'x' * 500}"), 501),
        (rcpt("SIZE=1"), 555),
    ],
)
def test_refused_parameters(reply: Reply, code: int) -> None:
    assert isinstance(reply, Reply)
    assert reply.code == code
    assert reply.enhanced == ("5.3.4" if code == 552 else "5.5.4")


def test_size_over_the_limit_is_told_apart() -> None:
    assert mail("SIZE=1001") is replies.MESSAGE_TOO_LARGE


@given(st.text(max_size=80), st.booleans(), st.booleans())
def test_no_parameters_make_it_raise_or_answer_anything_but_5yz(text: str, esmtp: bool, dsn: bool) -> None:
    for result in (mail(text, esmtp=esmtp, dsn=dsn), rcpt(text, esmtp=esmtp, dsn=dsn)):
        if isinstance(result, Reply):
            assert result.permanent
            assert str(result).isascii()
