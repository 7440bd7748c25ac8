"""The hashes check: files that stand on a list of known bad ones, by the SHA-256 of their content. Lists are read in hashes_file.

A hash is as sure as a signature: who is on a list is malware.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mailguard.checks.base import CheckContext
from mailguard.core.verdict import CheckResult, Symbol

DIGEST = 32
"""Octets of a SHA-256."""
KNOWN_BAD = Symbol("KNOWN_BAD_FILE", 0.0, "a file is on a list of known bad files")
"""It has no points: malware has an action of its own."""
EVIDENCE_LIMIT = 5


@dataclass(frozen=True, slots=True)
class KnownFile:
    """What a list says of a hash: its name there, the list, and where and when the list came from."""

    name: str
    list: str
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class KnownFiles:
    """Hashes in octets, sorted and one after the other, and for each the number of what is known of it: 36 octets a hash."""

    digests: bytes = field(default=b"", repr=False)
    numbers: Sequence[int] = ()
    known: tuple[KnownFile, ...] = ()

    def __len__(self) -> int:
        return len(self.digests) // DIGEST

    def find(self, sha256: str) -> KnownFile | None:
        """What is known of a hash in hexadecimal; of something that is no SHA-256 nothing."""
        try:
            wanted = bytes.fromhex(sha256)
        except ValueError:
            return None
        if len(wanted) != DIGEST:
            return None
        at = bisect_left(range(len(self)), wanted, key=self._digest)
        return self.known[self.numbers[at]] if at < len(self) and self._digest(at) == wanted else None

    def hashes(self) -> Iterator[str]:
        """All of them in hexadecimal."""
        return (self._digest(at).hex() for at in range(len(self)))

    def _digest(self, at: int) -> bytes:
        return self.digests[at * DIGEST : (at + 1) * DIGEST]


class HashesCheck:
    """Reports KNOWN_BAD_FILE, and the file as malware, when a file's hash is on a list: attached ones and those within."""

    name = "hashes"
    needs: tuple[str, ...] = ("attachments", "unpack")

    def __init__(self, known: Callable[[], KnownFiles]) -> None:
        self._known = known

    async def run(self, context: CheckContext, results: Mapping[str, CheckResult]) -> CheckResult:
        """See Check."""
        known = self._known()
        evidence: dict[str, None] = {}
        malware: dict[str, None] = {}
        files = {file.sha256: file for result in results.values() for file in result.attachments if file.sha256}
        for sha256, file in files.items() if known else ():
            if (one := known.find(sha256)) is not None:
                evidence[f"{file.name}: {one.name} ({one.list})"] = None
                malware[f"KnownBad.{one.name}"] = None
        if not malware:
            return CheckResult(self.name, detail=f"{len(files)} files")
        symbol = Symbol(KNOWN_BAD.name, KNOWN_BAD.score, KNOWN_BAD.description, (*evidence,)[:EVIDENCE_LIMIT])
        return CheckResult(self.name, symbols=(symbol,), malware=(*malware,), detail=", ".join(malware))
