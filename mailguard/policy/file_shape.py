"""The shape of `attachments` in a profile's file: its keys, sizes and times with units, and rules joined along `extends`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, model_validator

from mailguard.config.values import SymbolName
from mailguard.core.clock import DAY, HOUR, MINUTE, SECOND
from mailguard.core.decision import Action
from mailguard.policy.file_rules import FileRule
from mailguard.policy.lists import parse_pattern

_SIZE = re.compile(r"^(\d{1,12})\s*([kmg]i?)?b?$")
_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
_SPAN = re.compile(r"^(\d{1,6})\s*([smhd])$")
_SPANS = {"d": DAY, "h": HOUR, "m": MINUTE, "s": SECOND}
_TYPE = re.compile(r"^[a-z0-9.+*?-]+/[a-z0-9.+*?-]+$")
LONGEST_HOLD = 7 * DAY
NONE = "none"
"""The action that takes an inherited rule back."""


def pattern(text: str) -> str:
    """A list entry as it is kept. Raises ValueError."""
    parse_pattern(text)
    return text.strip().lower()


def _extension(text: str) -> str:
    plain = text.lower().lstrip(".")
    if not plain or any(character in plain for character in "*?/\\ ."):
        raise ValueError("must be an extension such as exe, without dot or wildcard")
    return plain


def _type(text: str) -> str:
    plain = text.strip().lower()
    if not _TYPE.match(plain):
        raise ValueError("must be a MIME type such as application/pdf or application/vnd.ms-*")
    return plain


def _octets(value: object) -> object:
    match = _SIZE.match(str(value).strip().lower()) if isinstance(value, (int, str)) else None
    if isinstance(value, bool) or match is None or not (size := int(match[1]) * _FACTORS[match[2] or ""]):
        raise ValueError("must be a size such as 10MB, 512KiB or 1000000 (octets)")
    return size


def _span(value: object) -> object:
    match = _SPAN.match(value.strip().lower()) if isinstance(value, str) else None
    length = int(match[1]) * _SPANS[match[2]] if match else 0
    if not 0 < length <= LONGEST_HOLD:
        raise ValueError("must be a time span such as 30m, 4h or 2d, 7d at most")
    return length


def _line(text: str) -> str:
    if not text.isprintable() or len(text) > 100:
        raise ValueError("must be at most 100 printable characters on one line")
    return text.strip()


Extension = Annotated[str, AfterValidator(_extension)]
Pattern = Annotated[str, AfterValidator(pattern)]
Octets = Annotated[int, BeforeValidator(_octets)]
Span = Annotated[int, BeforeValidator(_span)]
Line = Annotated[str, AfterValidator(_line)]


class FileRuleTable(BaseModel):
    """One of `attachments.rules`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,39}$")] = ""
    action: Literal["ignore", "tag", "strip", "quarantine", "reject", "hold", "none"]
    symbols: tuple[SymbolName, ...] = ()
    types: tuple[Annotated[str, AfterValidator(_type)], ...] = ()
    extensions: tuple[Extension, ...] = ()
    larger: Octets | None = None
    senders: tuple[Pattern, ...] = ()
    not_senders: tuple[Pattern, ...] = ()
    within_archives: StrictBool | None = None
    then: Literal["ignore", "tag", "strip", "quarantine"] | None = None

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        conditions = (*self.symbols, *self.types, *self.extensions, *self.senders, *self.not_senders)
        some = bool(conditions) or self.larger is not None or self.within_archives is not None
        if self.action == NONE:
            if not self.name or some:
                raise ValueError("action none takes an inherited rule back: it needs its name, and nothing else")
        elif not some:
            raise ValueError(
                "must say which files: symbols, types, extensions, larger, senders, not_senders or within_archives"
            )
        if self.then is not None and self.action != "hold":
            raise ValueError("then is for action hold alone: what the rule asks for when its time is over")
        return self


class AttachmentsTable(BaseModel):
    """`attachments`: what becomes of files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Literal["ignore", "tag", "strip", "quarantine", "reject"] = "quarantine"
    extensions: tuple[Extension, ...] = ()
    types: tuple[Annotated[str, Field(pattern=r"^[a-z0-9.+-]+/[a-z0-9.+-]+$")], ...] = ()
    uninspectable: Literal["ignore", "tag", "strip", "quarantine", "reject"] = "tag"
    rules: tuple[FileRuleTable, ...] = ()
    hold_for: Span = 4 * HOUR
    ask: Line = ""


def rules_of(tables: Sequence[FileRuleTable]) -> tuple[FileRule, ...]:
    """The rules that tables say; one without a name is called by its place."""
    return tuple(
        FileRule(
            name=table.name or f"#{place}",
            action=_action(table.action),
            symbols=frozenset(table.symbols),
            types=table.types,
            extensions=frozenset(table.extensions),
            larger=table.larger or 0,
            senders=table.senders,
            others=table.not_senders,
            within=table.within_archives,
            then=_action(table.then or "ignore"),
        )
        for place, table in enumerate(tables, start=1)
        if table.action != NONE
    )


def rule_data(rule: FileRule) -> dict[str, Any]:
    """A rule as the data of a file."""
    lists = {
        "symbols": sorted(rule.symbols),
        "types": list(rule.types),
        "extensions": sorted(rule.extensions),
        "senders": list(rule.senders),
        "not_senders": list(rule.others),
    }
    return {
        **({} if rule.name.startswith("#") else {"name": rule.name}),
        **{key: value for key, value in lists.items() if value},
        **({"larger": rule.larger} if rule.larger else {}),
        **({} if rule.within is None else {"within_archives": rule.within}),
        "action": _word(rule.action),
        **({} if rule.then is Action.DELIVER else {"then": _word(rule.then)}),
    }


def span_text(milliseconds: int) -> str:
    """A span in the largest unit that gives a whole number."""
    return next(f"{milliseconds // size}{unit}" for unit, size in _SPANS.items() if not milliseconds % size)


def joined_rules(base: Sequence[Mapping[str, Any]], own: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A profile's own rules, then those that it inherits, but for those whose name it uses anew."""
    named = {rule["name"] for rule in own if rule.get("name")}
    return [*own, *(rule for rule in base if rule.get("name") not in named)]


def _action(word: str) -> Action:
    return Action.DELIVER if word == "ignore" else Action(word)


def _word(action: Action) -> str:
    return "ignore" if action is Action.DELIVER else action.value
