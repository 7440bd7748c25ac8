"""What happens to a mail, per recipient: actions, the closed set of reasons, and the Decision that joins them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mailguard.core.reply import Reply
from mailguard.core.values import value


class Action(StrEnum):
    """What a policy may do with a mail for one recipient."""

    DELIVER = "deliver"
    TAG = "tag"
    STRIP = "strip"
    """Deliver without some of its attachments; the whole original is kept in quarantine."""
    QUARANTINE = "quarantine"
    HOLD = "hold"
    """Keep durably, scan again when the scanner is back or some time has passed, then decide anew."""
    REJECT = "reject"
    DEFER = "defer"
    DISCARD = "discard"

    @property
    def accepts(self) -> bool:
        """Whether the sender hears 250 for it."""
        return self not in (Action.REJECT, Action.DEFER)


class Reason(StrEnum):
    """Why: a closed set, used in decisions, events, logs and metrics."""

    CLEAN = "clean"
    SPAM_SCORE = "spam_score"
    MALWARE = "malware"
    DMARC_FAIL = "dmarc_fail"
    FORBIDDEN_ATTACHMENT = "forbidden_attachment"
    """A file is of a forbidden kind, or a rule for attachments fits it."""
    UNINSPECTABLE_ATTACHMENT = "uninspectable_attachment"
    """A file could not be looked into to its end: encrypted, over a limit, broken."""
    STRIPPED_ATTACHMENT = "stripped_attachment"
    """The original of a mail that was delivered without some of its attachments."""
    SCANNER_FAILED = "scanner_failed"
    SYMBOL_RULE = "symbol_rule"
    """A symbol for which the profile names an action of its own (an encrypted archive, a scanner's limit)."""
    DENY_LIST = "deny_list"
    ALLOW_LIST = "allow_list"
    REJECTED_FOR_OTHERS = "rejected_for_others"
    """Rejected by policy, but another recipient of the same message accepted: kept in quarantine, no backscatter."""
    DEFERRED_FOR_OTHERS = "deferred_for_others"
    """Deferred by policy, but another recipient accepted: held; or to be rejected, but another recipient is deferred."""
    # the door
    UNKNOWN_DOMAIN = "unknown_domain"
    UNKNOWN_RECIPIENT = "unknown_recipient"
    UNVERIFIED_RECIPIENT = "unverified_recipient"
    """Nobody could say whether the recipient exists: deferred."""
    MAIL_LOOP = "mail_loop"
    TOO_LARGE = "too_large"
    UNSUPPORTED_BY_NEXT_HOP = "unsupported_by_next_hop"
    BAD_SYNTAX = "bad_syntax"
    RATE_LIMIT = "rate_limit"
    GREYLISTED = "greylisted"
    TOO_MANY_RECIPIENTS = "too_many_recipients"
    LOCAL_ERROR = "local_error"
    # delivery
    NEXT_HOP_ACCEPTED = "next_hop_accepted"
    NEXT_HOP_UNAVAILABLE = "next_hop_unavailable"
    NEXT_HOP_REFUSED = "next_hop_refused"
    OUTCOME_UNKNOWN = "outcome_unknown"
    QUEUE_EXPIRED = "queue_expired"
    NO_ROUTE = "no_route"
    """There is nowhere to send it on to: kept until somebody configures it."""
    SENDER_UNAUTHENTICATED = "sender_unauthenticated"
    """A failure that may not be told to MAIL FROM (backscatter): kept as undeliverable."""
    NOTICE_UNWANTED = "notice_unwanted"
    """A failure of which the sender asked not to be told (RFC 3461 NOTIFY): kept as undeliverable."""
    # people and upkeep
    RELEASED_BY_ADMIN = "released_by_admin"
    DELETED_BY_ADMIN = "deleted_by_admin"
    CANCELLED_BY_ADMIN = "cancelled_by_admin"
    RETENTION = "retention"
    WORKER_DIED = "worker_died"
    JOURNAL_REPLAY = "journal_replay"
    RESCANNED = "rescanned"
    DSN_SENT = "dsn_sent"
    REPORT_SENT = "report_sent"
    """A report of ours to a client, such as the monthly one: not a client's mail, and judged by no policy."""


@dataclass(frozen=True, slots=True)
class Unwanted:
    """An attachment that is to be taken out of a mail.

    `name` as the sender wrote it and `sha256` of its content, as in its facts (verdict.Attachment). `because`: the file on
    whose account it goes (`a.zip/b.exe`) and why, for people.
    """

    name: str
    sha256: str
    because: str


@value
class Decision:
    """What happens to the message for one recipient, and why.

    `recipient` is the number of the Recipient in the envelope. `explanation` is for people (`score 8.2 ≥ quarantine at
    6.0`); `policy` is the profile's name and `policy_hash` identifies its exact text. `reply` is what the sender hears
    if this decision stands alone. `strip`: what is taken out, when the action is STRIP. `hold_for`: how long mail is held,
    counted from when it came, in milliseconds; 0: until the scanner is back.
    """

    recipient: int
    action: Action
    reason: Reason
    explanation: str
    policy: str
    policy_hash: str
    reply: Reply
    subject_tag: str = ""
    strip: tuple[Unwanted, ...] = ()
    hold_for: int = 0
