"""What the checks found (Findings, tenant-neutral) and what that means for one tenant (Verdict).

Checks report, policy decides: nothing here says what happens to the mail, but for what a rule of the profile asks for a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from mailguard.core.decision import Action
from mailguard.core.values import value


class AuthMethod(StrEnum):
    """Methods of an Authentication-Results field (RFC 8601 §2.7)."""

    SPF = "spf"
    DKIM = "dkim"
    DMARC = "dmarc"
    ARC = "arc"
    IPREV = "iprev"


class AuthOutcome(StrEnum):
    """Results that the methods share (RFC 8601 §2.7); each method uses its own subset."""

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"
    SOFTFAIL = "softfail"
    NEUTRAL = "neutral"
    POLICY = "policy"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


@value
class AuthResult:
    """One `method=result (reason) ptype.property=value` of an Authentication-Results field.

    `domain` is what was authenticated, in lower case (SPF: of MAIL FROM or HELO; DKIM: d=; DMARC: of From; ARC: of the
    last sealer), empty when there is none. `properties` are (`smtp.mailfrom`, value) pairs in the order of the header.
    """

    method: AuthMethod
    outcome: AuthOutcome
    domain: str = ""
    reason: str = ""
    properties: tuple[tuple[str, str], ...] = ()


class DmarcPolicy(StrEnum):
    """What the domain owner asks for when DMARC fails (RFC 9989)."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"


@value
class Symbol:
    """A named observation, such as `DKIM_INVALID`, with what it was seen in.

    `score` is the default weight in points (positive: worse); a profile may set another. `evidence` holds short, hostile
    strings (a URL, a file name): each sink escapes them.
    """

    name: str
    score: float = 0.0
    description: str = ""
    evidence: tuple[str, ...] = ()


class CheckStatus(StrEnum):
    """How a check ended. TEMPERROR is visible everywhere: never a silent pass."""

    OK = "ok"
    TEMPERROR = "temperror"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A named or non-text part, or a file within one: what policy and later questions need. `size` in octets after decoding."""

    name: str
    """Of a file within others, the path to it: `a.zip/b.exe`."""
    declared_type: str
    true_type: str
    size: int
    sha256: str
    depth: int = 0
    """0: the attachment; 1: a file in it; and so on. A file's own come right after it."""
    found: tuple[str, ...] = ()
    """Names of the symbols that were reported of this very file."""


@dataclass(frozen=True, slots=True)
class Classification:
    """What the statistical classifier makes of a mail: `logit` (natural; positive: spam) by the model that `model` names.

    `features` are the hashed features that it saw, as packed unsigned 32-bit integers in native order: what a tenant's
    delta is applied to, and what is learned from. It lives as long as the mail is judged, and is not recorded with it.
    """

    logit: float
    model: str
    features: bytes = b""


@value
class CheckResult:
    """What one check reports. `malware` holds signature names; `elapsed` is in seconds; `detail` is for log and trace."""

    check: str
    status: CheckStatus = CheckStatus.OK
    symbols: tuple[Symbol, ...] = ()
    auth: tuple[AuthResult, ...] = ()
    malware: tuple[str, ...] = ()
    dmarc_policy: DmarcPolicy | None = None
    """Set by the DMARC check when DMARC failed: what the domain owner asks for."""
    detail: str = ""
    elapsed: float = 0.0
    attachments: tuple[Attachment, ...] = ()
    """What the attachments check saw, the members of archives too (`a.zip/b.exe`)."""
    classification: Classification | None = None
    """Set by the classifier."""
    vouched: tuple[AuthResult, ...] = ()
    """Set by the ARC check: what trusted sealers say they found before they passed the mail on. Not recorded."""
    dmarc_override: str = ""
    """Set by the DMARC check when DMARC failed and its policy is not applied: why, as reports name it (RFC 9990)."""
    link_hosts: tuple[str, ...] = ()
    """Hosts of links that only this check could see (in pictures), for the Findings'. Not recorded by itself."""

    def ended(self, symbols: tuple[Symbol, ...], elapsed: float) -> CheckResult:
        """The same with these symbols, after so many seconds. `replace`, for each check of each mail, is three times as slow."""
        return CheckResult(
            self.check,
            self.status,
            symbols,
            self.auth,
            self.malware,
            self.dmarc_policy,
            self.detail,
            elapsed,
            self.attachments,
            self.classification,
            self.vouched,
            self.dmarc_override,
            self.link_hosts,
        )


@value
class Findings:
    """All that is known of a message, whoever it is for."""

    results: tuple[CheckResult, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    link_hosts: tuple[str, ...] = ()
    from_address: str = ""
    """The address in the From field, lower case; empty when there is none or more than one."""

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        """Every symbol of every check."""
        return tuple([symbol for result in self.results for symbol in result.symbols])

    @property
    def auth(self) -> tuple[AuthResult, ...]:
        """Every authentication result, in the order of the checks."""
        return tuple([auth for result in self.results for auth in result.auth])

    @property
    def malware(self) -> tuple[str, ...]:
        """Names of the signatures that matched."""
        return tuple([name for result in self.results for name in result.malware])

    @property
    def failed_checks(self) -> tuple[str, ...]:
        """Names of the checks that ended in TEMPERROR."""
        return tuple(result.check for result in self.results if result.status is CheckStatus.TEMPERROR)

    def result(self, check: str) -> CheckResult | None:
        """The result of a check by its name."""
        return next((result for result in self.results if result.check == check), None)


class ListMatch(StrEnum):
    """Which of the tenant's lists the sender is on."""

    NONE = "none"
    ALLOW = "allow"
    DENY = "deny"


@value
class ScoredSymbol:
    """A symbol with the points that this tenant's profile gives it."""

    name: str
    points: float
    description: str = ""
    evidence: tuple[str, ...] = ()
    check: str = ""
    """The check that reported it; its page in docs/checks explains the symbol."""


class Ground(StrEnum):
    """Why a profile has a say about a file."""

    RULE = "rule"
    """A rule fits it."""
    LIST = "list"
    """Its extension or type is among those forbidden."""
    UNINSPECTABLE = "uninspectable"
    """It could not be looked into to its end."""


@dataclass(frozen=True, slots=True)
class RuledFile:
    """A file about which the profile has a say.

    `word` is the rule's name, or the symbol that says why it could not be looked into. `action` is what a rule asks for; None
    when the profile has one action for all on this ground. `root` and `sha256` are those of the attachment that it is, or
    lies in; without them a scanner spoke of the mail as a whole.
    """

    name: str
    ground: Ground
    word: str = ""
    action: Action | None = None
    root: str = ""
    sha256: str = ""


@value
class Verdict:
    """What the findings mean for one tenant: the score and the facts that a policy decides by. Still no action."""

    tenant: int
    score: float = 0.0
    symbols: tuple[ScoredSymbol, ...] = ()
    malware: tuple[str, ...] = ()
    dmarc_failed: DmarcPolicy | None = None
    dmarc_override: str = ""
    """Why a failure of DMARC counts for nothing; `dmarc_failed` is None then."""
    failed_checks: tuple[str, ...] = ()
    forbidden_attachments: tuple[str, ...] = ()
    """Names of files whose extension or type is forbidden, and about which no rule decides."""
    ruled_files: tuple[RuledFile, ...] = ()
    """All files about which the profile has a say, these among them, in the order of the mail."""
    list_match: ListMatch = ListMatch.NONE
    list_entry: str = ""
    """The list entry that matched, for the explanation."""
    author_vouched: bool = False
    """The allow entry names the author in From (authenticated) or the client's address: it excuses a failure of DMARC."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Points per check, for the explanation."""
    results: tuple[CheckResult, ...] = ()
    """What the checks that look with the tenant's eyes found; their symbols are among `symbols`."""
