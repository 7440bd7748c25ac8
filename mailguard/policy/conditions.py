"""The table of conditions that a Policy has a say about, the gravest first. Pure; `decide` walks it, and so does a test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mailguard.core.decision import Action, Reason
from mailguard.core.verdict import DmarcPolicy, Ground, ListMatch, RuledFile, Verdict
from mailguard.policy.file_rules import STRICTNESS
from mailguard.policy.profile import IGNORE, Policy

__all__ = ["CONDITIONS", "STRICTNESS", "Condition", "Opinion", "action_of", "gravity"]

Opinion = tuple[Action, str]
"""What one condition asks for, and why, for people."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One row of the table.

    `alone`: when it holds, nothing else counts. `spares_special`: for postmaster@ and abuse@ it asks for no more than a
    tag. `waived`: whether the allow list excuses it.
    """

    reason: Reason
    opinion: Callable[[Verdict, Policy], Opinion | None]
    alone: bool = False
    spares_special: bool = False
    waived: Callable[[Verdict], bool] = lambda verdict: False


def _malware(verdict: Verdict, policy: Policy) -> Opinion | None:
    return (policy.malware, f"malware {', '.join(verdict.malware)}") if verdict.malware else None


def _failed_checks(verdict: Verdict, policy: Policy) -> Opinion | None:
    actions = [(policy.action_of_failed(check), check) for check in verdict.failed_checks]
    if not actions:
        return None
    action, check = max(actions, key=lambda pair: STRICTNESS[pair[0]])
    return action, f"check {check} failed"


def _deny_list(verdict: Verdict, policy: Policy) -> Opinion | None:
    denied = verdict.list_match is ListMatch.DENY
    return (policy.deny_list, f"deny list entry {verdict.list_entry}") if denied else None


def action_of(file: RuledFile, policy: Policy) -> Action:
    """What the profile asks for on account of one file."""
    if file.ground is Ground.RULE:
        return file.action or IGNORE
    return policy.forbidden_attachment if file.ground is Ground.LIST else policy.uninspectable


def _forbidden_attachment(verdict: Verdict, policy: Policy) -> Opinion | None:
    names = verdict.forbidden_attachments
    asked = [(policy.forbidden_attachment, f"forbidden attachment {', '.join(names[:3])}")] if names else []
    by_rule: dict[tuple[Action, str], list[str]] = {}
    for file in verdict.ruled_files:
        if file.ground is Ground.RULE:
            by_rule.setdefault((action_of(file, policy), file.word), []).append(file.name)
    asked += [(action, f"attachment {_named(files)} by rule {word}") for (action, word), files in by_rule.items()]
    return max(asked, key=lambda opinion: STRICTNESS[opinion[0]]) if asked else None


def _uninspectable(verdict: Verdict, policy: Policy) -> Opinion | None:
    files = [file for file in verdict.ruled_files if file.ground is Ground.UNINSPECTABLE]
    if not files:
        return None
    words = ", ".join(dict.fromkeys(file.word for file in files))
    what = _named([file.name for file in files if file.name])
    return policy.uninspectable, f"attachment {what} cannot be looked into ({words})".replace("  ", " ")


def _named(names: Sequence[str]) -> str:
    return ", ".join(list(dict.fromkeys(names))[:3])


def _symbol_rule(verdict: Verdict, policy: Policy) -> Opinion | None:
    asked = [
        (rule.action, f"symbol {symbol.name}")
        for symbol in verdict.symbols
        if (rule := policy.symbols.get(symbol.name)) is not None and rule.action is not None
    ]
    return max(asked, key=lambda opinion: STRICTNESS[opinion[0]]) if asked else None


def _dmarc(verdict: Verdict, policy: Policy) -> Opinion | None:
    asked = verdict.dmarc_failed
    if asked is None:
        return None
    return policy.dmarc.get(asked, IGNORE), f"DMARC failed, the author's domain asks for {_DMARC_WORDS[asked]}"


_DMARC_WORDS = {DmarcPolicy.NONE: "nothing", DmarcPolicy.QUARANTINE: "quarantine", DmarcPolicy.REJECT: "rejection"}


def _score(verdict: Verdict, policy: Policy) -> Opinion | None:
    reached = [threshold for threshold in policy.thresholds if verdict.score >= threshold.score]
    if not reached:
        return None
    highest = max(reached, key=lambda threshold: threshold.score)
    return highest.action, f"score {verdict.score:g} ≥ {highest.action} at {highest.score:g}"


def _on_allow_list(verdict: Verdict) -> bool:
    return verdict.list_match is ListMatch.ALLOW


CONDITIONS: tuple[Condition, ...] = (
    Condition(Reason.MALWARE, _malware, alone=True),
    Condition(Reason.SCANNER_FAILED, _failed_checks),
    Condition(Reason.DENY_LIST, _deny_list, spares_special=True),
    Condition(Reason.FORBIDDEN_ATTACHMENT, _forbidden_attachment),
    Condition(Reason.UNINSPECTABLE_ATTACHMENT, _uninspectable, spares_special=True),
    Condition(Reason.SYMBOL_RULE, _symbol_rule, spares_special=True),
    Condition(
        Reason.DMARC_FAIL,
        _dmarc,
        spares_special=True,
        # Not when only MAIL FROM is on the list: whoever rents an allowed mailing service could write any From.
        waived=lambda verdict: _on_allow_list(verdict) and verdict.author_vouched,
    ),
    Condition(Reason.SPAM_SCORE, _score, spares_special=True, waived=_on_allow_list),
)
"""The gravest first."""

_GRAVITY = {condition.reason: position for position, condition in enumerate(CONDITIONS)}


def gravity(reason: Reason) -> int:
    """The place of a reason in the table: 0 is the gravest."""
    return _GRAVITY.get(reason, len(_GRAVITY))
