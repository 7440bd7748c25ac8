"""The table of first attempts, row by row, and what a server's answer means at each stage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.core.decision import Reason
from mailguard.core.reply import Reply
from mailguard.delivery.outcome import (
    FirstMove,
    Outcome,
    OutcomeKind,
    Stage,
    classify,
    merge_outcomes,
    passed_through,
)
from mailguard.net.smtp_values import Answer

DELIVERED, TEMPORARY, PERMANENT, UNKNOWN = OutcomeKind
BEFORE_RCPT = (Stage.ROUTE, Stage.CONNECT, Stage.BANNER, Stage.EHLO, Stage.STARTTLS, Stage.AUTH, Stage.MAIL)
FROM_RCPT = (Stage.RCPT, Stage.DATA, Stage.CONTENT)


def reply(text: str) -> Reply:
    code, _, rest = text.partition(" ")
    enhanced, _, words = rest.partition(" ")
    return Reply(int(code), enhanced, words) if enhanced[:2] in ("2.", "4.", "5.") else Reply(int(code), "", rest)


def outcome(
    number: int = 1,
    kind: OutcomeKind = DELIVERED,
    *,
    tenant: int = 2,
    said: str = "",
    stage: Stage = Stage.CONTENT,
    local: bool = False,
) -> Outcome:
    default = {DELIVERED: "250 2.0.0 Ok", TEMPORARY: "451 4.3.0 Later", PERMANENT: "550 5.1.1 Nobody", UNKNOWN: ""}
    said = said or default[kind]
    return Outcome(number, tenant, kind, stage, reply(said) if said else None, local=local)


# what an answer means


@pytest.mark.parametrize("stage", Stage)
def test_no_answer_is_temporary(stage: Stage) -> None:
    assert classify(Answer(stage, None, "connection lost")) is TEMPORARY


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("code", [400, 421, 450, 451, 452, 454, 499])
def test_4yz_is_temporary_everywhere(stage: Stage, code: int) -> None:
    assert classify(Answer(stage, Reply(code))) is TEMPORARY


@pytest.mark.parametrize("stage", BEFORE_RCPT)
@pytest.mark.parametrize("code", [500, 501, 521, 530, 535, 550, 553, 554])
def test_5yz_before_rcpt_is_about_us(stage: Stage, code: int) -> None:
    answer = Answer(stage, Reply(code, "5.7.1", "Blocked"))
    assert classify(answer) is TEMPORARY
    assert Outcome(1, 2, classify(answer), stage, answer.reply).refuses_us


@pytest.mark.parametrize("stage", FROM_RCPT)
@pytest.mark.parametrize("code", [500, 501, 550, 551, 553, 554, 556])
def test_5yz_from_rcpt_on_is_about_the_mail(stage: Stage, code: int) -> None:
    answer = Answer(stage, Reply(code, "5.7.1", "No"))
    assert classify(answer) is PERMANENT
    assert not Outcome(1, 2, classify(answer), stage, answer.reply).refuses_us


@pytest.mark.parametrize("stage", FROM_RCPT)
@pytest.mark.parametrize("code", [530, 535])
def test_missing_credentials_are_about_us_at_any_stage(stage: Stage, code: int) -> None:
    assert classify(Answer(stage, Reply(code))) is TEMPORARY


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(Stage.CONTENT, Reply(250)), DELIVERED),
        (Answer(Stage.CONTENT, Reply(200)), DELIVERED),
        (Answer(Stage.CONTENT, Reply(354)), TEMPORARY),
        (Answer(Stage.DATA, Reply(250)), TEMPORARY),
        (Answer(Stage.MAIL, Reply(354)), TEMPORARY),
        (Answer(Stage.RCPT, Reply(552)), TEMPORARY),
        (Answer(Stage.RCPT, Reply(552, "5.5.3")), TEMPORARY),
        (Answer(Stage.RCPT, Reply(552, "5.2.2", "Mailbox full")), PERMANENT),
        (Answer(Stage.CONTENT, Reply(552)), PERMANENT),
        (Answer(Stage.MAIL, Reply(552, "5.3.4", "Too big")), PERMANENT),
        (Answer(Stage.MAIL, Reply(550, "5.6.7", "No SMTPUTF8")), PERMANENT),
        (Answer(Stage.MAIL, Reply(554, "5.6.3"), local=True), PERMANENT),
    ],
)
def test_particular_answers(answer: Answer, kind: OutcomeKind) -> None:
    assert classify(answer) is kind


@pytest.mark.parametrize(
    ("stage", "code", "failed"),
    [
        (Stage.ROUTE, None, True),
        (Stage.CONNECT, None, True),
        (Stage.BANNER, 554, True),
        (Stage.EHLO, 450, True),
        (Stage.STARTTLS, None, True),
        (Stage.MAIL, None, True),
        (Stage.MAIL, 421, True),
        (Stage.MAIL, 450, False),
        (Stage.MAIL, 550, False),
        (Stage.RCPT, 450, False),
        (Stage.RCPT, 421, True),
        (Stage.RCPT, None, False),
        (Stage.CONTENT, None, False),
        (Stage.CONTENT, 451, False),
    ],
)
def test_whose_fault_it_is(stage: Stage, code: int | None, failed: bool) -> None:
    one = Outcome(1, 2, TEMPORARY, stage, Reply(code) if code else None)
    assert one.hop_failed is failed


def test_reasons() -> None:
    assert outcome().reason is Reason.NEXT_HOP_ACCEPTED
    assert outcome(kind=TEMPORARY).reason is Reason.NEXT_HOP_UNAVAILABLE
    assert outcome(kind=PERMANENT).reason is Reason.NEXT_HOP_REFUSED
    assert outcome(kind=PERMANENT, local=True).reason is Reason.UNSUPPORTED_BY_NEXT_HOP
    assert outcome(kind=UNKNOWN).reason is Reason.OUTCOME_UNKNOWN


# the table

D, S, A, P, F = (
    FirstMove.DELIVERED,
    FirstMove.SPOOL,
    FirstMove.AWAIT,
    FirstMove.PASS_THROUGH,
    FirstMove.FAILED,
)
OTHER = 3  # another tenant

TABLE = [
    # outcomes as (kind, tenant), moves, code
    pytest.param([(DELIVERED, 2)], [D], 250, id="2xx: delivered"),
    pytest.param([(TEMPORARY, 2)], [S], 250, id="no connection or 4xx: spooled"),
    pytest.param([(PERMANENT, 2)], [P], 550, id="5xx for the only recipient passes through"),
    pytest.param([(PERMANENT, 2), (PERMANENT, 2)], [P, P], 550, id="5xx for every recipient passes through"),
    pytest.param([(PERMANENT, 2), (DELIVERED, 2)], [F, D], 250, id="5xx for one, the other delivered: DSN rule"),
    pytest.param([(PERMANENT, 2), (TEMPORARY, 2)], [F, S], 250, id="5xx for one, the other spooled: DSN rule"),
    pytest.param([(PERMANENT, 2), (UNKNOWN, 2)], [F, A], 250, id="5xx for one, the other unknown: DSN rule"),
    pytest.param([(PERMANENT, 2), (PERMANENT, OTHER)], [F, F], 250, id="5xx for all of two tenants: DSN rule"),
    pytest.param([(PERMANENT, 2), (DELIVERED, OTHER)], [F, D], 250, id="5xx at one tenant never shows at another"),
    pytest.param([(UNKNOWN, 2)], [A], 250, id="silence after the final dot: awaited"),
    pytest.param([(DELIVERED, 2), (TEMPORARY, 2), (UNKNOWN, OTHER)], [D, S, A], 250, id="each its own way"),
]


@pytest.mark.parametrize(("given", "moves", "code"), TABLE)
def test_first_attempt(given: list[tuple[OutcomeKind, int]], moves: list[FirstMove], code: int) -> None:
    outcomes = [outcome(i + 1, kind, tenant=tenant) for i, (kind, tenant) in enumerate(given)]
    first = merge_outcomes(outcomes)
    assert [move.move for move in first.moves] == moves
    assert [move.recipient for move in first.moves] == [one.recipient for one in outcomes]
    assert first.reply.code == code


def test_recipients_that_were_kept_turn_a_refusal_into_the_dsn_rule() -> None:
    first = merge_outcomes([outcome(kind=PERMANENT)], elsewhere=1)
    assert (first.reply.code, first.moves[0].move) == (250, FirstMove.FAILED)


def test_nothing_to_forward_is_250() -> None:
    assert merge_outcomes([]).reply.code == 250


def test_soft_bounce_spools_what_is_refused() -> None:
    first = merge_outcomes([outcome(kind=PERMANENT)], soft_bounce={2})
    assert (first.reply.code, first.moves[0].move) == (250, FirstMove.SPOOL)


def test_soft_bounce_of_one_tenant_does_not_shield_another() -> None:
    first = merge_outcomes([outcome(1, PERMANENT), outcome(2, PERMANENT, tenant=OTHER)], soft_bounce={2})
    assert [move.move for move in first.moves] == [FirstMove.SPOOL, FirstMove.FAILED]


def test_soft_bounce_does_not_spool_what_the_next_hop_can_never_take() -> None:
    first = merge_outcomes([outcome(kind=PERMANENT, local=True)], soft_bounce={2})
    assert first.moves[0].move is FirstMove.PASS_THROUGH


def test_refusal_of_us_is_spooled_and_alerts() -> None:
    first = merge_outcomes([outcome(kind=TEMPORARY, said="554 5.7.1 Blocked", stage=Stage.BANNER)])
    assert (first.reply.code, first.moves[0].move, first.moves[0].alert) == (250, FirstMove.SPOOL, True)
    assert not merge_outcomes([outcome(kind=TEMPORARY)]).moves[0].alert


kinds = st.tuples(st.sampled_from(OutcomeKind), st.sampled_from([2, 3]))


@given(st.lists(kinds, max_size=6), st.integers(0, 2), st.sets(st.sampled_from([2, 3])))
def test_the_sender_hears_5xx_only_when_nothing_is_kept(
    given: list[tuple[OutcomeKind, int]], elsewhere: int, soft: set[int]
) -> None:
    outcomes = [outcome(i + 1, kind, tenant=tenant) for i, (kind, tenant) in enumerate(given)]
    first = merge_outcomes(outcomes, soft_bounce=soft, elsewhere=elsewhere)
    assert len(first.moves) == len(outcomes)
    assert first.reply.code == 250 or first.reply.permanent
    passes = [move.move is FirstMove.PASS_THROUGH for move in first.moves]
    assert first.reply.permanent == any(passes)
    assert any(passes) == (bool(passes) and all(passes))
    for one, move in zip(outcomes, first.moves, strict=True):
        assert (one.kind is DELIVERED) == (move.move is FirstMove.DELIVERED)
        assert (one.kind is UNKNOWN) == (move.move is FirstMove.AWAIT)
        assert move.move is FirstMove.SPOOL or one.kind is not TEMPORARY


# texts


@pytest.mark.parametrize(
    ("said", "passed"),
    [
        (Reply(550, "5.1.1", "No such user"), "550 5.1.1 No such user"),
        (Reply(554, "", "Spam"), "554 5.0.0 Spam"),
        (Reply(550, "5.7.1", ""), "550 5.7.1 Refused by the recipient's mail server"),
        (Reply(550, "5.7.1", "a\r\n250 b\0c"), "550 5.7.1 a 250 b c"),
    ],
)
def test_what_passes_through(said: Reply, passed: str) -> None:
    assert str(passed_through(Outcome(1, 2, PERMANENT, Stage.RCPT, said))) == passed


def test_facts_for_the_trace_hold_no_empty_ones() -> None:
    facts = outcome(kind=TEMPORARY, said="450 4.2.0 Greylisted", stage=Stage.RCPT).facts()
    assert facts == {"outcome": "temporary", "stage": "rcpt", "reply": "450 4.2.0 Greylisted", "seconds": 0.0}
