"""The closed sets of what metrics tell apart: values of their labels."""

from __future__ import annotations

from enum import StrEnum


class ErrorKind(StrEnum):
    """What of ours failed: the closed set of `mailguard_errors_total`."""

    PIPELINE = "pipeline"
    """Unforeseen, answered 451 4.3.0: a bug until shown otherwise."""
    CHECK = "check"
    """A check crashed or timed out (TEMPERROR)."""
    QUEUE = "queue"
    DATABASE = "database"
    STORAGE = "storage"
    JOURNAL = "journal"
    SCANNER = "scanner"
    DNS = "dns"
    TLS = "tls"
    PROTOCOL = "protocol"
    DIRECTORY = "directory"
    UPKEEP = "upkeep"


class AttemptResult(StrEnum):
    """How one delivery attempt ended for one recipient."""

    DELIVERED = "delivered"
    TEMPORARY = "temporary"
    PERMANENT = "permanent"
    UNKNOWN = "unknown"


class AttemptPurpose(StrEnum):
    """What a delivery attempt was for: in the sender's session, or from the queue."""

    CUT_THROUGH = "cut_through"
    FORWARD = "forward"
    RELEASE = "release"
    DSN = "dsn"
    REPORT = "report"


class VerificationResult(StrEnum):
    """What came of verifying one recipient; the first six are accepted."""

    KNOWN = "known"
    REMEMBERED = "remembered"
    """Known before, and its server cannot be asked now."""
    ACCEPTS_ANY = "accepts_any"
    """Its server accepts any address, so that its word is worth nothing."""
    UNCLEAR = "unclear"
    """Its server refused the question, or the address for another reason than that it does not exist."""
    EXEMPT = "exempt"
    """postmaster@ and abuse@."""
    UNKNOWN = "unknown"
    UNVERIFIED = "unverified"
    """Nobody can tell now: deferred."""
    ERROR = "error"
    """A failure of ours: deferred."""


class CallAheadResult(StrEnum):
    """What came of asking a next hop about one recipient."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    UNCLEAR = "unclear"
    ACCEPTS_ANY = "accepts_any"
    FAILED = "failed"
    BUSY = "busy"
    """Not asked: too many of the tenant's were under way."""
