"""Recipient verification by asking the next hop: MAIL FROM:<>, RCPT TO, and nothing sent. Answers are kept and shared.

A server that accepts an address that cannot exist accepts anything: its answers tell nothing, and all recipients pass.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from random import Random, SystemRandom
from string import ascii_lowercase

from mailguard.core.clock import DAY, HOUR, MINUTE, Clock
from mailguard.core.envelope import MailOptions, Recipient
from mailguard.core.errors import UnavailableError
from mailguard.core.mailbox import Mailbox
from mailguard.core.tenant import Domain
from mailguard.delivery.forward import Asked, Job
from mailguard.net.smtp_values import Answer, Stage
from mailguard.ops.log import MailLog
from mailguard.ops.metrics import CallAheadResult, Metrics
from mailguard.store.verifications import Said, ServerAnswer, Verifications

NO_SUCH_MAILBOX = frozenset({550, 551, 553, 556})
"""Codes that, without an enhanced one, mean that there is no such mailbox (RFC 5321 §3.4, §4.2.3; 556 of RFC 7504)."""
OTHER_ADDRESSES = frozenset({"5.1.7", "5.1.8"})
"""Of the sender's address, not the recipient's (RFC 3463 §3.2)."""
ALSO_UNKNOWN = frozenset({"5.2.1", "5.4.1"})
"""Mailbox disabled (RFC 3463 §3.3); 5.4.1 is what Exchange Online says when its directory has no such recipient."""

Ask = Callable[[Job], Awaitable[Asked]]
"""Asks the next hops of a job about its recipients (Forwarder.ask)."""
Source = Callable[[Sequence[str]], Awaitable[Asked]]
"""Asks somebody else than the next hop about addresses, in the same terms."""
Heard = Mapping[str, ServerAnswer]
"""What one question came to: answers by mailbox key or `@domain`; none when it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallAheadSettings:
    """Times in milliseconds, but `timeout` in seconds.

    `positive`, `negative` and `accepts_any` say how long such an answer counts; a known recipient is remembered for
    `remembered` after it was last known. At most `in_flight` questions of one tenant are asked at a time; those that wait
    longer than `timeout` are given up. `memory`: answers that this process keeps at hand.
    """

    positive: int = 7 * DAY
    negative: int = 5 * MINUTE
    accepts_any: int = HOUR
    remembered: int = 90 * DAY
    timeout: float = 20.0
    in_flight: int = 20
    memory: int = 20_000


class CallAhead:
    """Answers by memory, by the database, else by the next hop, in this order."""

    def __init__(
        self,
        ask: Ask,
        verifications: Verifications,
        *,
        settings: CallAheadSettings,
        log: MailLog,
        metrics: Metrics,
        clock: Clock,
        random: Random | None = None,
    ) -> None:
        self._ask = ask
        self._verifications = verifications
        self._settings = settings
        self._log = log
        self._metrics = metrics
        self._clock = clock
        self._random = random or SystemRandom()
        self._memory: OrderedDict[tuple[int, str], ServerAnswer] = OrderedDict()
        self._version = -1
        self._in_flight: dict[int, asyncio.Semaphore] = {}
        self._asking: dict[tuple[int, str], asyncio.Task[Heard]] = {}

    async def said(
        self, mailbox: Mailbox, domain: Domain, *, version: int, source: Source | None = None
    ) -> tuple[ServerAnswer | None, bool]:
        """What the domain's next hop, or `source` in its stead, says about a mailbox, and whether that still counts by its age.

        An answer that does not was given before the server could not be asked any more; None when there is none. `version`
        is the directory's: with a new one the memory is forgotten.
        """
        self._renew(version)
        whole = f"@{domain.name}"
        known = await self._recall(domain.tenant, (mailbox.key, whole))
        fresh = {key: answer for key, answer in known.items() if self._fresh(answer)}
        if (answer := _deciding(fresh, mailbox.key, whole)) is not None:
            return answer, True
        heard = await self._once(mailbox, domain, probe=whole not in fresh, source=source)
        if (answer := _deciding(heard, mailbox.key, whole)) is not None:
            return answer, True
        return known.get(mailbox.key) or known.get(whole), False

    async def close(self) -> None:
        """Give up the questions under way."""
        for task in list(self._asking.values()):
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    # what is known

    def _renew(self, version: int) -> None:
        if version != self._version:
            self._memory.clear()
            self._version = version

    def _fresh(self, answer: ServerAnswer | None) -> bool:
        return answer is not None and self._clock() < answer.expires_at

    async def _recall(self, tenant: int, keys: Collection[str]) -> dict[str, ServerAnswer]:
        """From memory, and what is not there or has expired from the database: another worker may have asked."""
        known = {key: answer for key in keys if (answer := self._memory.get((tenant, key)))}
        stale = [key for key in keys if not self._fresh(known.get(key))]
        if stale:
            try:
                found = await self._verifications.look_up(tenant, stale)
            except UnavailableError:  # the next hop may still tell
                found = {}
            for key, answer in found.items():
                if key not in known or answer.checked_at >= known[key].checked_at:
                    known[key] = answer
                    self._remember(tenant, key, answer)
        now = self._clock()
        return {key: answer for key, answer in known.items() if now < answer.forget_at}

    def _remember(self, tenant: int, key: str, answer: ServerAnswer) -> None:
        self._memory[tenant, key] = answer
        self._memory.move_to_end((tenant, key))
        if len(self._memory) > self._settings.memory:
            self._memory.popitem(last=False)

    # asking

    async def _once(self, mailbox: Mailbox, domain: Domain, *, probe: bool, source: Source | None) -> Heard:
        """Ask, or wait for the answer to the same question that is being asked."""
        key = (domain.tenant, mailbox.key)
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._question(mailbox, domain, probe=probe, source=source))
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(task)  # one sender's going away must not take the answer from the others

    async def _question(self, mailbox: Mailbox, domain: Domain, *, probe: bool, source: Source | None) -> Heard:
        started = asyncio.get_running_loop().time()
        in_flight = self._in_flight.setdefault(domain.tenant, asyncio.Semaphore(self._settings.in_flight))
        try:
            async with asyncio.timeout(self._settings.timeout):
                await in_flight.acquire()
        except TimeoutError:
            self._metrics.called_ahead(CallAheadResult.BUSY, self._settings.timeout)
            return {}
        try:
            if source is not None:
                asked = await source([mailbox.address])
            else:
                addresses = [mailbox.address, *([self._impossible(domain)] if probe else [])]
                asked = await self._ask(_job(domain, addresses))
        finally:
            in_flight.release()
        heard = self._heard(mailbox, domain, asked)
        for key, answer in heard.items():
            self._remember(domain.tenant, key, answer)
            self._verifications.keep(domain.tenant, key, answer)
        self._tell(mailbox, domain, asked, heard, asyncio.get_running_loop().time() - started)
        return heard

    def _impossible(self, domain: Domain) -> str:
        """An address that nobody has."""
        return f"verify-{''.join(self._random.choices(ascii_lowercase, k=20))}@{domain.name}"

    def _heard(self, mailbox: Mailbox, domain: Domain, asked: Asked) -> Heard:
        own = asked.answers[0]
        said = meaning(own)
        named = asked.mailboxes[0] if asked.mailboxes else ""
        answers = {} if said is None else {mailbox.key: self._answer(said, own, named)}
        if len(asked.answers) > 1:
            probe = asked.answers[1]
            match meaning(probe):
                case Said.KNOWN:
                    answers[f"@{domain.name}"] = self._answer(Said.ACCEPTS_ANY, probe)
                    if said is Said.KNOWN:  # it would have been whatever its name
                        del answers[mailbox.key]
                case Said.UNKNOWN:
                    answers[f"@{domain.name}"] = self._answer(Said.REFUSES_UNKNOWN, probe)
        return answers

    def _answer(self, said: Said, answer: Answer, mailbox: str = "") -> ServerAnswer:
        settings, now = self._settings, self._clock()
        good = settings.positive
        counts = {Said.KNOWN: good, Said.REFUSES_UNKNOWN: good, Said.ACCEPTS_ANY: settings.accepts_any}
        until = now + counts.get(said, settings.negative)
        keeps = said in (Said.KNOWN, Said.ACCEPTS_ANY)
        reply = str(answer.reply) if answer.reply else answer.detail
        forget_at = max(until, now + settings.remembered) if keeps else until
        return ServerAnswer(said, now, until, forget_at, reply, mailbox)

    def _tell(self, mailbox: Mailbox, domain: Domain, asked: Asked, heard: Heard, seconds: float) -> None:
        own, server = heard.get(mailbox.key), heard.get(f"@{domain.name}")
        any_ = server is not None and server.said is Said.ACCEPTS_ANY
        said = Said.ACCEPTS_ANY if any_ and own is None else own.said if own else None
        self._metrics.called_ahead(CallAheadResult(said.value) if said else CallAheadResult.FAILED, seconds)
        answer = asked.answers[0]
        self._log.called_ahead(
            mailbox.address,
            result=said.value if said else "failed",
            next_hop=asked.next_hop,
            stage=answer.stage.value,
            reply=answer.reply,
            error=answer.detail,
            seconds=seconds,
        )
        if any_:
            self._log.accepts_any(domain.name, next_hop=asked.next_hop)


def _deciding(answers: Heard, key: str, whole: str) -> ServerAnswer | None:
    """What decides of `answers`: the mailbox's own, else that its server accepts anything."""
    server = answers.get(whole)
    return answers.get(key) or (server if server is not None and server.said is Said.ACCEPTS_ANY else None)


def meaning(answer: Answer) -> Said | None:
    """What a server's answer says about the address; None when it says nothing now, and should be asked again later."""
    reply = answer.reply
    if answer.local:
        return Said.UNCLEAR  # it cannot even be asked: what it lacks is told to the sender elsewhere
    if reply is None or reply.transient or answer.stage not in (Stage.MAIL, Stage.RCPT):
        return None
    if answer.stage is Stage.MAIL:
        return Said.UNCLEAR if reply.permanent else None  # null senders refused, against RFC 5321 §4.5.5
    if reply.positive:
        return Said.KNOWN
    enhanced = "" if reply.enhanced == "5.0.0" else reply.enhanced
    if not enhanced:
        return Said.UNKNOWN if reply.code in NO_SUCH_MAILBOX else Said.UNCLEAR
    about_it = enhanced.startswith("5.1.") and enhanced not in OTHER_ADDRESSES
    return Said.UNKNOWN if about_it or enhanced in ALSO_UNKNOWN else Said.UNCLEAR


def _job(domain: Domain, addresses: Sequence[str]) -> Job:
    """A question to the best next hops of a domain: a backup that takes anything would answer for the server otherwise."""
    best = min((hop.priority for hop in domain.next_hops), default=0)
    return Job(
        tenant=domain.tenant,
        next_hops=tuple(hop for hop in domain.next_hops if hop.priority == best),
        mail_from="",
        recipients=tuple(
            Recipient(address, domain.tenant, domain.name, number=number)
            for number, address in enumerate(addresses, start=1)
        ),
        content=(),
        options=MailOptions(),
        security=domain.security,
    )
