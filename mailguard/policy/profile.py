"""A filtering profile as a value. Its defaults are those of policies/default.yaml; `files` reads the YAML.

`Action.DELIVER` as a condition's action means: no say of its own (`ignore` in the files); the points still count.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from mailguard.core.clock import HOUR
from mailguard.core.decision import Action
from mailguard.core.tenant import ListEntry
from mailguard.core.verdict import DmarcPolicy
from mailguard.policy.file_rules import FilePolicy, FileRule

DEFAULT_PROFILE = "default"

IGNORE = Action.DELIVER

_EXTENSIONS = (
    "ade adp appx appxbundle bat cab chm cmd com cpl diagcab dll exe hta inf ins iso isp jar jnlp js jse lib lnk mde msc "
    "msi msix msp mst nsh pif ps1 ps1xml ps2 psc1 psm1 reg scf scr sct settingcontent-ms shb sys url vb vbe vbs vhd vhdx "
    "vxd wsc wsf wsh xll"
)
FORBIDDEN_EXTENSIONS = frozenset(_EXTENSIONS.split())
"""Files that a double click runs, and containers that carry such files past the receiving system's warnings."""

FORBIDDEN_TYPES = frozenset(
    {
        "application/x-dosexec",
        "application/vnd.microsoft.portable-executable",
        "application/x-ms-shortcut",
        "application/x-msdownload",
    }
)
"""True types (by content) of Windows programs, whatever the file is called."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """From `score` points on, `action`."""

    score: float
    action: Action


@dataclass(frozen=True, slots=True)
class SymbolRule:
    """What a profile says about one symbol: other points than the symbol's own, and an action of its own. None: nothing."""

    score: float | None = None
    action: Action | None = None


DMARC_ACTIONS: Mapping[DmarcPolicy, Action] = MappingProxyType(
    {
        DmarcPolicy.NONE: IGNORE,
        DmarcPolicy.QUARANTINE: Action.QUARANTINE,
        # Not rejected: honest mailing lists and forwarders break DMARC, and few of them are among the trusted sealers.
        DmarcPolicy.REJECT: Action.QUARANTINE,
    }
)
FAILED_CHECK_ACTIONS: Mapping[str, Action] = MappingProxyType({"clamav": Action.DEFER})
SYMBOL_RULES: Mapping[str, SymbolRule] = MappingProxyType(
    {
        "CLAMAV_HEURISTIC": SymbolRule(action=Action.QUARANTINE),
        "CLAMAV_PUA": SymbolRule(action=Action.TAG),
    }
)


@dataclass(frozen=True, slots=True)
class Policy:
    """One profile in its effective form, after `extends`. `hash` identifies what it says, not what it is called."""

    name: str = DEFAULT_PROFILE
    description: str = ""
    thresholds: tuple[Threshold, ...] = (
        Threshold(5.0, Action.TAG),
        Threshold(8.0, Action.QUARANTINE),
        Threshold(15.0, Action.REJECT),
    )
    """By ascending score."""
    malware: Action = Action.QUARANTINE
    dmarc: Mapping[DmarcPolicy, Action] = field(default_factory=lambda: DMARC_ACTIONS)
    """The action when DMARC fails, by what the domain's owner asks for."""
    forbidden_extensions: frozenset[str] = FORBIDDEN_EXTENSIONS
    forbidden_types: frozenset[str] = FORBIDDEN_TYPES
    forbidden_attachment: Action = Action.QUARANTINE
    uninspectable: Action = Action.TAG
    """The action for files that could not be looked into."""
    file_rules: tuple[FileRule, ...] = ()
    """The first that fits a file decides about it, before the lists above."""
    hold_for: int = 4 * HOUR
    """How long a rule may hold mail, in milliseconds, counted from when it came."""
    ask: str = ""
    """Whom the note in place of a stripped attachment says to ask; empty: the mail administrator."""
    failed_checks: Mapping[str, Action] = field(default_factory=lambda: FAILED_CHECK_ACTIONS)
    """The action when a check ended in TEMPERROR, by its name; a check that is not named here: `failed_check`."""
    failed_check: Action = IGNORE
    deny_list: Action = Action.REJECT
    lists: tuple[ListEntry, ...] = ()
    """Entries for every tenant with this profile; a tenant's own go before them."""
    symbols: Mapping[str, SymbolRule] = field(default_factory=lambda: SYMBOL_RULES)
    subject_tag: str = ""
    """Put before the Subject when the action is tag; breaks DKIM at the client's server, hence empty by default."""
    headers: bool = True
    """Whether X-MailGuard-Verdict, -Score and -Symbols are added (X-MailGuard-Id always is)."""
    quarantine_days: float = 30.0
    malware_days: float = 30.0
    hash: str = field(init=False, compare=False)
    files: FilePolicy = field(init=False, compare=False, repr=False)
    """What it says about attached files, together."""

    def __post_init__(self) -> None:
        for name in ("dmarc", "failed_checks", "symbols"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        files = FilePolicy(
            extensions=self.forbidden_extensions,
            types=self.forbidden_types,
            forbidden=self.forbidden_attachment,
            uninspectable=self.uninspectable,
            rules=self.file_rules,
            hold_for=self.hold_for,
            own=frozenset(name for name, rule in self.symbols.items() if rule.action is not None),
        )
        object.__setattr__(self, "files", files)
        object.__setattr__(self, "hash", hashlib.sha256(self.canonical().encode()).hexdigest())

    def action_of_failed(self, check: str) -> Action:
        """The action when `check` ended in TEMPERROR."""
        return self.failed_checks.get(check, self.failed_check)

    def points(self, symbol: str, default: float) -> float:
        """The points of a symbol in this profile."""
        rule = self.symbols.get(symbol)
        return default if rule is None or rule.score is None else rule.score

    def canonical(self) -> str:
        """All that can change a decision, as JSON with sorted keys: what `hash` is the SHA-256 of."""
        return json.dumps(
            {
                "thresholds": [[float(threshold.score), threshold.action] for threshold in self.thresholds],
                "malware": self.malware,
                "dmarc": dict(self.dmarc),
                "attachments": [
                    self.forbidden_attachment,
                    sorted(self.forbidden_extensions),
                    sorted(self.forbidden_types),
                    self.uninspectable,
                    [_said(rule) for rule in self.file_rules],
                    self.hold_for,
                    self.ask,
                ],
                "failed_checks": [self.failed_check, dict(self.failed_checks)],
                "deny_list": self.deny_list,
                "lists": sorted([entry.kind, entry.pattern] for entry in self.lists),
                "symbols": {
                    name: [None if rule.score is None else float(rule.score), rule.action]
                    for name, rule in self.symbols.items()
                },
                "tags": [self.subject_tag, self.headers],
                "retention": [float(self.quarantine_days), float(self.malware_days)],
            },
            sort_keys=True,
            separators=(",", ":"),
        )


def _said(rule: FileRule) -> list[object]:
    """All that a rule for files says, as JSON."""
    return [
        rule.name,
        rule.action,
        sorted(rule.symbols),
        sorted(rule.types),
        sorted(rule.extensions),
        rule.larger,
        sorted(rule.senders),
        sorted(rule.others),
        rule.within,
        rule.then,
    ]
