"""SPF (RFC 7208) by pyspf, with all its DNS from a Resolver: pyspf runs over the answers at hand, says what it misses, and
runs again when that has been looked up. Nothing of pyspf's own DNS is used, and no state of its module."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import spf

from mailguard.checks.eager import together
from mailguard.checks.spf_memory import Key, Outcome, Seen, SpfMemory
from mailguard.core.address import domain_of, local_part_of
from mailguard.core.reply import sanitise
from mailguard.core.verdict import AuthOutcome
from mailguard.net.dns import DnsTemporaryError, Resolver, lookup_name

ROUNDS = 80
"""Most runs over one record. RFC 7208 §4.6.4 allows 10 terms with look-ups; 10 MX or PTR hosts are fetched at once."""
AHEAD_LIMIT = 40
"""Answers from which on nothing is asked for ahead of need: a record must not make us ask much more than its due."""
TIME_LIMIT = 10.0
"""Seconds for one check. RFC 7208 §4.6.4 allows to stop at 20; whoever waits for us at the door has other checks to come."""
RECORD_LIMIT = 8192
"""Octets of one record that are looked at; RFC 7208 §3.4 advises to stay within 512."""
TERM_LIMIT = 512
"""Characters of one term: a domain name has at most 253. Bounds the time that pyspf's regular expressions may take."""

_INCLUDE = re.compile(r"^(?:[+?~-]?include:|redirect=)([^%/]+)$", re.IGNORECASE)
_FAULTS = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class SpfResult:
    """The result for one identity, `mailfrom` or `helo`.

    `domain` is the one checked, as A-labels in lower case, empty when there is none. `mechanism` is the term that matched;
    `explanation` is the domain's own text (exp=) after a fail; `reason` says what was wrong. The last two are hostile text
    as one line of printable ASCII.
    """

    identity: str
    domain: str
    outcome: AuthOutcome
    mechanism: str = ""
    explanation: str = ""
    reason: str = ""


async def check_spf(
    resolver: Resolver,
    *,
    ip: str,
    helo: str,
    mail_from: str,
    hostname: str,
    time_limit: float = TIME_LIMIT,
    memory: SpfMemory | None = None,
) -> SpfResult:
    """The result of check_host() (RFC 7208 §4) for the MAIL FROM identity, or of HELO for the null sender (§2.4).

    `hostname` is our own name, for the macro %{r}. Never raises: what cannot be looked up now, or not in `time_limit`
    seconds, is a temperror. `memory` keeps results for as long as the resolver gives the same answers.
    """
    sender = mail_from or f"postmaster@{helo}"
    identity = "mailfrom" if mail_from else "helo"
    domain = lookup_name(domain_of(sender)) or ""
    if "." not in domain or domain.startswith("["):  # RFC 7208 §4.3: malformed, not multi-label, an address literal
        return SpfResult(identity, "" if domain.startswith("[") else domain, AuthOutcome.NONE)
    asked = _Asked(ip, f"{local_part_of(sender) or 'postmaster'}@{domain}", lookup_name(helo) or helo, hostname)
    try:
        async with asyncio.timeout(time_limit):
            word, mechanism, text = await _rounds(resolver, asked, memory or SpfMemory())
    except TimeoutError:
        word, mechanism, text = AuthOutcome.TEMPERROR, "", f"no result within {time_limit:g} s"
    result = SpfResult(identity, domain, word, mechanism)
    if word is AuthOutcome.FAIL:
        return replace(result, explanation=text)
    return replace(result, reason=text) if word in (AuthOutcome.PERMERROR, AuthOutcome.TEMPERROR) else result


@dataclass(frozen=True, slots=True)
class _Asked:
    """The arguments of check_host(), and what the macros %{h} and %{r} stand for."""

    ip: str
    sender: str
    helo: str
    hostname: str


async def _rounds(resolver: Resolver, asked: _Asked, memory: SpfMemory) -> Outcome:
    """Run until nothing is missing. The record of the domain itself is looked up before: without one there is no run.

    Nor is there one when all that the last one asked for is answered as it was then: a run of pyspf costs 0.06 ms and more.
    """
    answers: dict[Key, list[Any] | None] = {}
    domain = domain_of(asked.sender)
    own = (domain, "TXT")
    await _fetch_all(resolver, {own}, answers)
    texts = answers[own]
    if texts is not None and not any(spf.RE_SPF.match(text) for (text,) in texts):
        return AuthOutcome.NONE, "", ""
    seen = memory.get(asked.ip, domain)
    if seen is not None and seen.answers[own] == texts:
        await _fetch_each(resolver, seen.answers.keys() - answers.keys(), answers)
        if answers == seen.answers:
            return seen.outcome
    for _ in range(ROUNDS):
        run = _Run(asked, answers)
        outcome = run.outcome()
        if not run.missing:
            memory.put(asked.ip, domain, Seen(answers, outcome))
            return outcome
        await _fetch_all(resolver, run.missing, answers)
    return AuthOutcome.PERMERROR, "", "too many look-ups"


async def _fetch_all(resolver: Resolver, keys: set[Key], answers: dict[Key, list[Any] | None]) -> None:
    """Look up what a run lacked, and then the records that those include: the next run will want them, one by one."""
    await _fetch_each(resolver, keys, answers)
    texts = [text for key in keys if key[1] == "TXT" for (text,) in answers[key] or () if spf.RE_SPF.match(text)]
    ahead = {
        (name, "TXT")
        for text in texts
        for word in text[:RECORD_LIMIT].decode("ascii", "replace").split(" ")
        if (match := _INCLUDE.match(word)) and (name := lookup_name(match[1]))
    } - answers.keys()
    if len(ahead) <= spf.MAX_LOOKUP and len(answers) < AHEAD_LIMIT:
        await _fetch_each(resolver, ahead, answers)


async def _fetch_each(resolver: Resolver, keys: set[Key], answers: dict[Key, list[Any] | None]) -> None:
    if len(keys) == 1:
        (key,) = keys
        await _fetch(resolver, key, answers)
    elif keys:
        await together(*(_fetch(resolver, key, answers) for key in keys))


async def _fetch(resolver: Resolver, key: Key, answers: dict[Key, list[Any] | None]) -> None:
    """Look one name up, into the form that pyspf takes: TXT as lists of strings. None stands for a failure."""
    name, rdtype = key
    try:
        records = (await resolver.query(name, rdtype)).records
    except DnsTemporaryError:
        answers[key] = None
    else:
        answers[key] = [(record,) for record in records] if rdtype == "TXT" else list(records)


class _MissingError(Exception):
    """Ends a run of pyspf that lacks an answer."""


class _Run(spf.query):  # type: ignore[misc]
    """One run over the answers known so far. `missing` names what it lacked: then its result means nothing."""

    def __init__(self, asked: _Asked, answers: dict[Key, list[Any] | None]) -> None:
        self.missing: set[Key] = set()
        self._answers = answers
        super().__init__(i=asked.ip, s=asked.sender, h=asked.helo, receiver=asked.hostname, strict=True)
        # pyspf takes what follows the first @, which a quoted local part may have: then it asked no domain at all.
        self.l, _, self.o = asked.sender.rpartition("@")
        self.d = self.o
        self.set_default_explanation("")

    def outcome(self) -> Outcome:
        """Run check_host()."""
        try:
            word, _, text = self.check()
        except _MissingError:
            return AuthOutcome.TEMPERROR, "", ""
        except _FAULTS as fault:  # a record that pyspf did not foresee
            return AuthOutcome.PERMERROR, "", sanitise(str(fault))
        return AuthOutcome(word), sanitise(str(self.mechanism or "")), sanitise(str(text))

    def dns(self, name: str, qtype: str, cnames: object = None, ignore_void: bool = False) -> list[Any]:
        """Replaces pyspf's look-up. Aliases were followed by the resolver."""
        asked = lookup_name(name) if str(name).isascii() else None  # RFC 8616 §5: no match by a non-ASCII local part
        if asked is None:
            return []
        found = self._known((asked, qtype))
        if not found and not ignore_void:
            self.void_lookups += 1
            if self.void_lookups > spf.MAX_VOID_LOOKUPS:
                raise spf.PermError(f"Void lookup limit of {spf.MAX_VOID_LOOKUPS} exceeded")
        return found

    def dns_mx(self, domainname: str) -> list[str]:
        """Asks for the addresses of all MX hosts at once rather than in a run each."""
        hosts = self._known((lookup_name(domainname) or "", "MX")) if lookup_name(domainname) else []
        if len(hosts) <= spf.MAX_MX:
            self._want([host for _, host in hosts])
        addresses: list[str] = super().dns_mx(domainname)
        return addresses

    def validated_ptrs(self) -> list[str]:
        """RFC 7208 §5.5: a failed PTR look-up matches nothing; a name whose addresses cannot be had is skipped."""
        try:
            names = self.dns_ptr(self.i)[: spf.MAX_PTR]
        except spf.TempError:
            return []
        self._want(names)
        valid = []
        for name in names:
            try:
                if self.cidrmatch(self.dns_a(name, self.A), self.cidrmax):
                    valid.append(name.lower())
            except spf.TempError:
                continue
        return valid

    def cidrmatch(self, ipaddrs: Iterable[str], n: int) -> bool:
        """Whether the client is in one of the networks; as pyspf's own, without making objects of hundreds of them."""
        family = socket.AF_INET if self.ipaddr.version == 4 else socket.AF_INET6
        client = int(self.ipaddr)
        shift = int(self.ipaddr.max_prefixlen) - n
        try:
            return any(int.from_bytes(socket.inet_pton(family, ip)) ^ client < 1 << shift for ip in ipaddrs)
        except OSError as error:
            raise spf.PermError(str(error)) from None

    def check0(self, spf_record: str | None, recursion: int) -> Any:
        """Refuses records that could take long to match."""
        if spf_record and (len(spf_record) > RECORD_LIMIT or max(map(len, spf_record.split(" "))) > TERM_LIMIT):
            raise spf.PermError("The record is too long")
        return super().check0(spf_record, recursion)

    def _known(self, key: Key) -> list[Any]:
        if key not in self._answers:
            self.missing.add(key)
            raise _MissingError
        found = self._answers[key]
        if found is None:
            raise spf.TempError(f"no answer for {key[0]} {key[1]}")
        return list(found)

    def _want(self, names: list[str]) -> None:
        wanted = {(asked, self.A) for name in names if (asked := lookup_name(name))}
        self.missing |= wanted - self._answers.keys()
        if self.missing:
            raise _MissingError
