"""What a tenant knows of the author of a mail: who wrote before, authenticated, and what became of it. Values alone."""

from __future__ import annotations

from dataclasses import dataclass

AUTHENTICATED = "AUTHOR_AUTHENTICATED"
"""Symbol of the check `history`, with the evidence (address, organisational domain, display name) that is remembered."""
UNPROVEN = "AUTHOR_UNPROVEN"
"""The same of a mail whose author nothing proves: of it only the domain is remembered, and the address if it was known."""


@dataclass(frozen=True, slots=True)
class Correspondent:
    """An author's address, or with an empty `address` all of a domain. Times in milliseconds UTC.

    `days`: on which mail came through. `delivered`, `released`, `quarantined` and `reported` (as spam or worse, after its
    delivery) count mail that was authenticated; `unproven` what was delivered without that.
    """

    domain: str
    address: str = ""
    name: str = ""
    first_at: int = 0
    last_at: int = 0
    days: int = 0
    delivered: int = 0
    released: int = 0
    quarantined: int = 0
    reported: int = 0
    unproven: int = 0

    @property
    def heard(self) -> int:
        """Mails that reached somebody."""
        return self.delivered + self.released

    @property
    def complained(self) -> bool:
        """Whether so much of its mail was reported that it speaks against it."""
        return self.reported * 5 > self.heard

    @property
    def known(self) -> bool:
        """Whether it wrote before, and was wanted: more came through than was kept, and hardly anybody complained."""
        return self.heard > self.quarantined - self.released and self.heard > 0 and not self.complained


@dataclass(frozen=True, slots=True)
class Acquaintance:
    """All that is known with regard to one author and one tenant; None and zero: nothing.

    `namesakes` are other addresses that wrote under the same name. `domain_since`: when anybody first wrote from the domain
    to any tenant; `remembered_since`: when writing that down began (ms UTC).
    """

    author: Correspondent | None = None
    domain: Correspondent | None = None
    namesakes: tuple[Correspondent, ...] = ()
    domain_since: int = 0
    remembered_since: int = 0
