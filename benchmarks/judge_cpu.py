"""What judging costs: CPU milliseconds a message for parsing and for every check but clamd, in all and check by check.

    python benchmarks/judge_cpu.py FOLDER [--rounds 20] [--json] [--profile FILE]

Judges every `*.eml` of a folder in this process, `--rounds` times, each time as a new mail: with a token in its Subject and
text, from `a@sender.test` and signed by it. The checks are those that run by default, the DNS is a zone in memory, and of
the checks for a tenant those run that need no database. The totals come from rounds of their own, so that measuring the
checks does not count. `text` is what several checks share: HTML to text, normalising, links.
"""

from __future__ import annotations

import argparse
import base64
import cProfile
import gc
import json
import re
import statistics
import sys
import time
from collections.abc import Coroutine, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from unittest import mock

import dkim
import uvloop
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

from mailguard.app.filter import Filter, build_filter
from mailguard.app.tenant_checks import tenant_checks
from mailguard.checks.rules_scanner import Scanner, compiled
from mailguard.checks.runner import Runner
from mailguard.config.settings import CHECKS, Settings
from mailguard.core.clock import system_clock
from mailguard.core.envelope import Envelope, Recipient, Session
from mailguard.core.ids import new_message_id
from mailguard.core.tenant import Directory, Domain, Tenant
from mailguard.message.parse import Message, parse
from mailguard.net.dns import StaticResolver
from mailguard.ops import log as logs
from mailguard.pipeline.judge import Judge

POLICIES = Path(__file__).parent.parent / "policies"
TENANT = Tenant(2, "client")
SESSION = Session("bench", "127.0.0.1", helo="mail.sender.test", esmtp=True)
RECIPIENT = Recipient("u@client.test", 2, "client.test")
DROPPED = re.compile(
    rb"^(DKIM-Signature|ARC-[^:\n]*|Message-ID|From|Return-Path|Received-SPF|Authentication-Results):.*\n(?:[ \t].*\n)*",
    re.IGNORECASE | re.MULTILINE,
)
SUBJECT = re.compile(rb"^Subject: ?", re.IGNORECASE | re.MULTILINE)
TEXT = re.compile(rb"^Content-Type: *text/(?:plain|html)[^\n]*\n(?:[^\n]+\n)*\n", re.IGNORECASE | re.MULTILINE)


class Signer:
    """A key of `domain`, made anew unless given in PEM."""

    def __init__(self, domain: str = "sender.test", pem: bytes = b"") -> None:
        self.domain = domain
        loaded = serialization.load_pem_private_key(pem, None) if pem else None
        if loaded is not None and not isinstance(loaded, rsa.RSAPrivateKey):
            raise ValueError("not an RSA key")
        key = self._key = loaded or rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )

    @property
    def record(self) -> str:
        """The key record (RFC 6376 §3.6.1)."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        der = self._key.public_key().public_bytes(serialization.Encoding.DER, form)
        return f"v=DKIM1; k=rsa; p={base64.b64encode(der).decode()}"

    def signed(self, mail: bytes) -> bytes:
        """The mail with a signature on top."""
        names = [b"from", b"subject", b"message-id", b"date", b"to"]
        # dkimpy's own RSA is pure Python: signing would take longer than all that is measured.
        with mock.patch.object(dkim, "RSASSA_PKCS1_v1_5_sign", self._by_cryptography):
            return bytes(dkim.sign(mail, b"bench", self.domain.encode(), self._pem, include_headers=names)) + mail

    def _by_cryptography(self, digest: Any, _: object) -> bytes:
        return self._key.sign(digest.digest(), padding.PKCS1v15(), utils.Prehashed(hashes.SHA256()))


def as_new(template: bytes, token: bytes, signer: Signer) -> bytes:
    """A mail that no cache has seen: from the signer's domain, with the token in its Subject and text, signed, lines ended by CRLF."""
    head, _, body = template.replace(b"\r\n", b"\n").partition(b"\n\n")
    head = SUBJECT.sub(b"Subject: " + token + b" ", DROPPED.sub(b"", head + b"\n"), count=1)
    text = TEXT.search(body)
    at = text.end() if text and b"base64" not in text.group().lower() else 0
    body = body[:at] + b"ref " + token + b"\n" + body[at:]
    domain = signer.domain.encode()
    head = b"From: Bench Sender <a@" + domain + b">\nMessage-ID: <" + token + b"@" + domain + b">\n" + head
    return signer.signed((head + b"\n" + body).rstrip(b"\n").replace(b"\n", b"\r\n") + b"\r\n")


class Spent:
    """CPU seconds by what they were spent on, of one message after the other."""

    def __init__(self) -> None:
        self.of: dict[str, list[float]] = {}
        self.now: dict[str, float] = {}

    def add(self, name: str, seconds: float) -> None:
        """Count for the message at hand."""
        self.now[name] = self.now.get(name, 0.0) + seconds

    def next(self) -> None:
        """End with the message at hand."""
        for name, seconds in self.now.items():
            self.of.setdefault(name, []).append(seconds)
        self.now = {}


@dataclass(slots=True)
class Timed:
    """A check, or a tenant's check, whose CPU time is counted."""

    check: Any
    spent: Spent
    name: str = field(init=False)
    needs: tuple[str, ...] = field(init=False)
    waits: bool = field(init=False)

    def __post_init__(self) -> None:
        self.name = self.check.name
        self.needs = getattr(self.check, "needs", ())
        self.waits = getattr(self.check, "waits", True)

    async def run(self, *given: Any) -> Any:
        """See Check."""
        return await _Counted(self.check.run(*given), self.name, self.spent)


@dataclass(frozen=True, slots=True)
class _Counted:
    """A coroutine whose steps are counted, but not what runs while it waits."""

    running: Coroutine[Any, Any, Any]
    name: str
    spent: Spent

    def __await__(self) -> Generator[Any, Any, Any]:
        resume = partial(self.running.send, None)
        while True:
            began = time.process_time()
            try:
                waited = resume()
            except StopIteration as end:
                return end.value
            finally:
                self.spent.add(self.name, time.process_time() - began)
            try:
                resume = partial(self.running.send, (yield waited))
            except BaseException as error:  # noqa: BLE001 - it is the coroutine's to take
                resume = partial(self.running.throw, error)


def build(signer: Signer, spent: Spent | None = None) -> Filter:
    """What judges at the door, without clamd and a database. With `spent`, each check's time is told."""
    settings = Settings.model_validate({"policies": {"path": str(POLICIES)}})
    resolver = StaticResolver(
        {
            "sender.test": {"TXT": ["v=spf1 ip4:127.0.0.0/8 -all"], "A": ["127.0.0.1"]},
            "mail.sender.test": {"A": ["127.0.0.1"]},
            "_dmarc.sender.test": {"TXT": ["v=DMARC1; p=reject; rua=mailto:d@sender.test"]},
            "bench._domainkey.sender.test": {"TXT": [signer.record]},
        }
    )
    directory = Directory.of([TENANT], [Domain("client.test", TENANT.id)])
    made = build_filter(
        settings,
        directory=lambda: directory,
        resolver=resolver,
        checks=[name for name in CHECKS if name != "clamav"],
        tenant_checks=tenant_checks(settings, None, clock=system_clock),
    )
    rules = made.rules.current
    if not rules.scanned:  # as workers have it soon after rules have come into force
        vars(made.rules)["_rules"] = rules.scanned_by(_scanner(tuple(rules.patterns)))
    if spent is not None:
        of_judge = vars(made.judge)
        runner = vars(of_judge["_runner"])
        checks = {step.name: step.check for step in (*runner["_in_turn"], *runner["_beside"])}
        of_judge["_runner"] = Runner(
            [Timed(checks[name], spent) for name in runner["names"]],
            tenant_checks=[Timed(check, spent) for check in runner["_tenant_checks"]],
            points=runner["_points"],
        )
    return made


@lru_cache(maxsize=1)
def _scanner(patterns: tuple[str, ...]) -> Scanner:
    return Scanner(compiled(patterns))


def share(message: Message) -> None:
    """Work out what several checks read."""
    _ = message.links, message.link_hosts, message.visible_text, message.shown_subject, message.shown_from


async def measure(made: Judge, raw: bytes, spent: Spent, *, apart: bool) -> None:
    """Judge one mail. `apart`: parsing and what is shared count for themselves."""
    envelope = Envelope(new_message_id(), "a@sender.test", recipients=(RECIPIENT,))
    began = time.process_time()
    message = parse(raw)
    parsed = time.process_time()
    if apart:
        share(message)
        spent.add("parse", parsed - began)
        spent.add("text", time.process_time() - parsed)
    findings = await made.find(SESSION, envelope, message)
    judgements = await made.conclude(SESSION, envelope, message, findings)
    spent.add("all", time.process_time() - began)
    if (failed := judgements[0].verdict.failed_checks) or not findings.results:
        sys.exit(f"a check could not be done: {failed}")
    spent.next()


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU milliseconds of one thing, over all messages and rounds; p99 by nearest rank.

    `least` is the median of what each message cost in its best round: what is left of it on a machine that others use.
    """

    least: float
    median: float
    mean: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float], messages: int) -> Cost:
        """From the seconds of each of so many messages, round by round."""
        least = 1_000 * statistics.median(min(seconds[at::messages]) for at in range(messages))
        ordered = sorted(1_000 * one for one in seconds)
        p99 = ordered[max(0, -(-len(ordered) * 99 // 100) - 1)]
        return cls(least, statistics.median(ordered), statistics.fmean(ordered), p99)


async def run(
    templates: Mapping[str, bytes], rounds: int, profile: Path | None
) -> tuple[Mapping[str, Cost], Mapping[str, Cost]]:
    """The cost of all and of each check, and the cost of each message."""
    logs.configure(level="error", form="console")
    signer, total, by_check = Signer(), Spent(), Spent()
    plain, timed = build(signer), build(signer, by_check)
    by_message: dict[str, list[float]] = {name: [] for name in templates}
    profiler = cProfile.Profile()
    gc.collect()
    gc.freeze()  # as the relay does when it has started
    for number in range(-2, rounds):  # two rounds warm up
        # All are made before one is judged: signing would take the processor's caches from what is measured.
        plain_mails, timed_mails = (
            [as_new(template, f"{word}-{number}-{name}".encode(), signer) for name, template in templates.items()]
            for word in ("plain", "timed")
        )
        for name, raw in zip(templates, plain_mails, strict=True):
            if profile is not None and number >= 0:
                with profiler:
                    await measure(plain.judge, raw, total, apart=False)
            else:
                await measure(plain.judge, raw, total, apart=False)
            by_message[name].append(total.of["all"][-1])
        for raw in timed_mails:
            await measure(timed.judge, raw, by_check, apart=True)
        if number < 0:
            total.of.clear()
            by_check.of.clear()
            by_message = {name: [] for name in templates}
    await plain.close()
    await timed.close()
    if profile is not None:
        profiler.dump_stats(profile)
    seconds = {"all": total.of["all"], **{name: times for name, times in by_check.of.items() if name != "all"}}
    known = [times for name, times in seconds.items() if name != "all"]
    seconds["rest"] = [whole - sum(parts) for whole, *parts in zip(by_check.of["all"], *known, strict=True)]
    return (
        {name: Cost.of(times, len(templates)) for name, times in seconds.items() if len(times) == len(seconds["all"])},
        {name: Cost.of(times, 1) for name, times in by_message.items()},
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--profile", type=Path, metavar="FILE", help="write a profile for pstats; the times are worthless then"
    )
    given = parser.parse_args()
    templates = {path.name: path.read_bytes() for path in sorted(given.folder.glob("*.eml"))}
    if not templates:
        sys.exit(f"{given.folder}: no *.eml there")
    with suppress(KeyboardInterrupt):
        costs, messages = uvloop.run(run(templates, given.rounds, given.profile))
        if given.json:
            values = {"rounds": given.rounds, "cost": costs, "messages": messages}
            print(
                json.dumps(
                    values, indent=1, default=lambda cost: {k: round(getattr(cost, k), 4) for k in cost.__slots__}
                )
            )
            return
        print(f"CPU ms a message, {len(messages)} messages, {given.rounds} rounds\n")
        for title, table in (("check", costs), ("message", messages)):
            print(f"{title:22} {'least':>8} {'median':>8} {'mean':>8} {'p99':>8}")
            for name, cost in sorted(table.items(), key=lambda one: -one[1].mean):
                print(f"{name:22} {cost.least:8.3f} {cost.median:8.3f} {cost.mean:8.3f} {cost.p99:8.3f}")
            print()


if __name__ == "__main__":
    main()
