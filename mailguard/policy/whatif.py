"""What another profile would have made of mail that came: recorded findings, scored, decided and settled anew. Pure.

By `score`, `decide` and `settle` themselves, so that it cannot come to differ from what the relay would do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mailguard.core.decision import Action, Decision, Reason
from mailguard.core.recorded import RecordedMail, RecordedUnit
from mailguard.core.tenant import Tenant
from mailguard.core.verdict import CheckResult, Verdict
from mailguard.policy.conditions import CONDITIONS, Opinion
from mailguard.policy.decide import decide, reply_for, settle
from mailguard.policy.profile import IGNORE, Policy
from mailguard.policy.score import score

DELIVERING = frozenset({Action.DELIVER, Action.TAG, Action.STRIP})
KEYS = {
    Reason.MALWARE: "malware",
    Reason.SCANNER_FAILED: "failed_checks",
    Reason.DENY_LIST: "deny_list",
    Reason.FORBIDDEN_ATTACHMENT: "attachments",
    Reason.UNINSPECTABLE_ATTACHMENT: "attachments.uninspectable",
    Reason.SYMBOL_RULE: "symbols",
    Reason.DMARC_FAIL: "dmarc",
    Reason.SPAM_SCORE: "thresholds",
}
"""Where a profile says what it does about a condition."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """One recipient's mail under a draft.

    `recorded` is what happened, `draft` what would have by the draft, `current` what would have by the profile that is in
    force now; the two have the tenant's lists as they are now. `causes`: what of the draft differs from the profile in force
    for this mail, and so made the difference; empty when none of it did.
    """

    mail: RecordedMail
    unit: RecordedUnit
    draft: Decision
    current: Decision
    causes: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether the draft would have done something else than was done."""
        return self.draft.action is not self.unit.action

    @property
    def changed_anyway(self) -> bool:
        """Whether the profile and lists that are in force now would have done the same as the draft: it is not the draft's doing."""
        return self.changed and self.current.action is self.draft.action


def replay(mail: RecordedMail, *, tenant: Tenant, draft: Policy, current: Policy) -> tuple[Replayed, ...]:
    """The mail's recipients of `tenant` under `draft`. Of other tenants' recipients stands what was decided.

    List entries count that had not expired when the mail came.
    """
    verdicts = {policy.hash: _verdicts(mail, tenant, policy) for policy in (draft, current)}
    by_draft = _decisions(mail, draft, verdicts[draft.hash])
    by_current = _decisions(mail, current, verdicts[current.hash])
    return tuple(
        Replayed(
            mail,
            unit,
            by_draft[number],
            by_current[number],
            tuple(causes(verdicts[current.hash][number], current, verdicts[draft.hash][number], draft)),
        )
        for unit in mail.units
        if (number := unit.recipient.number) in verdicts[draft.hash]
    )


def causes(before: Verdict, old: Policy, after: Verdict, new: Policy) -> Iterator[str]:
    """What two profiles see differently in one mail: `thresholds: nothing → quarantine (score 6 ≥ quarantine at 6)`."""
    points = {symbol.name: symbol.points for symbol in before.symbols}
    for symbol in after.symbols:
        if symbol.points != points.get(symbol.name):
            was = points.get(symbol.name, 0.0)
            yield f"symbols.{symbol.name}.score: {was:g} → {symbol.points:g}"
    if before.score != after.score:
        yield f"score {before.score:g} → {after.score:g}"
    for condition in CONDITIONS:
        was_asked, is_asked = _asked(condition.opinion(before, old)), _asked(condition.opinion(after, new))
        if was_asked[0] != is_asked[0]:
            why = is_asked[1] or was_asked[1]
            yield f"{KEYS[condition.reason]}: {was_asked[0]} → {is_asked[0]}" + (f" ({why})" if why else "")
    if before.list_match is not after.list_match or before.list_entry != after.list_entry:
        yield f"lists: {_listed(before)} → {_listed(after)}"


def unmet_symbols(draft: Policy, current: Policy, seen: Iterable[str]) -> tuple[str, ...]:
    """Symbols about which a draft says something new, and that no replayed mail had: what they would have hit is not known."""
    new = {name for name, rule in draft.symbols.items() if rule != current.symbols.get(name)}
    return tuple(sorted(new - set(seen)))


def _verdicts(mail: RecordedMail, tenant: Tenant, policy: Policy) -> dict[int, Verdict]:
    """The verdict for each recipient of the tenant by its number: one for all, unless a new scan saw more for some."""
    by_found: dict[tuple[tuple[CheckResult, ...], bool], Verdict] = {}
    found: dict[int, Verdict] = {}
    for unit in mail.units:
        if unit.recipient.tenant != tenant.id:
            continue
        if (unit.found, unit.held_over) not in by_found:
            by_found[unit.found, unit.held_over] = score(
                mail.findings,
                tenant=tenant,
                policy=policy,
                envelope=mail.envelope,
                session=mail.session,
                now_ms=mail.received_at,
                seen=unit.found,
                waited_ms=policy.hold_for if unit.held_over else 0,
            )
        found[unit.recipient.number] = by_found[unit.found, unit.held_over]
    return found


def _decisions(mail: RecordedMail, policy: Policy, verdicts: Mapping[int, Verdict]) -> dict[int, Decision]:
    """The decision for each recipient by its number, settled with those for the others. `verdicts`: of those judged anew."""
    alone = [
        decide(verdicts[number], policy, unit.recipient)
        if (number := unit.recipient.number) in verdicts
        else _as_recorded(unit)
        for unit in mail.units
    ]
    return {decision.recipient: decision for decision in settle(alone).decisions}


def _as_recorded(unit: RecordedUnit) -> Decision:
    """What was decided for a recipient before it was settled with the others."""
    action = unit.action
    if unit.reason is Reason.REJECTED_FOR_OTHERS and action is Action.QUARANTINE:
        action = Action.REJECT
    elif unit.reason is Reason.DEFERRED_FOR_OTHERS:
        action = {Action.HOLD: Action.DEFER, Action.DEFER: Action.REJECT}.get(action, action)
    reply = reply_for(action, unit.reason)
    return Decision(unit.recipient.number, action, unit.reason, unit.explanation, unit.policy, unit.policy_hash, reply)


def _asked(opinion: Opinion | None) -> tuple[str, str]:
    if opinion is None or opinion[0] is IGNORE:
        return "nothing", ""
    return opinion[0].value, opinion[1]


def _listed(verdict: Verdict) -> str:
    return f"{verdict.list_match} {verdict.list_entry}" if verdict.list_entry else "none"


# --- the whole -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class WhatIf:
    """The sum of a replay, message by message.

    `mails`: those replayed, one for each recipient. Not replayed: `erased`, of which what lists are matched with is gone, and
    `not_decided`, which no profile had a say about (mail that went round in a loop). `policies`: mails by name and hash of
    the profile that decided then. `checks`: messages by the check that reported on them.
    """

    mails: int = 0
    messages: int = 0
    changed_anyway: int = 0
    erased: int = 0
    not_decided: int = 0
    transitions: dict[tuple[Action, Action], int] = field(default_factory=dict)
    policies: dict[tuple[str, str], int] = field(default_factory=dict)
    checks: dict[str, int] = field(default_factory=dict)
    symbols: set[str] = field(default_factory=set)

    def add(self, mail: RecordedMail, *, tenant: Tenant, draft: Policy, current: Policy) -> tuple[Replayed, ...]:
        """Replay a message and count it; the recipients for whom the draft would have done something else."""
        units = [unit for unit in mail.units if unit.recipient.tenant == tenant.id]
        if mail.erased:
            self.erased += len(units)
            return ()
        undecided = {unit.id for unit in units if unit.reason is Reason.MAIL_LOOP or not unit.policy_hash}
        self.not_decided += len(undecided)
        if len(undecided) == len(units):
            return ()
        self.messages += 1
        results = (*mail.findings.results, *(one for unit in units for one in unit.found))
        self.symbols.update(symbol.name for one in results for symbol in one.symbols)
        for check in {one.check for one in results}:
            self.checks[check] = self.checks.get(check, 0) + 1
        changed = []
        for one in replay(mail, tenant=tenant, draft=draft, current=current):
            if one.unit.id in undecided:
                continue
            self.mails += 1
            by = one.unit.policy, one.unit.policy_hash
            self.policies[by] = self.policies.get(by, 0) + 1
            if one.changed:
                move = one.unit.action, one.draft.action
                self.transitions[move] = self.transitions.get(move, 0) + 1
                self.changed_anyway += one.changed_anyway
                changed.append(one)
        return tuple(changed)

    def count(self, *, before: Iterable[Action] = Action, after: Iterable[Action] = Action) -> int:
        """The changed mails that went from one of some actions to one of some others."""
        old, new = frozenset(before), frozenset(after)
        return sum(count for (was, is_), count in self.transitions.items() if was in old and is_ in new)

    def sentence(self) -> str:
        """What would be otherwise: `would quarantine 14 more, release 3`."""
        kept = frozenset({Action.QUARANTINE, Action.HOLD})
        refused = frozenset({Action.REJECT, Action.DEFER, Action.DISCARD})
        parts = (
            (
                "quarantine {} more",
                self.count(before=frozenset(Action) - {Action.QUARANTINE}, after={Action.QUARANTINE}),
            ),
            ("release {}", self.count(before=kept, after=DELIVERING)),
            ("reject {} more", self.count(before=frozenset(Action) - {Action.REJECT}, after={Action.REJECT})),
            ("discard {} more", self.count(before=frozenset(Action) - {Action.DISCARD}, after={Action.DISCARD})),
            ("defer {} more", self.count(before=frozenset(Action) - {Action.DEFER}, after={Action.DEFER})),
            ("hold {} more", self.count(before=frozenset(Action) - {Action.HOLD}, after={Action.HOLD})),
            ("deliver {} that were refused", self.count(before=refused, after=DELIVERING)),
            ("tag {} more", self.count(before={Action.DELIVER}, after={Action.TAG})),
            ("strip {} more", self.count(before={Action.DELIVER, Action.TAG}, after={Action.STRIP})),
            ("no longer strip {}", self.count(before={Action.STRIP}, after={Action.DELIVER, Action.TAG})),
            ("no longer tag {}", self.count(before={Action.TAG}, after={Action.DELIVER})),
        )
        told = [text.format(f"{count:,}") for text, count in parts if count]
        return f"would {', '.join(told)}" if told else "would change nothing"
