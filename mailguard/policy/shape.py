"""The shape of a profile's file: its tables and keys, their defaults, and the way from there to a Policy and back."""

from __future__ import annotations

import itertools
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, field_validator

from mailguard.config.values import SymbolName
from mailguard.core.decision import Action
from mailguard.core.tenant import ListEntry, ListKind
from mailguard.core.verdict import DmarcPolicy
from mailguard.policy.conditions import STRICTNESS
from mailguard.policy.file_shape import AttachmentsTable, Pattern, rule_data, rules_of, span_text
from mailguard.policy.profile import IGNORE, Policy, SymbolRule, Threshold


def _list_file(text: str) -> str:
    if not re.fullmatch(r"lists/[A-Za-z0-9_-][A-Za-z0-9_.-]*", text):
        raise ValueError("must be a file in the lists directory beside the profiles, such as lists/deny.txt")
    return text


def _subject(text: str) -> str:
    if not all(character.isprintable() and character.isascii() for character in text) or len(text) > 40:
        raise ValueError("must be at most 40 printable ASCII characters")
    return text


def _check(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", text):
        raise ValueError("must be the name of a check, such as clamav, or default")
    return text


Score = Annotated[float, Field(strict=True, ge=-1000, le=1000, allow_inf_nan=False)]
Days = Annotated[float, Field(strict=True, gt=0, le=3650, allow_inf_nan=False)]
CheckName = Annotated[str, AfterValidator(_check)]
FailedAction = Literal["ignore", "tag", "hold", "defer"]


class Table(BaseModel):
    """What all tables of a profile share: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ThresholdTable(Table):
    """One row of `thresholds`."""

    score: Score
    action: Literal["deliver", "tag", "quarantine", "reject"]


class DmarcTable(Table):
    """`dmarc`: the action when DMARC fails, by what the author's domain asks for."""

    none: Literal["ignore", "tag", "quarantine", "reject"] = "ignore"
    quarantine: Literal["ignore", "tag", "quarantine", "reject"] = "quarantine"
    reject: Literal["ignore", "tag", "quarantine", "reject"] = "quarantine"


class ListsTable(Table):
    """`lists`: entries for every tenant with this profile, here or in files with an entry a line."""

    allow: tuple[Pattern, ...] = ()
    deny: tuple[Pattern, ...] = ()
    allow_files: tuple[Annotated[str, AfterValidator(_list_file)], ...] = ()
    deny_files: tuple[Annotated[str, AfterValidator(_list_file)], ...] = ()


class SymbolTable(Table):
    """One symbol of `symbols`."""

    score: Score | None = None
    action: Literal["ignore", "tag", "quarantine", "reject", "discard"] | None = None


class TagsTable(Table):
    """`tags`: what a receiver sees of the verdict."""

    subject: Annotated[str, AfterValidator(_subject)] = ""
    headers: StrictBool = True


class RetentionTable(Table):
    """`retention`: days that mail stays in quarantine."""

    quarantine: Days = 30
    malware: Days = 30


class ProfileTable(Table):
    """A whole file. What it does not say comes from the profile it extends, at last from `BUILT_IN`."""

    description: str = ""
    extends: str = ""
    thresholds: tuple[ThresholdTable, ...] = ()
    malware: Literal["quarantine", "reject", "discard"] = "quarantine"
    dmarc: DmarcTable = DmarcTable()
    attachments: AttachmentsTable = AttachmentsTable()
    failed_checks: dict[CheckName, FailedAction] = {}
    deny_list: Literal["tag", "quarantine", "reject", "discard"] = "reject"
    symbols: dict[SymbolName, SymbolTable] = {}
    lists: ListsTable = ListsTable()
    tags: TagsTable = TagsTable()
    retention: RetentionTable = RetentionTable()

    @field_validator("thresholds")
    @classmethod
    def _in_order(cls, thresholds: tuple[ThresholdTable, ...]) -> tuple[ThresholdTable, ...]:
        for lower, higher in itertools.pairwise(thresholds):
            if higher.score <= lower.score:
                raise ValueError("must be in order of rising score, each score once")
            if STRICTNESS[Action(higher.action)] < STRICTNESS[Action(lower.action)]:
                raise ValueError(f"must not be milder ({higher.action}) at a higher score ({higher.score:g})")
        return thresholds


DEFAULT_CHECK = "default"
"""The key of `failed_checks` that holds for every check without one of its own."""


def to_policy(name: str, table: ProfileTable, *, from_files: tuple[ListEntry, ...] = ()) -> Policy:
    """The Policy that a whole table says. `from_files` are the entries of its list files."""
    failed = {check: _action(word) for check, word in table.failed_checks.items()}
    written = ((ListKind.ALLOW, table.lists.allow), (ListKind.DENY, table.lists.deny))
    return Policy(
        name=name,
        description=table.description,
        thresholds=tuple(Threshold(row.score, Action(row.action)) for row in table.thresholds),
        malware=Action(table.malware),
        dmarc={policy: _action(getattr(table.dmarc, policy.value)) for policy in DmarcPolicy},
        forbidden_extensions=frozenset(table.attachments.extensions),
        forbidden_types=frozenset(table.attachments.types),
        forbidden_attachment=_action(table.attachments.action),
        uninspectable=_action(table.attachments.uninspectable),
        file_rules=rules_of(table.attachments.rules),
        hold_for=table.attachments.hold_for,
        ask=table.attachments.ask,
        failed_check=failed.pop(DEFAULT_CHECK, IGNORE),
        failed_checks=failed,
        deny_list=Action(table.deny_list),
        lists=tuple(ListEntry(kind, text, author=f"profile {name}") for kind, texts in written for text in texts)
        + from_files,
        symbols={
            symbol: SymbolRule(row.score, None if row.action is None else _action(row.action))
            for symbol, row in table.symbols.items()
        },
        subject_tag=table.tags.subject,
        headers=table.tags.headers,
        quarantine_days=table.retention.quarantine,
        malware_days=table.retention.malware,
    )


def to_data(policy: Policy) -> dict[str, Any]:
    """A Policy as the data of a file that says all of it, list files included as entries."""
    return {
        "description": policy.description,
        "thresholds": [{"score": row.score, "action": row.action.value} for row in policy.thresholds],
        "malware": policy.malware.value,
        "dmarc": {asked.value: _word(action) for asked, action in policy.dmarc.items()},
        "attachments": {
            "action": _word(policy.forbidden_attachment),
            "extensions": sorted(policy.forbidden_extensions),
            "types": sorted(policy.forbidden_types),
            "uninspectable": _word(policy.uninspectable),
            "rules": [rule_data(rule) for rule in policy.file_rules],
            "hold_for": span_text(policy.hold_for),
            "ask": policy.ask,
        },
        "failed_checks": {
            **{check: _word(action) for check, action in sorted(policy.failed_checks.items())},
            DEFAULT_CHECK: _word(policy.failed_check),
        },
        "deny_list": policy.deny_list.value,
        "symbols": {
            name: {
                **({} if rule.score is None else {"score": rule.score}),
                **({} if rule.action is None else {"action": _word(rule.action)}),
            }
            for name, rule in sorted(policy.symbols.items())
        },
        "lists": {kind.value: [entry.pattern for entry in policy.lists if entry.kind is kind] for kind in ListKind},
        "tags": {"subject": policy.subject_tag, "headers": policy.headers},
        "retention": {"quarantine": policy.quarantine_days, "malware": policy.malware_days},
    }


def _action(word: str) -> Action:
    return IGNORE if word == "ignore" else Action(word)


def _word(action: Action) -> str:
    return "ignore" if action is IGNORE else action.value


BUILT_IN = to_data(Policy())
"""What a profile builds on that extends no other."""
