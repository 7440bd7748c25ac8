"""The table of conditions: each row alone, rows together, the exemptions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.core.address import is_special
from mailguard.core.decision import Action, Decision, Reason
from mailguard.core.tenant import SYSTEM_TENANT
from mailguard.core.verdict import DmarcPolicy, Ground, ListMatch, RuledFile, ScoredSymbol, Verdict
from mailguard.policy.conditions import CONDITIONS, STRICTNESS
from mailguard.policy.decide import decide
from mailguard.policy.profile import IGNORE, Policy, SymbolRule, Threshold
from tests.unit.policy.building import to

CLEAN = Verdict(tenant=2)
ENCRYPTED = (ScoredSymbol("CLAMAV_ENCRYPTED", 0.0),)
PUA = (ScoredSymbol("CLAMAV_PUA", 0.0),)
CLOSED = RuledFile("a.zip", Ground.UNINSPECTABLE, "ARCHIVE_ENCRYPTED", None, "a.zip", "00")


def by_rule(name: str, action: Action, sha256: str = "00") -> RuledFile:
    """A file for which a rule asks for `action`."""
    return RuledFile(name, Ground.RULE, "macros", action, name, sha256)


RULED = Policy(symbols={"CLAMAV_ENCRYPTED": SymbolRule(action=Action.QUARANTINE)})

# The default profile, what was found → action, reason, explanation.
DEFAULT_CASES: list[tuple[dict[str, Any], Action, Reason, str]] = [
    ({}, Action.DELIVER, Reason.CLEAN, "score 0"),
    ({"score": 4.9}, Action.DELIVER, Reason.CLEAN, "score 4.9"),
    ({"score": -3.0}, Action.DELIVER, Reason.CLEAN, "score -3"),
    ({"score": 5.0}, Action.TAG, Reason.SPAM_SCORE, "score 5 ≥ tag at 5"),
    ({"score": 8.2}, Action.QUARANTINE, Reason.SPAM_SCORE, "score 8.2 ≥ quarantine at 8"),
    ({"score": 15.0}, Action.REJECT, Reason.SPAM_SCORE, "score 15 ≥ reject at 15"),
    ({"malware": ("Eicar",)}, Action.QUARANTINE, Reason.MALWARE, "malware Eicar"),
    ({"dmarc_failed": DmarcPolicy.NONE}, Action.DELIVER, Reason.CLEAN, "score 0"),
    (
        {"dmarc_failed": DmarcPolicy.QUARANTINE},
        Action.QUARANTINE,
        Reason.DMARC_FAIL,
        "DMARC failed, the author's domain asks for quarantine",
    ),
    (
        {"dmarc_failed": DmarcPolicy.REJECT},
        Action.QUARANTINE,
        Reason.DMARC_FAIL,
        "DMARC failed, the author's domain asks for rejection",
    ),
    (
        {"forbidden_attachments": ("a.exe", "b.js")},
        Action.QUARANTINE,
        Reason.FORBIDDEN_ATTACHMENT,
        "forbidden attachment a.exe, b.js",
    ),
    ({"failed_checks": ("clamav",)}, Action.DEFER, Reason.SCANNER_FAILED, "check clamav failed"),
    ({"failed_checks": ("spf", "clamav")}, Action.DEFER, Reason.SCANNER_FAILED, "check clamav failed"),
    ({"failed_checks": ("spf", "dkim")}, Action.DELIVER, Reason.CLEAN, "score 0"),
    ({"symbols": PUA}, Action.TAG, Reason.SYMBOL_RULE, "symbol CLAMAV_PUA"),
    (
        {"ruled_files": (CLOSED,)},
        Action.TAG,
        Reason.UNINSPECTABLE_ATTACHMENT,
        "attachment a.zip cannot be looked into (ARCHIVE_ENCRYPTED)",
    ),
    (
        {"ruled_files": (replace(CLOSED, name="", sha256=""),)},
        Action.TAG,
        Reason.UNINSPECTABLE_ATTACHMENT,
        "attachment cannot be looked into (ARCHIVE_ENCRYPTED)",
    ),
    (
        {"ruled_files": (by_rule("a.docm", Action.QUARANTINE), by_rule("b.docm", Action.QUARANTINE))},
        Action.QUARANTINE,
        Reason.FORBIDDEN_ATTACHMENT,
        "attachment a.docm, b.docm by rule macros",
    ),
    (
        {"list_match": ListMatch.DENY, "list_entry": "b.example"},
        Action.REJECT,
        Reason.DENY_LIST,
        "deny list entry b.example",
    ),
    ({"list_match": ListMatch.ALLOW, "list_entry": "b.example"}, Action.DELIVER, Reason.CLEAN, "score 0"),
]


@pytest.mark.parametrize(("found", "action", "reason", "why"), DEFAULT_CASES)
def test_each_condition_alone(found: dict[str, Any], action: Action, reason: Reason, why: str) -> None:
    decision = decide(replace(CLEAN, **found), Policy(), to(number=3))
    assert (decision.action, decision.reason, decision.explanation) == (action, reason, why)
    assert (decision.recipient, decision.policy, decision.policy_hash) == (3, "default", Policy().hash)


# What was found together → what wins.
TOGETHER: list[tuple[dict[str, Any], Action, Reason]] = [
    # Malware decides alone: one place to look for it, whatever else there is.
    ({"malware": ("E",), "score": 99.0}, Action.QUARANTINE, Reason.MALWARE),
    ({"malware": ("E",), "failed_checks": ("clamav",)}, Action.QUARANTINE, Reason.MALWARE),
    ({"malware": ("E",), "list_match": ListMatch.ALLOW}, Action.QUARANTINE, Reason.MALWARE),
    ({"malware": ("E",), "list_match": ListMatch.DENY}, Action.QUARANTINE, Reason.MALWARE),
    # Else the strictest: failing DMARC does not save spam from rejection.
    ({"dmarc_failed": DmarcPolicy.REJECT, "score": 20.0}, Action.REJECT, Reason.SPAM_SCORE),
    ({"dmarc_failed": DmarcPolicy.REJECT, "score": 6.0}, Action.QUARANTINE, Reason.DMARC_FAIL),
    ({"forbidden_attachments": ("a.exe",), "list_match": ListMatch.DENY}, Action.REJECT, Reason.DENY_LIST),
    # Among equals the first of the table names the reason.
    ({"dmarc_failed": DmarcPolicy.REJECT, "score": 9.0}, Action.QUARANTINE, Reason.DMARC_FAIL),
    ({"forbidden_attachments": ("a.exe",), "score": 9.0}, Action.QUARANTINE, Reason.FORBIDDEN_ATTACHMENT),
    # What is refused anyway needs no scanner; what would lie in quarantine does.
    ({"failed_checks": ("clamav",), "score": 20.0}, Action.REJECT, Reason.SPAM_SCORE),
    ({"failed_checks": ("clamav",), "list_match": ListMatch.DENY}, Action.REJECT, Reason.DENY_LIST),
    ({"failed_checks": ("clamav",), "score": 9.0}, Action.DEFER, Reason.SCANNER_FAILED),
    ({"failed_checks": ("clamav",), "score": 6.0}, Action.DEFER, Reason.SCANNER_FAILED),
    ({"failed_checks": ("clamav",), "list_match": ListMatch.ALLOW}, Action.DEFER, Reason.SCANNER_FAILED),
    # The allow list excuses the score alone, and DMARC when the entry vouches for the author.
    ({"list_match": ListMatch.ALLOW, "score": 99.0}, Action.DELIVER, Reason.ALLOW_LIST),
    ({"list_match": ListMatch.ALLOW, "dmarc_failed": DmarcPolicy.REJECT}, Action.QUARANTINE, Reason.DMARC_FAIL),
    (
        {"list_match": ListMatch.ALLOW, "dmarc_failed": DmarcPolicy.REJECT, "author_vouched": True},
        Action.DELIVER,
        Reason.ALLOW_LIST,
    ),
    (
        {"list_match": ListMatch.ALLOW, "forbidden_attachments": ("a.exe",)},
        Action.QUARANTINE,
        Reason.FORBIDDEN_ATTACHMENT,
    ),
    ({"list_match": ListMatch.ALLOW, "symbols": PUA, "score": 99.0}, Action.TAG, Reason.SYMBOL_RULE),
    ({"list_match": ListMatch.ALLOW, "ruled_files": (CLOSED,)}, Action.TAG, Reason.UNINSPECTABLE_ATTACHMENT),
    # Over the files the strictest counts; a file that would be stripped lies in what is kept then.
    (
        {"ruled_files": (by_rule("a", Action.STRIP), by_rule("b", Action.REJECT))},
        Action.REJECT,
        Reason.FORBIDDEN_ATTACHMENT,
    ),
    ({"ruled_files": (by_rule("a", Action.STRIP),), "score": 9.0}, Action.QUARANTINE, Reason.SPAM_SCORE),
    ({"ruled_files": (by_rule("a", Action.STRIP),), "score": 6.0}, Action.STRIP, Reason.FORBIDDEN_ATTACHMENT),
    ({"ruled_files": (by_rule("a", Action.HOLD),), "score": 9.0}, Action.HOLD, Reason.FORBIDDEN_ATTACHMENT),
    ({"ruled_files": (by_rule("a", Action.HOLD),), "malware": ("E",)}, Action.QUARANTINE, Reason.MALWARE),
    # What nobody can tell from the rest of the mail cannot be stripped.
    ({"ruled_files": (by_rule("a", Action.STRIP, ""),)}, Action.QUARANTINE, Reason.FORBIDDEN_ATTACHMENT),
]


@pytest.mark.parametrize(("found", "action", "reason"), TOGETHER)
def test_conditions_together(found: dict[str, Any], action: Action, reason: Reason) -> None:
    decision = decide(replace(CLEAN, **found), Policy(), to())
    assert (decision.action, decision.reason) == (action, reason)


def test_the_explanation_names_what_else_was_asked_for() -> None:
    verdict = replace(CLEAN, dmarc_failed=DmarcPolicy.REJECT, score=20.0)
    assert decide(verdict, Policy(), to()).explanation == (
        "score 20 ≥ reject at 15; also DMARC failed, the author's domain asks for rejection"
    )


def test_the_explanation_names_what_the_allow_list_excused() -> None:
    verdict = replace(CLEAN, list_match=ListMatch.ALLOW, list_entry="b.example", score=20.0)
    assert decide(verdict, Policy(), to()).explanation == "allow list entry b.example excuses: score 20 ≥ reject at 15"


HOLDS: dict[Reason, dict[str, Any]] = {
    Reason.MALWARE: {"malware": ("E",)},
    Reason.SCANNER_FAILED: {"failed_checks": ("clamav",)},
    Reason.DENY_LIST: {"list_match": ListMatch.DENY},
    Reason.FORBIDDEN_ATTACHMENT: {"forbidden_attachments": ("a.exe",)},
    Reason.UNINSPECTABLE_ATTACHMENT: {"ruled_files": (CLOSED,)},
    Reason.SYMBOL_RULE: {"symbols": ENCRYPTED},
    Reason.DMARC_FAIL: {"dmarc_failed": DmarcPolicy.REJECT},
    Reason.SPAM_SCORE: {"score": 20.0},
}
"""A finding that makes each condition of the table hold."""


def asking(reason: Reason, action: Action) -> Policy:
    """A profile that asks for `action` when the condition holds."""
    changes: dict[Reason, dict[str, Any]] = {
        Reason.MALWARE: {"malware": action},
        Reason.SCANNER_FAILED: {"failed_checks": {"clamav": action}},
        Reason.DENY_LIST: {"deny_list": action},
        Reason.FORBIDDEN_ATTACHMENT: {"forbidden_attachment": action},
        Reason.UNINSPECTABLE_ATTACHMENT: {"uninspectable": action},
        Reason.SYMBOL_RULE: {"symbols": {"CLAMAV_ENCRYPTED": SymbolRule(action=action)}},
        Reason.DMARC_FAIL: {"dmarc": dict.fromkeys(DmarcPolicy, action)},
        Reason.SPAM_SCORE: {"thresholds": (Threshold(10, action),)},
    }
    return Policy(**changes[reason])


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: condition.reason)
@pytest.mark.parametrize("action", [action for action in Action if action is not Action.STRIP])
def test_a_profile_decides_each_row_of_the_table(condition: Any, action: Action) -> None:
    decision = decide(replace(CLEAN, **HOLDS[condition.reason]), asking(condition.reason, action), to())
    assert decision.action is action
    assert decision.reason is (Reason.CLEAN if action is IGNORE else condition.reason)


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: condition.reason)
@pytest.mark.parametrize(
    "address", ["postmaster@client.test", "Abuse@client.test", '"abuse"@client.test', "postmaster"]
)
def test_postmaster_and_abuse_pass_what_is_about_spam(condition: Any, address: str) -> None:
    decision = decide(replace(CLEAN, **HOLDS[condition.reason]), asking(condition.reason, Action.REJECT), to(address))
    about_spam = condition.reason in {
        Reason.DENY_LIST,
        Reason.UNINSPECTABLE_ATTACHMENT,
        Reason.SYMBOL_RULE,
        Reason.DMARC_FAIL,
        Reason.SPAM_SCORE,
    }
    assert decision.action is (Action.TAG if about_spam else Action.REJECT)
    assert decision.reason is condition.reason


def test_provider_hears_of_spam_whatever_its_postmaster_is_called() -> None:
    ours = replace(to("ops@provider.test"), tenant=SYSTEM_TENANT)
    assert decide(replace(CLEAN, score=20.0), Policy(), ours).action is Action.TAG


def test_malware_for_postmaster_is_quarantined() -> None:
    decision = decide(replace(CLEAN, malware=("E",), score=20.0), Policy(), to("postmaster@client.test"))
    assert decision.action is Action.QUARANTINE


@pytest.mark.parametrize("address", ["postmaster2@client.test", "user@postmaster.test", "abuse.desk@client.test", ""])
def test_only_the_two_names_are_special(address: str) -> None:
    assert not is_special(address)


def test_the_subject_tag_goes_with_the_tag_alone() -> None:
    policy = Policy(subject_tag="[SPAM]")
    assert decide(replace(CLEAN, score=6.0), policy, to()).subject_tag == "[SPAM]"
    assert decide(CLEAN, policy, to()).subject_tag == ""
    assert decide(replace(CLEAN, score=9.0), policy, to()).subject_tag == ""


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: condition.reason)
def test_every_refusal_has_a_text_of_its_own_code(condition: Any) -> None:
    decision = decide(replace(CLEAN, **HOLDS[condition.reason]), asking(condition.reason, Action.REJECT), to())
    assert decision.reply.code == 550
    assert decision.reply.enhanced == "5.7.1"
    assert decision.reply.text


def test_deferral_is_told_as_our_own_trouble() -> None:
    reply = decide(replace(CLEAN, failed_checks=("clamav",)), Policy(), to()).reply
    assert (reply.code, reply.enhanced) == (451, "4.3.0")


def test_a_symbol_rule_may_take_an_inherited_action_back() -> None:
    policy = Policy(symbols={"CLAMAV_ENCRYPTED": SymbolRule(action=IGNORE)})
    assert decide(replace(CLEAN, symbols=ENCRYPTED), policy, to()).action is Action.DELIVER


def test_a_mail_is_stripped_of_each_attachment_once() -> None:
    files = (
        by_rule("a.docm", Action.STRIP, "01"),
        RuledFile("b.zip/c.exe", Ground.LIST, "", None, "b.zip", "02"),
        RuledFile("b.zip/d.exe", Ground.LIST, "", None, "b.zip", "02"),
        by_rule("e.docm", Action.TAG, "03"),
    )
    policy = Policy(forbidden_attachment=Action.STRIP, subject_tag="[X]")
    verdict = replace(CLEAN, ruled_files=files, forbidden_attachments=("b.zip/c.exe", "b.zip/d.exe"))
    decision = decide(verdict, policy, to())
    assert decision.action is Action.STRIP
    assert [(one.name, one.sha256) for one in decision.strip] == [("a.docm", "01"), ("b.zip", "02")]
    assert decision.strip[1].because == "b.zip/c.exe: files of this kind are not let in"
    assert decision.subject_tag == ""
    assert decide(replace(verdict, score=6.0), policy, to()).subject_tag == "[X]"


def test_a_rules_hold_has_an_end() -> None:
    decision = decide(replace(CLEAN, ruled_files=(by_rule("a", Action.HOLD),)), Policy(hold_for=5_000), to())
    assert (decision.action, decision.hold_for) == (Action.HOLD, 5_000)
    failed = replace(CLEAN, ruled_files=(by_rule("a", Action.HOLD),), failed_checks=("clamav",))
    decision = decide(failed, Policy(failed_checks={"clamav": Action.HOLD}, hold_for=5_000), to())
    assert (decision.reason, decision.hold_for) == (Reason.SCANNER_FAILED, 0)


actions = st.sampled_from(Action)
policies = st.builds(
    Policy,
    thresholds=st.lists(st.builds(Threshold, st.floats(-20, 20), actions), max_size=3).map(tuple),
    malware=actions,
    dmarc=st.fixed_dictionaries(dict.fromkeys(DmarcPolicy, actions)),
    forbidden_attachment=actions,
    uninspectable=actions,
    failed_checks=st.dictionaries(st.sampled_from(["clamav", "spf"]), actions),
    failed_check=actions,
    deny_list=actions,
    symbols=st.dictionaries(
        st.sampled_from(["CLAMAV_ENCRYPTED", "X"]), st.builds(SymbolRule, st.none(), st.none() | actions)
    ),
)
verdicts = st.builds(
    Verdict,
    tenant=st.just(2),
    score=st.floats(-30, 30),
    symbols=st.sampled_from([(), ENCRYPTED, (*ENCRYPTED, ScoredSymbol("X", 1.0))]),
    malware=st.sampled_from([(), (), ("E",)]),
    dmarc_failed=st.none() | st.sampled_from(DmarcPolicy),
    failed_checks=st.sampled_from([(), ("spf",), ("clamav", "spf")]),
    forbidden_attachments=st.sampled_from([(), ("a.exe",)]),
    ruled_files=st.sampled_from([(), (CLOSED,), (by_rule("a", Action.STRIP),), (by_rule("a", Action.HOLD),)]),
    list_match=st.sampled_from(ListMatch),
    author_vouched=st.booleans(),
)
recipients = st.sampled_from([to(), to("postmaster@client.test")])


@given(verdicts, policies, recipients)
def test_every_verdict_under_every_profile_gives_a_decision(verdict: Verdict, policy: Policy, recipient: Any) -> None:
    decision = decide(verdict, policy, recipient)
    assert isinstance(decision, Decision)
    assert decision.explanation
    assert decision.reply.positive is decision.action.accepts
    if verdict.malware and policy.malware is not IGNORE:
        assert decision.action is policy.malware


@given(
    verdicts,
    policies,
    st.sampled_from(
        [
            {"failed_checks": ("clamav", "spf")},
            {"forbidden_attachments": ("a.exe",)},
            {"symbols": (*ENCRYPTED, ScoredSymbol("X", 1.0))},
        ]
    ),
)
def test_one_more_bad_sign_never_makes_the_outcome_milder(
    verdict: Verdict, policy: Policy, worse: dict[str, Any]
) -> None:
    before = decide(verdict, policy, to())
    after = decide(replace(verdict, **worse), policy, to())
    assert STRICTNESS[after.action] >= STRICTNESS[before.action]
