"""What a server's answers to call-aheads mean."""

from __future__ import annotations

import pytest

from mailguard.core.reply import Reply
from mailguard.delivery.call_ahead import meaning
from mailguard.net.smtp_values import Answer, Stage
from mailguard.store.verifications import Said

MEANINGS = [
    (Stage.RCPT, Reply(250), Said.KNOWN),
    (Stage.RCPT, Reply(251, "2.1.5"), Said.KNOWN),
    (Stage.RCPT, Reply(550, "5.1.1"), Said.UNKNOWN),
    (Stage.RCPT, Reply(550, "5.1.10"), Said.UNKNOWN),
    (Stage.RCPT, Reply(550, "5.0.0"), Said.UNKNOWN),
    (Stage.RCPT, Reply(550), Said.UNKNOWN),
    (Stage.RCPT, Reply(551), Said.UNKNOWN),
    (Stage.RCPT, Reply(553), Said.UNKNOWN),
    (Stage.RCPT, Reply(554, "5.1.1"), Said.UNKNOWN),
    (Stage.RCPT, Reply(550, "5.2.1"), Said.UNKNOWN),
    (Stage.RCPT, Reply(550, "5.4.1"), Said.UNKNOWN),
    (Stage.RCPT, Reply(552, "5.2.2"), Said.UNCLEAR),
    (Stage.RCPT, Reply(552), Said.UNCLEAR),
    (Stage.RCPT, Reply(554), Said.UNCLEAR),
    (Stage.RCPT, Reply(550, "5.7.1"), Said.UNCLEAR),
    (Stage.RCPT, Reply(550, "5.1.8"), Said.UNCLEAR),
    (Stage.RCPT, Reply(530, "5.7.0"), Said.UNCLEAR),
    (Stage.MAIL, Reply(550, "5.7.1"), Said.UNCLEAR),
    (Stage.RCPT, Reply(450, "4.2.0"), None),
    (Stage.RCPT, Reply(421, "4.3.2"), None),
    (Stage.MAIL, Reply(451), None),
    (Stage.RCPT, None, None),
    (Stage.CONNECT, None, None),
    (Stage.ROUTE, None, None),
    (Stage.BANNER, Reply(554, "5.7.1"), None),
    (Stage.EHLO, Reply(550), None),
    (Stage.STARTTLS, Reply(454), None),
    (Stage.AUTH, Reply(535, "5.7.8"), None),
]


@pytest.mark.parametrize(("stage", "reply", "said"), MEANINGS, ids=[f"{s} {r}" for s, r, _ in MEANINGS])
def test_what_an_answer_means(stage: Stage, reply: Reply | None, said: Said | None) -> None:
    assert meaning(Answer(stage, reply)) is said


def test_what_a_server_lacks_says_nothing_of_the_address() -> None:
    assert meaning(Answer(Stage.MAIL, Reply(550, "5.6.7"), local=True)) is Said.UNCLEAR
