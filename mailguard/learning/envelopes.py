"""Recorded envelopes: JSON lines beside a corpus that say what each message came with, and how SPF, DKIM and DMARC ended."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

from mailguard.checks.recorded_auth import RecordedResults, domain_in
from mailguard.core.errors import ConfigError, Problem
from mailguard.core.verdict import AuthOutcome, DmarcPolicy

T = TypeVar("T")
PROBLEM_LIMIT = 20
"""Wrong lines that are told of one file."""

_KEYS = ("file", "client_ip", "mail_from", "rcpt_to", "mail_from_domain", "spf", "dkim", "dmarc", "dmarc_policy")
_OTHER_WORDS = {"bestguesspass": AuthOutcome.NONE, "hardfail": AuthOutcome.FAIL, "timeout": AuthOutcome.TEMPERROR}
"""Words that receivers use beside RFC 8601's. `bestguesspass`: the domain publishes no DMARC record, so nothing was passed."""


_NOTHING = RecordedResults()


@dataclass(frozen=True, slots=True)
class RecordedEnvelope:
    """One line. Empty: unknown; `mail_from` is `<>` for the null sender."""

    client_ip: str = ""
    mail_from: str = ""
    rcpt_to: str = ""
    results: RecordedResults = _NOTHING

    @property
    def passed_dmarc(self) -> bool:
        """Whether it is recorded that the domain in From was authenticated."""
        return self.results.dmarc is AuthOutcome.PASS


NOT_RECORDED = RecordedEnvelope()
"""Nothing is known."""


@dataclass(frozen=True, slots=True)
class Envelopes:
    """The lines of several files, by the path of the message: as it is given, or relative to the file's own folder."""

    _as_given: Mapping[str, RecordedEnvelope] = field(default_factory=dict)
    _by_place: Mapping[str, RecordedEnvelope] = field(default_factory=dict)
    notes: tuple[Problem, ...] = ()
    """Values that nobody understands, such as half an address: they are taken as unknown."""

    def of(self, path: str | os.PathLike[str]) -> RecordedEnvelope | None:
        """What is recorded of the message in the file `path`; None: nothing."""
        if not self._as_given and not self._by_place:
            return None
        given = os.fspath(path)
        return self._as_given.get(given) or self._by_place.get(_place(given))

    def __len__(self) -> int:
        return len(self._by_place)


def read_envelopes(files: Iterable[Path]) -> Envelopes:
    """All lines of `files`. Raises ConfigError with each line that is wrong; of two for one message the later counts."""
    as_given: dict[str, RecordedEnvelope] = {}
    by_place: dict[str, RecordedEnvelope] = {}
    problems: list[Problem] = []
    notes: list[Problem] = []
    for file in files:
        try:
            lines = file.read_bytes().splitlines()
        except OSError as error:
            problems.append(Problem(str(file), f"cannot be read: {error.strerror}"))
            continue
        wrong = 0
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                name, envelope, odd = parse_line(line)
            except ValueError as error:
                wrong += 1
                if wrong <= PROBLEM_LIMIT:
                    problems.append(Problem(f"{file}:{number}", str(error)))
                continue
            notes += [Problem(f"{file}:{number}", note) for note in odd]
            as_given[name] = envelope
            by_place[_place(os.path.join(file.parent, name))] = envelope  # noqa: PTH118 - names need not be UTF-8
    if problems:
        raise ConfigError(problems)
    return Envelopes(as_given, by_place, tuple(notes))


def parse_line(line: bytes) -> tuple[str, RecordedEnvelope, list[str]]:
    """The file that a line names, what it says, and notes of values that mean nothing and count as unknown.

    Raises ValueError when it is no such line; other keys are ignored.
    """
    texts = _texts(line)
    notes: list[str] = []
    client_ip = _known(_address, texts["client_ip"], "client_ip", notes) or ""
    mail_from = texts["mail_from"] if texts["mail_from"] == "<>" else texts["mail_from"].strip("<>")
    known = "" if mail_from == "<>" else mail_from
    results = RecordedResults(
        spf=_known(_outcome, texts["spf"], "spf", notes),
        dkim=_known(_outcome, texts["dkim"], "dkim", notes),
        dmarc=_known(_outcome, texts["dmarc"], "dmarc", notes),
        mail_from=known,
        spf_domain=domain_in(known) or domain_in(f"@{texts['mail_from_domain']}"),
        dmarc_policy=_known(DmarcPolicy, texts["dmarc_policy"], "dmarc_policy", notes) or DmarcPolicy.NONE,
    )
    return texts["file"], RecordedEnvelope(client_ip, mail_from, texts["rcpt_to"], results), notes


def _texts(line: bytes) -> dict[str, str]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError('is not JSON; each line is an object such as {"file": "ham/1.eml", "spf": "pass"}') from None
    if not isinstance(value, dict):
        raise ValueError("is no JSON object")
    texts: dict[str, str] = {}
    for key in _KEYS:
        item = value.get(key)
        if item is not None and not isinstance(item, str):
            raise ValueError(f"{key} is no text")
        texts[key] = (item or "").strip()
    if not texts["file"]:
        raise ValueError("has no `file`")
    return texts


def _known(parse: Callable[[str], T], word: str, key: str, notes: list[str]) -> T | None:
    try:
        return parse(word) if word else None
    except ValueError:
        notes.append(f"{key} {word!r} means nothing: taken as unknown")
        return None


def _outcome(word: str) -> AuthOutcome:
    return _OTHER_WORDS.get(word.lower()) or AuthOutcome(word.lower())


def _address(word: str) -> str:
    return str(ip_address(word))


def _place(path: str) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - as text, without a look at the disk: one for each of thousands of files
