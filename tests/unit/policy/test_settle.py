"""One reply for many decisions: the table, row by row, and what must hold for any mix."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.core.decision import Action, Decision, Reason
from mailguard.policy.decide import settle
from tests.unit.policy.building import decided

DELIVER, TAG, QUARANTINE, HOLD = Action.DELIVER, Action.TAG, Action.QUARANTINE, Action.HOLD
REJECT, DEFER, DISCARD = Action.REJECT, Action.DEFER, Action.DISCARD

# decisions → carried out as, code
TABLE: list[tuple[tuple[Action, ...], tuple[Action, ...], int]] = [
    # all reject
    ((REJECT,), (REJECT,), 550),
    ((REJECT, REJECT), (REJECT, REJECT), 550),
    # all defer, or defer and reject only
    ((DEFER,), (DEFER,), 451),
    ((DEFER, DEFER), (DEFER, DEFER), 451),
    ((REJECT, DEFER), (DEFER, DEFER), 451),
    # some accept, some reject
    ((DELIVER, REJECT), (DELIVER, QUARANTINE), 250),
    ((REJECT, TAG), (QUARANTINE, TAG), 250),
    ((QUARANTINE, REJECT), (QUARANTINE, QUARANTINE), 250),
    ((DISCARD, REJECT), (DISCARD, QUARANTINE), 250),
    ((HOLD, REJECT), (HOLD, QUARANTINE), 250),
    # some accept, some defer
    ((DELIVER, DEFER), (DELIVER, HOLD), 250),
    ((DEFER, QUARANTINE), (HOLD, QUARANTINE), 250),
    # all three
    ((DELIVER, REJECT, DEFER), (DELIVER, QUARANTINE, HOLD), 250),
    # all accept
    ((DELIVER,), (DELIVER,), 250),
    ((DELIVER, TAG, QUARANTINE, HOLD, DISCARD), (DELIVER, TAG, QUARANTINE, HOLD, DISCARD), 250),
]


@pytest.mark.parametrize(("actions", "carried_out", "code"), TABLE)
def test_the_table(actions: tuple[Action, ...], carried_out: tuple[Action, ...], code: int) -> None:
    settlement = settle([decided(action, number=i) for i, action in enumerate(actions, 1)])
    assert tuple(decision.action for decision in settlement.decisions) == carried_out
    assert settlement.reply.code == code
    assert settlement.kept is (code == 250)


def test_the_rejected_one_is_quarantined_for_the_others_sake() -> None:
    settlement = settle([decided(DELIVER, Reason.CLEAN), decided(REJECT, Reason.DENY_LIST, number=2)])
    rejected = settlement.decisions[1]
    assert rejected.reason is Reason.REJECTED_FOR_OTHERS
    assert rejected.explanation == "because of deny_list; no rejection, since another recipient's mail was accepted"
    assert rejected.reply.code == 250


def test_the_deferred_one_is_held_for_the_others_sake() -> None:
    settlement = settle([decided(DELIVER, Reason.CLEAN), decided(DEFER, Reason.SCANNER_FAILED, number=2)])
    deferred = settlement.decisions[1]
    assert (deferred.action, deferred.reason) == (HOLD, Reason.DEFERRED_FOR_OTHERS)


def test_the_one_to_be_rejected_is_deferred_with_the_other() -> None:
    settlement = settle([decided(REJECT, Reason.SPAM_SCORE), decided(DEFER, Reason.SCANNER_FAILED, number=2)])
    assert [decision.reason for decision in settlement.decisions] == [
        Reason.DEFERRED_FOR_OTHERS,
        Reason.SCANNER_FAILED,
    ]
    assert {decision.reply for decision in settlement.decisions} == {settlement.reply}


@pytest.mark.parametrize(
    ("reasons", "gravest"),
    [
        ((Reason.SPAM_SCORE, Reason.MALWARE), Reason.MALWARE),
        ((Reason.SPAM_SCORE, Reason.DMARC_FAIL), Reason.DMARC_FAIL),
        ((Reason.DENY_LIST, Reason.FORBIDDEN_ATTACHMENT), Reason.DENY_LIST),
        ((Reason.LOCAL_ERROR, Reason.SPAM_SCORE), Reason.SPAM_SCORE),
    ],
)
def test_the_gravest_reason_is_told(reasons: tuple[Reason, ...], gravest: Reason) -> None:
    settlement = settle([decided(REJECT, reason, number=i) for i, reason in enumerate(reasons, 1)])
    assert settlement.reply == decided(REJECT, gravest).reply


def test_the_reply_tells_our_message_id() -> None:
    settlement = settle([decided(DELIVER)], message_id="01J0000000000000000000000A")
    assert str(settlement.reply) == "250 2.0.0 Ok: message accepted (01J0000000000000000000000A)"


def test_no_decisions_cannot_be_settled() -> None:
    with pytest.raises(ValueError, match="no decisions"):
        settle([])


@given(
    st.lists(st.tuples(st.sampled_from(Action), st.sampled_from(Reason)), min_size=1, max_size=20).map(
        lambda pairs: [decided(action, reason, number=i) for i, (action, reason) in enumerate(pairs, 1)]
    )
)
def test_what_holds_for_any_mix(decisions: list[Decision]) -> None:
    settlement = settle(decisions)
    # Every recipient is there once, in order.
    assert [decision.recipient for decision in settlement.decisions] == [d.recipient for d in decisions]
    # One class of reply fits all decisions: nobody is accepted under a refusal, nobody refused under a 250.
    assert {decision.action.accepts for decision in settlement.decisions} == {settlement.kept}
    assert {decision.reply.code for decision in settlement.decisions} == {settlement.reply.code}
    assert settlement.kept is (settlement.reply.code == 250)
    for before, after in zip(decisions, settlement.decisions, strict=True):
        # What was accepted stays exactly what it was, and a refusal never becomes delivery.
        assert after == before or not before.action.accepts
        if not before.action.accepts:
            assert after.action in {REJECT, DEFER, QUARANTINE, HOLD}
    # 5xx only when everybody rejects.
    assert settlement.reply.permanent is all(decision.action is REJECT for decision in decisions)
    # Settling what is settled changes nothing.
    assert settle(settlement.decisions).decisions == settlement.decisions
