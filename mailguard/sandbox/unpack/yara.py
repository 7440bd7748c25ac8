"""YARA rules on every file of the tree. Compiled in the relay, made ready here before the process gives up its rights.

YARA-X turns rules into machine code when they are loaded, and imports a module of Python at its first answer: both can only be
done before. Its own time limit needs a thread, which the sandbox does not have: files are bounded by size, a job by its CPU time.
"""

from __future__ import annotations

import io
import time

import yara_x

from mailguard.sandbox.unpack.work import File, Work

PREFIX = "YARA_"
"""What the symbol of a rule starts with."""
OCTETS = 16 * 1024 * 1024
"""Octets of the largest file that rules look at."""
SECONDS = 0.5
"""CPU time of a job after which no further file is looked at."""
MATCHES = 16
"""Matches of a string that are looked for in a file; a rule that counts further ones does not match."""


class Rules:
    """Rules that are ready: none until `prepare`."""

    def __init__(self) -> None:
        self._scanner: yara_x.Scanner | None = None

    def prepare(self, compiled: bytes) -> None:
        """Load rules as `Rules.serialize_into` of YARA-X wrote them, or none; look at a file with them once."""
        if not compiled:
            self._scanner = None
            return
        self._scanner = scanner = yara_x.Scanner(yara_x.Rules.deserialize_from(io.BytesIO(compiled)))
        scanner.max_matches_per_pattern(MATCHES)
        scanner.scan(b"MZ")

    def look(self, files: list[File], work: Work) -> None:
        """Report the rules that match each file: YARA_<NAME>, with the strings that were found."""
        if self._scanner is None:
            return
        until = time.process_time() + SECONDS
        for file in files:
            if not file.raw:
                continue
            if len(file.raw) > OCTETS or time.process_time() > until:
                work.found(file, "YARA_UNFINISHED")
                continue
            for rule in self._scanner.scan(file.raw).matching_rules:
                strings = [pattern.identifier for pattern in rule.patterns if pattern.matches]
                work.found(file, symbol_of(rule.identifier), " ".join(strings))


def symbol_of(rule: str) -> str:
    """The symbol of a rule by its name."""
    return PREFIX + rule.upper()


RULES = Rules()
"""Those of this process; set once, before its first job."""
