"""What-if: a replay decides exactly as the relay would, and names what of the draft makes the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from mailguard.core.decision import Action, Reason
from mailguard.core.envelope import Envelope, Recipient, Session
from mailguard.core.recorded import RecordedMail, RecordedUnit
from mailguard.core.tenant import Tenant
from mailguard.core.verdict import CheckResult, DmarcPolicy, Findings, Symbol
from mailguard.policy.decide import decide, settle
from mailguard.policy.file_rules import FileRule
from mailguard.policy.profile import IGNORE, Policy, SymbolRule, Threshold
from mailguard.policy.score import score
from mailguard.policy.whatif import KEYS, WhatIf, replay, unmet_symbols
from tests.unit.policy.building import NOW, allow, deny, findings

ACME = Tenant(2, "acme")
STRICTER = Policy(name="draft", thresholds=(Threshold(3.0, Action.QUARANTINE),))
SESSION = Session("s", "192.0.2.1")


def recorded(
    found: Findings,
    *,
    policy: Policy,
    recipients: Sequence[tuple[str, int]] = (("joe@acme.test", 2),),
    tenants: Sequence[Tenant] = (ACME, Tenant(3, "beta")),
    policies: dict[int, Policy] | None = None,
) -> RecordedMail:
    """A mail as the relay decides and records it."""
    to = tuple(
        Recipient(address, tenant, "acme.test", number=number) for number, (address, tenant) in enumerate(recipients, 1)
    )
    envelope = Envelope("01J8ZQ4W2M7T5RKX3F9C1B6NDE", "eve@evil.test", recipients=to)
    by_id = {tenant.id: tenant for tenant in tenants}
    decisions, scores = [], []
    for recipient in to:
        its = (policies or {}).get(recipient.tenant, policy)
        verdict = score(
            found, tenant=by_id[recipient.tenant], policy=its, envelope=envelope, session=SESSION, now_ms=NOW
        )
        scores.append(verdict.score)
        decisions.append(decide(verdict, its, recipient))
    units = tuple(
        RecordedUnit(
            f"{envelope.message_id}-{recipient.number}",
            recipient,
            one.action,
            one.reason,
            points,
            one.policy,
            one.policy_hash,
            one.explanation,
        )
        for recipient, one, points in zip(to, settle(decisions).decisions, scores, strict=True)
    )
    return RecordedMail(envelope, SESSION, NOW, found, units)


FINDINGS = st.builds(
    findings,
    symbols=st.lists(
        st.builds(Symbol, st.sampled_from(["A", "B", "CLAMAV_PUA"]), st.floats(-5, 20, allow_nan=False)), max_size=4
    ),
    malware=st.sampled_from([(), ("Eicar",)]),
    dmarc=st.sampled_from([None, *DmarcPolicy]),
    failed_checks=st.sampled_from([(), ("clamav",), ("spf",)]),
    attachments=st.sampled_from([(), ("a.exe",), ("a.pdf",)]),
)
ACTIONS = st.sampled_from([IGNORE, Action.TAG, Action.QUARANTINE, Action.REJECT])
POLICIES = st.builds(
    Policy,
    thresholds=st.tuples(
        st.builds(Threshold, st.floats(1, 5), st.just(Action.TAG)),
        st.builds(Threshold, st.floats(5, 15), st.sampled_from([Action.QUARANTINE, Action.REJECT])),
    ),
    malware=st.sampled_from([Action.QUARANTINE, Action.REJECT, Action.DISCARD]),
    dmarc=st.fixed_dictionaries(dict.fromkeys(DmarcPolicy, ACTIONS)),
    forbidden_attachment=ACTIONS,
    failed_checks=st.fixed_dictionaries({"clamav": st.sampled_from([Action.DEFER, Action.HOLD, IGNORE])}),
    symbols=st.dictionaries(st.sampled_from(["A", "B"]), st.builds(SymbolRule, st.none() | st.floats(0, 9), ACTIONS)),
)
RECIPIENTS = st.lists(
    st.sampled_from([("joe@acme.test", 2), ("abuse@acme.test", 2), ("ann@beta.test", 3)]), min_size=1, max_size=3
)


@given(FINDINGS, POLICIES, POLICIES, POLICIES, RECIPIENTS)
def test_a_replay_decides_as_the_relay_would(
    found: Findings, then: Policy, draft: Policy, other: Policy, recipients: list[tuple[str, int]]
) -> None:
    """Whatever was found and whoever else gets the mail; another tenant's decision stands as it was made."""
    was = recorded(found, policy=then, recipients=recipients, policies={3: other})
    would = recorded(found, policy=draft, recipients=recipients, policies={3: other})
    expected = {unit.id: unit.action for unit in would.units if unit.recipient.tenant == 2}
    replayed = replay(was, tenant=ACME, draft=draft, current=then)
    assert {one.unit.id: one.draft.action for one in replayed} == expected
    for one in replayed:
        assert one.current.action is one.unit.action
        assert not one.changed_anyway
        if one.changed and len(was.units) == 1:
            assert one.causes


@given(FINDINGS, POLICIES, RECIPIENTS)
def test_the_profile_that_decided_changes_nothing(
    found: Findings, policy: Policy, recipients: list[tuple[str, int]]
) -> None:
    total = WhatIf()
    mail = recorded(found, policy=policy, recipients=recipients)
    assert total.add(mail, tenant=ACME, draft=policy, current=policy) == ()
    assert total.sentence() == "would change nothing"
    assert all(one.causes == () for one in replay(mail, tenant=ACME, draft=policy, current=policy))


def test_a_threshold_that_makes_the_difference_is_named() -> None:
    mail = recorded(findings(symbols=[Symbol("SPAMMY", 4.0)]), policy=Policy())
    (one,) = replay(mail, tenant=ACME, draft=STRICTER, current=Policy())
    assert (one.unit.action, one.draft.action) == (Action.DELIVER, Action.QUARANTINE)
    assert one.causes == ("thresholds: nothing → quarantine (score 4 ≥ quarantine at 3)",)


def test_points_and_conditions_that_make_the_difference_are_named() -> None:
    found = findings(symbols=[Symbol("SPAMMY", 9.0)], dmarc=DmarcPolicy.REJECT, attachments=["a.exe"])
    draft = Policy(
        dmarc=dict.fromkeys(DmarcPolicy, IGNORE),
        forbidden_attachment=Action.TAG,
        symbols={"SPAMMY": SymbolRule(score=1.0)},
    )
    (one,) = replay(recorded(found, policy=Policy()), tenant=ACME, draft=draft, current=Policy())
    assert (one.unit.action, one.draft.action) == (Action.QUARANTINE, Action.TAG)
    assert one.causes == (
        "symbols.SPAMMY.score: 9 → 1",
        "score 9 → 1",
        "attachments: quarantine → tag (forbidden attachment a.exe)",
        "dmarc: quarantine → nothing (DMARC failed, the author's domain asks for rejection)",
        "thresholds: quarantine → nothing (score 9 ≥ quarantine at 8)",
    )


def test_mail_that_a_rule_held_is_replayed_as_decided_after_its_time() -> None:
    """Else a replay would hold all of it once more."""
    hold = FileRule("new", Action.HOLD, extensions=frozenset({"docm"}))
    policy = Policy(file_rules=(hold,))
    mail = recorded(findings(attachments=["a.docm"]), policy=policy)
    assert mail.units[0].action is Action.HOLD
    decided = replace(mail.units[0], action=Action.DELIVER, held_over=True)
    (one,) = replay(replace(mail, units=(decided,)), tenant=ACME, draft=policy, current=policy)
    assert not one.changed
    draft = replace(policy, file_rules=(replace(hold, then=Action.TAG),))
    (one,) = replay(replace(mail, units=(decided,)), tenant=ACME, draft=draft, current=policy)
    assert one.draft.action is Action.TAG
    assert one.causes == ("attachments: nothing → tag (attachment a.docm by rule new)",)


def test_what_was_seen_with_the_tenants_eyes_is_replayed() -> None:
    mail = recorded(findings(), policy=Policy(), recipients=[("joe@acme.test", 2), ("ann@acme.test", 2)])
    stranger = CheckResult("history", symbols=(Symbol("FIRST_CONTACT", 4.0),))
    mail = replace(mail, units=(replace(mail.units[0], found=(stranger,)), mail.units[1]))
    total = WhatIf()
    (changed,) = total.add(mail, tenant=ACME, draft=STRICTER, current=Policy())
    assert (changed.unit.id, changed.draft.action) == (mail.units[0].id, Action.QUARANTINE)
    assert changed.causes == ("thresholds: nothing → quarantine (score 4 ≥ quarantine at 3)",)
    assert (total.mails, total.symbols, total.checks["history"]) == (2, {"FIRST_CONTACT"}, 1)


def test_a_profiles_own_list_that_makes_the_difference_is_named() -> None:
    mail = recorded(findings(), policy=Policy())
    draft = Policy(lists=(deny("evil.test"),))
    (one,) = replay(mail, tenant=ACME, draft=draft, current=Policy())
    assert one.causes == (
        "deny_list: nothing → reject (deny list entry evil.test)",
        "lists: none → deny evil.test",
    )


def test_what_changed_since_is_not_put_down_to_the_draft() -> None:
    found = findings(symbols=[Symbol("SPAMMY", 4.0)])
    mail = recorded(found, policy=Policy())
    (one,) = replay(mail, tenant=replace(ACME, lists=(deny("evil.test"),)), draft=Policy(), current=Policy())
    assert (one.changed, one.changed_anyway, one.causes) == (True, True, ())
    expired = replace(ACME, lists=(deny("evil.test", expires_at=NOW), allow("192.0.2.1", expires_at=NOW + 1)))
    (one,) = replay(mail, tenant=expired, draft=Policy(), current=Policy())
    assert not one.changed


def test_the_sum_tells_what_would_be_otherwise() -> None:
    total = WhatIf()
    draft = Policy(name="draft", thresholds=(Threshold(3.0, Action.QUARANTINE), Threshold(9.0, Action.REJECT)))
    for points in (1.0, 4.0, 4.5, 6.0, 8.5, 10.0):
        found = findings(symbols=[Symbol("SPAMMY", points)])
        total.add(recorded(found, policy=Policy()), tenant=ACME, draft=draft, current=Policy())
    found = findings(dmarc=DmarcPolicy.REJECT)
    mild = replace(draft, dmarc=dict.fromkeys(DmarcPolicy, IGNORE))
    total.add(recorded(found, policy=Policy()), tenant=ACME, draft=mild, current=Policy())
    assert total.sentence() == "would quarantine 3 more, release 1, reject 1 more"
    assert total.transitions == {
        (Action.DELIVER, Action.QUARANTINE): 2,
        (Action.TAG, Action.QUARANTINE): 1,
        (Action.QUARANTINE, Action.REJECT): 1,
        (Action.QUARANTINE, Action.DELIVER): 1,
    }
    assert (total.mails, total.messages, total.policies) == (7, 7, {("default", Policy().hash): 7})
    assert total.symbols == {"SPAMMY"}


def test_what_cannot_be_replayed_is_counted() -> None:
    mail = recorded(findings(), policy=Policy(), recipients=[("joe@acme.test", 2), ("ann@acme.test", 2)])
    total = WhatIf()
    assert total.add(replace(mail, erased=True), tenant=ACME, draft=STRICTER, current=Policy()) == ()
    looping = replace(mail.units[0], reason=Reason.MAIL_LOOP, action=Action.REJECT)
    assert total.add(replace(mail, units=(looping,)), tenant=ACME, draft=STRICTER, current=Policy()) == ()
    assert (total.erased, total.not_decided, total.mails, total.messages) == (2, 1, 0, 0)
    draft = Policy(symbols={"NEW": SymbolRule(score=1.0), "SEEN": SymbolRule(score=1.0)})
    assert unmet_symbols(draft, Policy(), {"SEEN"}) == ("NEW",)


def test_every_condition_has_its_key_in_a_profile() -> None:
    from mailguard.policy.conditions import CONDITIONS

    assert KEYS.keys() == {condition.reason for condition in CONDITIONS}
