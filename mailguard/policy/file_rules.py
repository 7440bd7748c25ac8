"""What a profile says about each attached file: its rules, the first that fits, then its plain lists. Pure.

What anybody can write (a sender without proof, a declared type) never makes the outcome milder: where only that speaks for a
rule, the strictest of what the file gets with and without the rule counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from fnmatch import fnmatchcase
from functools import lru_cache
from types import MappingProxyType

from mailguard.core.attachments import UNINSPECTABLE
from mailguard.core.decision import Action
from mailguard.core.envelope import Envelope, Session
from mailguard.core.tenant import ListEntry, ListKind
from mailguard.core.verdict import Attachment, Findings, Ground, RuledFile
from mailguard.policy import lists
from mailguard.policy.names import extension

STRICTNESS: Mapping[Action, int] = MappingProxyType(
    {
        action: strictness
        for strictness, action in enumerate(
            (
                Action.DELIVER,
                Action.TAG,
                Action.STRIP,
                Action.QUARANTINE,
                # Above quarantine: what was not scanned must not lie there as mere spam, to be released unscanned.
                Action.HOLD,
                Action.DEFER,
                # Above waiting for a scanner: what is refused anyway needs none.
                Action.DISCARD,
                Action.REJECT,
            )
        )
    }
)

OF_THE_MAIL = frozenset({"CLAMAV_ENCRYPTED", "CLAMAV_LIMIT", "CLAMAV_TOO_LARGE"})
"""Symbols of scanners that get a mail as a whole: something in it could not be looked into, and nobody says what."""


class Fit(IntEnum):
    """Whether a rule fits a file."""

    NO = 0
    CLAIMED = 1
    """By what the sender says alone."""
    YES = 2


@dataclass(frozen=True, slots=True)
class FileRule:
    """One rule. All conditions that it has must hold for one file; of those of a list, any of them.

    `types` are patterns with * and ?; `larger` in octets, 0 for any size; `within`: whether only files within others, or only
    files that are in none, None for both. `senders` and `others` are list patterns. `then` is what it asks for when it held a
    mail and its time is over. `Action.DELIVER` asks for nothing.
    """

    name: str
    action: Action
    symbols: frozenset[str] = frozenset()
    types: tuple[str, ...] = ()
    extensions: frozenset[str] = frozenset()
    larger: int = 0
    senders: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    within: bool | None = None
    then: Action = Action.DELIVER

    def fit(self, file: Attachment, sender: Sender) -> Fit:
        """Whether it fits; the sender is looked at last, since that costs most."""
        if self.symbols and self.symbols.isdisjoint(file.found):
            return Fit.NO
        if self.extensions and extension(file.name) not in self.extensions:
            return Fit.NO
        if file.size <= self.larger and self.larger:
            return Fit.NO
        if self.within is not None and self.within is not (file.depth > 0):
            return Fit.NO
        fit = self._type(file) if self.types else Fit.YES
        if fit and self.senders:
            fit = min(fit, sender(self.senders))
        if fit and self.others:
            fit = min(fit, Fit(Fit.YES - sender(self.others)))
        return fit

    def _type(self, file: Attachment) -> Fit:
        if any(fnmatchcase(file.true_type.lower(), pattern) for pattern in self.types):
            return Fit.YES
        declared = any(fnmatchcase(file.declared_type.lower(), pattern) for pattern in self.types)
        return Fit.CLAIMED if declared else Fit.NO


Sender = Callable[[tuple[str, ...]], Fit]
"""Whether the sender of a mail is among some list patterns: CLAIMED without proof."""


@dataclass(frozen=True, slots=True)
class FilePolicy:
    """What a profile says about attached files. `hold_for` in milliseconds; `own`: symbols with an action of their own."""

    extensions: frozenset[str]
    types: frozenset[str]
    forbidden: Action
    uninspectable: Action
    rules: tuple[FileRule, ...]
    hold_for: int
    own: frozenset[str] = frozenset()


def sender_of(findings: Findings, envelope: Envelope, session: Session) -> Sender:
    """The sender of a mail as rules ask for it."""

    def among(patterns: tuple[str, ...]) -> Fit:
        mail = {"findings": findings, "envelope": envelope, "session": session}
        if lists.match(tenant=_entries(patterns, ListKind.ALLOW), profile=(), now_ms=0, **mail):  # type: ignore[arg-type]
            return Fit.YES
        named = lists.match(tenant=_entries(patterns, ListKind.DENY), profile=(), now_ms=0, **mail)  # type: ignore[arg-type]
        return Fit.CLAIMED if named else Fit.NO

    return among


@lru_cache(maxsize=1024)
def _entries(patterns: tuple[str, ...], kind: ListKind) -> tuple[ListEntry, ...]:
    return tuple(ListEntry(kind, pattern) for pattern in patterns)


def ruled_files(findings: Findings, policy: FilePolicy, sender: Sender, *, waited: int = 0) -> tuple[RuledFile, ...]:
    """All files about which the profile has a say. `waited`: milliseconds that the mail has been here."""
    found: list[RuledFile] = []
    decided = 0
    for file, root in _with_roots(findings.attachments):
        outcome, by_rule = _outcome(file, root, policy, sender, waited=waited)
        found += outcome
        decided += by_rule
    return (*found, *_of_the_mail(findings, policy, all_decided=0 < len(findings.attachments) == decided))


def _with_roots(files: Sequence[Attachment]) -> Iterator[tuple[Attachment, Attachment]]:
    """Each file with the attachment that it is or lies in: a file's own come right after it."""
    root: Attachment | None = None
    for file in files:
        # Of what an older release recorded, members of archives have no depth.
        if root is None or not (file.depth or (not file.sha256 and file.name.startswith(f"{root.name}/"))):
            root = file
        yield file, root


def _outcome(
    file: Attachment, root: Attachment, policy: FilePolicy, sender: Sender, *, waited: int, start: int = 0
) -> tuple[tuple[RuledFile, ...], bool]:
    """What the profile asks for a file by the rules from `start` on, and whether a rule decides."""
    for position, rule in enumerate(policy.rules[start:], start):
        fit = rule.fit(file, sender)
        if fit is Fit.NO:
            continue
        action = rule.then if rule.action is Action.HOLD and waited >= policy.hold_for else rule.action
        asked = RuledFile(file.name or file.true_type, Ground.RULE, rule.name, action, root.name, root.sha256)
        mine = (asked,) if action is not Action.DELIVER else ()
        if fit is Fit.YES:
            return mine, True
        rest, by_rule = _outcome(file, root, policy, sender, waited=waited, start=position + 1)
        stricter = STRICTNESS[action] > max((STRICTNESS[_action(one, policy)] for one in rest), default=0)
        return (mine, True) if stricter else (rest, by_rule)
    return tuple(_plain(file, root, policy)), False


def _plain(file: Attachment, root: Attachment, policy: FilePolicy) -> Iterator[RuledFile]:
    name = file.name or file.true_type
    if is_forbidden(file, policy):
        yield RuledFile(name, Ground.LIST, "", None, root.name, root.sha256)
    closed = sorted(UNINSPECTABLE.intersection(file.found) - policy.own)
    if closed:
        yield RuledFile(name, Ground.UNINSPECTABLE, closed[0], None, root.name, root.sha256)


def _of_the_mail(findings: Findings, policy: FilePolicy, *, all_decided: bool) -> Iterator[RuledFile]:
    """What a scanner says of the mail as a whole, unless a file accounts for it, or rules decide about all files."""
    if all_decided or any(
        symbol in UNINSPECTABLE or symbol.endswith("_PASSWORD")
        for file in findings.attachments
        for symbol in file.found
    ):
        return
    for name in dict.fromkeys([symbol.name for symbol in findings.symbols if symbol.name in OF_THE_MAIL]):
        if name not in policy.own:
            yield RuledFile("", Ground.UNINSPECTABLE, name)


def _action(file: RuledFile, policy: FilePolicy) -> Action:
    if file.ground is Ground.RULE:
        return file.action or Action.DELIVER
    return policy.forbidden if file.ground is Ground.LIST else policy.uninspectable


def is_forbidden(file: Attachment, policy: FilePolicy) -> bool:
    """Whether the plain lists forbid this file, by the extension of its name or by what its content is."""
    types = {file.declared_type.lower(), file.true_type.lower()}
    return extension(file.name) in policy.extensions or not types.isdisjoint(policy.types)
