"""What comes of a copy that a user sends to be learned from: a closed set, in log, reply and metric."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FeedbackResult(StrEnum):
    """Of one copy, or of a whole mail to a feedback address from which no copy was taken."""

    LEARNED = "learned"
    AUTOMATIC = "automatic"
    """It was sent by no person: a bounce, an automatic answer, a list's mail."""
    FOREIGN = "foreign"
    """Its sender is nobody of the tenant."""
    UNAUTHENTICATED = "unauthenticated"
    """Nothing proves that it is from whom it says: neither SPF nor DKIM of the tenant's domain passed."""
    MALWARE = "malware"
    NO_COPY = "no_copy"
    """It has no mail attached (message/rfc822)."""
    TOO_MANY = "too_many"
    """One of more copies than are looked at."""
    TOO_LARGE = "too_large"
    NOT_OURS = "not_ours"
    """The copy does not bear our id, so nobody can tell what it is a copy of."""
    NOT_DELIVERED = "not_delivered"
    """No such mail was delivered to this user; or too long ago."""
    OTHER_MAIL = "other_mail"
    """Its Message-ID is another than that of the mail whose id it bears."""
    KNOWN = "known"
    OVERRULED = "overruled"
    LIMIT = "limit"
    NOTHING = "nothing"
    PROBE = "probe"


@dataclass(frozen=True, slots=True)
class FeedbackAddress:
    """What mail to a feedback address means. `tenant`: whose it is; None: of all tenants."""

    spam: bool
    tenant: int | None = None

    @property
    def label(self) -> str:
        """`spam` or `ham`."""
        return "spam" if self.spam else "ham"
