"""What SPF came to, by the answers that it was worked out from: the same answers again make the same result, without a run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mailguard.core.verdict import AuthOutcome

Key = tuple[str, str]
"""What was asked: a name and a type."""
Answers = Mapping[Key, list[Any] | None]
"""Records by what was asked, in the form that pyspf takes; None stands for a failure."""
Outcome = tuple[AuthOutcome, str, str]
"""The result, the mechanism that matched, and the explanation or what was wrong: safe text."""

REMEMBERED = 1_000
"""Results that are kept."""
OCTETS_LIMIT = 8_192
"""Octets of all records of one result, so that a thousand hostile ones do not fill the memory."""
RECORD_COST = 64
"""Octets that a record counts beside its text."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A result, and every answer that went into it."""

    answers: Answers
    outcome: Outcome


class SpfMemory:
    """Results of a client's address at a domain. Only those are kept that depend on nothing else: a record with a macro may ask
    for the local part or HELO, and what failed may be answered the next time."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str], Seen] = OrderedDict()

    def get(self, ip: str, domain: str) -> Seen | None:
        """What was seen last, if it is still known. It holds only where all its answers are given again."""
        found = self._seen.get((ip, domain))
        if found is not None:
            self._seen.move_to_end((ip, domain))
        return found

    def put(self, ip: str, domain: str, seen: Seen) -> None:
        """Keep a result, if it may be kept, and forget the one that was not asked for the longest."""
        if not _may_be_kept(seen.answers):
            return
        self._seen[ip, domain] = seen
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)


def _may_be_kept(answers: Answers) -> bool:
    octets = 0
    for (_, rdtype), records in answers.items():
        if records is None:
            return False
        octets += RECORD_COST * (1 + len(records))
        if rdtype == "TXT":
            octets += sum(len(text) for (text,) in records)
            if any(b"%" in text for (text,) in records):
                return False
    return octets <= OCTETS_LIMIT
