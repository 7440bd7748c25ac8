"""From a Verdict to what happens to the mail for one recipient, and from all Decisions to the one reply. Pure.

Malware decides alone. Of the other conditions that hold, the strictest action wins, so that one more bad sign never makes
the outcome milder; among equals the first in the table of conditions gives the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from mailguard.core.address import is_special, local_part_of
from mailguard.core.decision import Action, Decision, Reason, Unwanted
from mailguard.core.envelope import Recipient
from mailguard.core.reply import LOCAL_ERROR, Reply
from mailguard.core.tenant import SYSTEM_TENANT
from mailguard.core.values import value
from mailguard.core.verdict import Ground, RuledFile, Verdict
from mailguard.policy.conditions import CONDITIONS, STRICTNESS, action_of, gravity
from mailguard.policy.profile import IGNORE, Policy

ACCEPTED = Reply(250, "2.0.0", "Ok: message accepted")
REJECTIONS: Mapping[Reason, Reply] = MappingProxyType(
    {
        # RFC 3463 §3.8: X.7.1, not authorised: refused by policy. The texts say enough for an honest sender to act on.
        Reason.MALWARE: Reply(550, "5.7.1", "Message refused because of its content"),
        Reason.DENY_LIST: Reply(550, "5.7.1", "Sender refused by the recipient's policy"),
        Reason.FORBIDDEN_ATTACHMENT: Reply(550, "5.7.1", "Message refused: type of attachment not allowed"),
        Reason.UNINSPECTABLE_ATTACHMENT: Reply(550, "5.7.1", "Message refused: an attachment cannot be looked into"),
        Reason.SYMBOL_RULE: Reply(550, "5.7.1", "Message refused because of its content"),
        Reason.DMARC_FAIL: Reply(550, "5.7.1", "Message refused by the DMARC policy of the author's domain"),
        Reason.SPAM_SCORE: Reply(550, "5.7.1", "Message refused by the recipient's policy"),
    }
)
REFUSED = Reply(550, "5.7.1", "Message refused by policy")


def reply_for(action: Action, reason: Reason) -> Reply:
    """What the sender hears when a decision stands alone."""
    if action.accepts:
        return ACCEPTED
    return LOCAL_ERROR if action is Action.DEFER else REJECTIONS.get(reason, REFUSED)


def decide(verdict: Verdict, policy: Policy, recipient: Recipient) -> Decision:
    """What happens to the mail for `recipient`. Total: every verdict under every policy gives a decision."""
    decision = _decide(verdict, policy, recipient)
    if not verdict.dmarc_override:
        return decision
    return replace(decision, explanation=f"{decision.explanation}; DMARC failed, but {verdict.dmarc_override}")


def _decide(verdict: Verdict, policy: Policy, recipient: Recipient) -> Decision:
    asked: list[tuple[Action, Reason, str]] = []
    waived: list[str] = []
    # Whatever the provider's own address is called, it is where bare `postmaster` goes.
    special = recipient.tenant == SYSTEM_TENANT or is_special(recipient.address)
    for condition in CONDITIONS:
        opinion = condition.opinion(verdict, policy)
        if opinion is None or opinion[0] is IGNORE:
            continue
        action, why = opinion
        if condition.alone:
            return _decision(recipient, policy, action, condition.reason, why)
        if condition.waived(verdict):
            waived.append(why)
            continue
        if special and condition.spares_special and STRICTNESS[action] > STRICTNESS[Action.TAG]:
            action, why = Action.TAG, f"{why}, but {local_part_of(recipient.address)}@ is only tagged"
        asked.append((action, condition.reason, why))
    if not asked and waived:
        why = f"allow list entry {verdict.list_entry} excuses: {'; '.join(waived)}"
        return _decision(recipient, policy, Action.DELIVER, Reason.ALLOW_LIST, why)
    if not asked:
        return _decision(recipient, policy, Action.DELIVER, Reason.CLEAN, f"score {verdict.score:g}")
    strictest = max(asked, key=lambda ask: STRICTNESS[ask[0]])
    action, reason, why = strictest
    also = "; ".join(ask[2] for ask in asked if ask is not strictest)
    why = f"{why}; also {also}" if also else why
    if action is Action.STRIP:
        return _stripped(_decision(recipient, policy, action, reason, why), verdict, policy, asked)
    decision = _decision(recipient, policy, action, reason, why)
    # A failed scanner is asked again sooner, but the rule's time is not cut short by that: decided anew, it holds on.
    by_rule = action is Action.HOLD and reason is Reason.FORBIDDEN_ATTACHMENT
    return replace(decision, hold_for=policy.hold_for) if by_rule else decision


def _stripped(
    decision: Decision, verdict: Verdict, policy: Policy, asked: Sequence[tuple[Action, Reason, str]]
) -> Decision:
    """The decision with what is to be taken out; quarantine when that is no attachment that can be told from others."""
    files = [file for file in verdict.ruled_files if action_of(file, policy) is Action.STRIP]
    if not files or not all(file.sha256 for file in files):
        why = f"{decision.explanation}; nobody can say which attachment to strip"
        return replace(decision, action=Action.QUARANTINE, explanation=why)
    unwanted: dict[tuple[str, str], Unwanted] = {}
    for file in files:
        unwanted.setdefault((file.root, file.sha256), Unwanted(file.root, file.sha256, _because(file)))
    tagged = any(ask[0] is Action.TAG for ask in asked)
    return replace(decision, strip=tuple(unwanted.values()), subject_tag=policy.subject_tag if tagged else "")


def _because(file: RuledFile) -> str:
    within = f"{file.name}: " if file.name != file.root else ""
    if file.ground is Ground.RULE:
        return f"{within}files like this are not let in (rule {file.word})"
    if file.ground is Ground.LIST:
        return f"{within}files of this kind are not let in"
    return f"{within}it cannot be looked into ({file.word})"


def _decision(recipient: Recipient, policy: Policy, action: Action, reason: Reason, why: str) -> Decision:
    return Decision(
        recipient=recipient.number,
        action=action,
        reason=reason,
        explanation=why,
        policy=policy.name,
        policy_hash=policy.hash,
        reply=reply_for(action, reason),
        subject_tag=policy.subject_tag if action is Action.TAG else "",
    )


@value
class Settlement:
    """The reply to the sender's data and the decisions as they will be carried out, in the order given.

    `kept`: the sender hears 250, and every decision keeps or passes on the mail; otherwise nothing is kept at all.
    """

    reply: Reply
    decisions: tuple[Decision, ...]
    kept: bool


def settle(decisions: Sequence[Decision], *, message_id: str = "") -> Settlement:
    """The one reply for all recipients; the sender has not been told anything yet.

    | decisions | what becomes of them | reply |
    |---|---|---|
    | all reject | as they are, nothing is kept | 550, the gravest reason |
    | all defer, or defer and reject | all defer, nothing is kept | 451 |
    | some accept, some reject | the rejected are quarantined: a later bounce would be backscatter | 250 |
    | some accept, some defer | the deferred are held, scanned again, then decided | 250 |

    `message_id` is put in the reply's text, for the sender's log and our trace. Raises ValueError when there are no
    decisions.
    """
    if not decisions:
        raise ValueError("no decisions to settle: a transaction has at least one recipient")
    actions = {decision.action for decision in decisions}
    if any(action.accepts for action in actions):
        settled = tuple(map(_beside_accepted, decisions))
        return Settlement(_marked(ACCEPTED, message_id), settled, kept=True)
    if actions == {Action.REJECT}:
        gravest = min(decisions, key=lambda decision: gravity(decision.reason))
        return Settlement(_marked(gravest.reply, message_id), tuple(decisions), kept=False)
    deferring = min(
        (decision for decision in decisions if decision.action is Action.DEFER),
        key=lambda decision: gravity(decision.reason),
    )
    settled = tuple(_beside_deferred(decision, deferring) for decision in decisions)
    return Settlement(_marked(deferring.reply, message_id), settled, kept=False)


def _beside_accepted(decision: Decision) -> Decision:
    if decision.action is Action.REJECT:
        action, reason, word = Action.QUARANTINE, Reason.REJECTED_FOR_OTHERS, "rejection"
    elif decision.action is Action.DEFER:
        action, reason, word = Action.HOLD, Reason.DEFERRED_FOR_OTHERS, "deferral"
    else:
        return decision
    why = f"{decision.explanation}; no {word}, since another recipient's mail was accepted"
    return replace(decision, action=action, reason=reason, explanation=why, reply=reply_for(action, reason))


def _beside_deferred(decision: Decision, deferring: Decision) -> Decision:
    if decision.action is Action.DEFER:
        return decision
    return replace(
        decision,
        action=Action.DEFER,
        reason=Reason.DEFERRED_FOR_OTHERS,
        explanation=f"{decision.explanation}; no rejection yet, since another recipient's mail is deferred",
        reply=deferring.reply,
    )


def _marked(reply: Reply, message_id: str) -> Reply:
    return Reply(reply.code, reply.enhanced, f"{reply.text} ({message_id})") if message_id else reply
