"""One attempt to deliver a message to the next hops of its route: by priority, with failover, within a budget of time."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address
from itertools import groupby
from random import Random, SystemRandom

from mailguard.core.envelope import MailOptions, NextHop, Recipient
from mailguard.core.reply import Reply
from mailguard.delivery.health import Admission, HopHealth
from mailguard.delivery.outcome import Outcome, OutcomeKind, Stage, classify
from mailguard.net.dns import DnsError, Resolver
from mailguard.net.listeners import is_own_listener
from mailguard.net.smtp_client import (
    Answer,
    Capabilities,
    GoAhead,
    Handshake,
    HopError,
    Sent,
    SmtpConnection,
    Target,
    TlsMode,
    Transaction,
)
from mailguard.net.smtp_pool import ConnectionPool, HopBusyError, PoolKey
from mailguard.ops.metrics import Metrics

IN_SESSION = 60.0
"""Seconds that the sender is kept waiting for the next hop at most; senders wait 10 minutes (RFC 5321 §4.5.3.2.6)."""
REMEMBERED = 3600.0
"""Seconds that a next hop's EHLO counts at the door, so that a server that was upgraded is asked again."""
AVOIDED = 60.0
"""Seconds that an address of a next hop that did not answer comes after its others."""


@dataclass(frozen=True, slots=True)
class Job:
    """A message for recipients of one tenant and one route. `content` is the message as it is to arrive, in chunks.

    `public_only`: the next hops were named by strangers, so private addresses are refused.
    """

    tenant: int
    next_hops: tuple[NextHop, ...]
    mail_from: str
    recipients: tuple[Recipient, ...]
    content: Sequence[bytes]
    options: MailOptions
    tls: TlsMode | None = None
    """None: as the forwarder does by default."""
    public_only: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """What a next hop (`next_hop`, empty when none was reached) said to each recipient, in their order."""

    answers: tuple[Answer, ...]
    next_hop: str = ""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A job on its way: its transaction, the loop's time by which it must end, and the hook before the content."""

    job: Job
    transaction: Transaction
    deadline: float
    go_ahead: GoAhead | None


@dataclass(frozen=True, slots=True)
class _Trial:
    """What came of one next hop: its answers, or the answer that stands for all recipients."""

    next_hop: NextHop | None
    answers: tuple[Answer, ...]
    sent: Sent | None = None
    connection: SmtpConnection | None = None
    postponed: bool = False


class Forwarder:
    """Delivers jobs over pooled connections, remembers what next hops offer, and leaves those alone that are down."""

    def __init__(
        self,
        pool: ConnectionPool,
        handshake: Handshake,
        resolver: Resolver,
        *,
        health: HopHealth | None = None,
        metrics: Metrics | None = None,
        listen: Sequence[tuple[str, int]] = (),
        tls: TlsMode = TlsMode.OPPORTUNISTIC,
        random: Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`listen` are our own listeners: a next hop that turns out to be one of them is not connected to."""
        self.health = health or HopHealth()
        self.on_recovery: Callable[[int, NextHop], None] = lambda tenant, next_hop: None
        """Called when a next hop of a tenant that was down is back."""
        self._pool = pool
        self._handshake = handshake
        self._resolver = resolver
        self._metrics = metrics
        self._listen = tuple(listen)
        self._tls = tls
        self._random = random or SystemRandom()
        self._clock = clock
        self._offers: OrderedDict[NextHop, tuple[Capabilities, float]] = OrderedDict()
        self._avoid: dict[tuple[str, int], float] = {}

    async def deliver(self, job: Job, *, budget: float = IN_SESSION, go_ahead: GoAhead | None = None) -> list[Outcome]:
        """Try the job once, for `budget` seconds at most: an outcome per recipient, in their order.

        `go_ahead` is awaited once, before any content is sent. What it raises is raised, nothing was delivered then.
        """
        started = asyncio.get_running_loop().time()
        transaction = Transaction(job.mail_from, job.recipients, job.content, job.options)
        trial = await self._trial(_Attempt(job, transaction, started + budget, _once(go_ahead)))
        return self._outcomes(job, trial, started)

    async def ask(self, job: Job, *, budget: float) -> Asked:
        """What the next hops say to the recipients of a job, in `budget` seconds at most; nothing is sent (a call-ahead)."""
        transaction = Transaction(job.mail_from, job.recipients, job.content, job.options, asking=True)
        trial = await self._trial(_Attempt(job, transaction, asyncio.get_running_loop().time() + budget, None))
        return Asked(_of_each(trial, job), str(trial.next_hop) if trial.next_hop else "")

    async def _trial(self, attempt: _Attempt) -> _Trial:
        """Ask one next hop after the other, as long as that makes sense; the trial that counts."""
        trials: list[_Trial] = []
        hops = self._in_order(attempt.job.next_hops)
        for position, hop in enumerate(hops):
            trial = await self._try(attempt, hop, len(hops) - position)
            if trial is None:
                continue
            trials.append(trial)
            if not _goes_on(trial) or asyncio.get_running_loop().time() >= attempt.deadline:
                break
        return _telling(trials)

    def refusal(
        self, next_hops: Sequence[NextHop], *, size: int = 0, eight_bit: bool = False, smtputf8: bool = False
    ) -> Reply | None:
        """The 5yz for a message that the next hops cannot take, by what their EHLO last said; None when they may.

        `eight_bit` and `smtputf8` are what the message needs, not what was declared: many clients declare both always.
        The hop that is asked first must be known, and of those that are known none can take it.
        """
        known = [(hop, offers) for hop in sorted(next_hops, key=_priority) if (offers := self.offers(hop))]
        if not known or known[0][0].priority > min(map(_priority, next_hops)):
            return None
        replies = [offers.shortfall(size=size, eight_bit=eight_bit, smtputf8=smtputf8) for _, offers in known]
        return replies[0] if all(replies) else None

    def offers(self, hop: NextHop) -> Capabilities | None:
        """What a next hop's EHLO said not long ago."""
        known = self._offers.get(hop)
        return known[0] if known and self._clock() - known[1] < REMEMBERED else None

    def is_closed(self, tenant: int, next_hops: Sequence[NextHop]) -> bool:
        """Whether all next hops are down and none may be probed now."""
        return all(self.health.is_closed(PoolKey(tenant, hop)) for hop in next_hops)

    def window(self, tenant: int, next_hops: Sequence[NextHop]) -> int:
        """How many messages at once the queue may send along this route."""
        return max((self.health.window(PoolKey(tenant, hop)) for hop in next_hops), default=1)

    def close(self) -> None:
        """Close idle connections, and busy ones as they become free."""
        self._pool.close()

    def _in_order(self, hops: Sequence[NextHop]) -> list[NextHop]:
        """By priority, those of the same priority in random order (RFC 5321 §5.1)."""
        if len(hops) < 2:
            return list(hops)
        ordered = []
        for _, equals in groupby(sorted(hops, key=_priority), key=_priority):
            shuffled = list(equals)
            self._random.shuffle(shuffled)
            ordered += shuffled
        return ordered

    async def _try(self, attempt: _Attempt, hop: NextHop, left: int) -> _Trial | None:
        """Ask one next hop; None when it is known to be down. `left` hops share what is left of the time for dialling."""
        job = attempt.job
        key = PoolKey(job.tenant, hop)
        admission = self.health.admit(key)
        if admission is Admission.CLOSED:
            return None
        now = asyncio.get_running_loop().time()
        try:
            sent, connection = await self._pool.transact(
                replace(key, tls=job.tls or self._tls),
                attempt.transaction,
                dial=partial(self._dial, job, hop, now + (attempt.deadline - now) / left),
                deadline=attempt.deadline,
                go_ahead=attempt.go_ahead,
            )
        except HopBusyError as error:
            self.health.unknown(key, admission)
            return _Trial(hop, (Answer(error.stage, None, error.detail),), postponed=True)
        except HopError as error:
            self.health.failed(key, admission)
            return _Trial(hop, (Answer(error.stage, error.reply, error.detail),))
        except BaseException:
            self.health.unknown(key, admission)
            raise
        if self._metrics and connection.uses > 1:
            self._metrics.next_hop_connections.labels("reused").inc()
        if all(Outcome(0, 0, classify(answer), answer.stage, answer.reply).hop_failed for answer in sent.answers):
            self.health.failed(key, admission)
        elif self.health.succeeded(key):
            self.on_recovery(job.tenant, hop)
        return _Trial(hop, sent.answers, sent, connection)

    async def _dial(self, job: Job, hop: NextHop, deadline: float) -> SmtpConnection:
        loop = asyncio.get_running_loop()
        addresses = await self._addresses(job, hop)
        failure = HopError(Stage.CONNECT, None, "no time left")
        for position, address in enumerate(addresses):
            now = loop.time()
            target = Target(address, hop.port, "" if address == hop.host else hop.host, job.tls or self._tls)
            try:
                connection = await SmtpConnection.connect(
                    target, self._handshake, deadline=now + (deadline - now) / (len(addresses) - position)
                )
            except HopError as error:
                failure = error
                self._avoid[address, hop.port] = self._clock() + AVOIDED
                self._count_connection("failed")
                continue
            self._avoid.pop((address, hop.port), None)
            self._remember(hop, connection.capabilities)
            self._count_connection("new", connection.tls)
            return connection
        raise failure

    async def _addresses(self, job: Job, hop: NextHop) -> list[str]:
        """The addresses to try, those that did not answer lately last. Raises HopError when there are none."""
        try:
            addresses: Sequence[str] = (str(ip_address(hop.host)),)
        except ValueError:
            try:
                addresses = await self._resolver.a_and_aaaa(hop.host)
            except DnsError as error:
                raise HopError(Stage.ROUTE, None, f"{hop.host}: {error}") from error
        if not addresses:
            raise HopError(Stage.ROUTE, None, f"{hop.host} has no address")
        usable = [one for one in addresses if not (job.public_only and not ip_address(one).is_global)]
        if not usable:
            raise HopError(Stage.ROUTE, None, f"{hop.host} has private addresses only")
        usable = [one for one in usable if not is_own_listener(one, hop.port, listen=self._listen)]
        if not usable:
            raise HopError(Stage.ROUTE, None, f"{hop} is our own listener: its mail would loop")
        now = self._clock()
        if len(self._avoid) > 1000:
            self._avoid = {address: until for address, until in self._avoid.items() if until > now}
        return sorted(usable, key=lambda one: self._avoid.get((one, hop.port), 0.0) > now)

    def _remember(self, hop: NextHop, offers: Capabilities) -> None:
        self._offers[hop] = (offers, self._clock())
        self._offers.move_to_end(hop)
        if len(self._offers) > 10_000:
            self._offers.popitem(last=False)

    def _count_connection(self, result: str, tls: str = "") -> None:
        if self._metrics:
            self._metrics.next_hop_connections.labels(result).inc()
            if result == "new":
                self._metrics.next_hop_tls.labels(tls.partition(" ")[0] or "none").inc()

    def _outcomes(self, job: Job, trial: _Trial, started: float) -> list[Outcome]:
        loop = asyncio.get_running_loop()
        elapsed = loop.time() - started
        answers = _of_each(trial, job)
        unknown = trial.sent.unknown if trial.sent else ()
        outcomes = []
        for position, (recipient, answer) in enumerate(zip(job.recipients, answers, strict=True)):
            outcome = Outcome(
                recipient.number,
                job.tenant,
                OutcomeKind.UNKNOWN if position in unknown else classify(answer),
                answer.stage,
                answer.reply,
                answer.detail,
                answer.local,
                str(trial.next_hop) if trial.next_hop else "",
                trial.connection.address if trial.connection else "",
                trial.connection.tls if trial.connection else "",
                elapsed,
                trial.postponed,
            )
            if position in unknown and trial.sent and trial.sent.pending:
                outcome = replace(outcome, final=loop.create_task(_finally(trial.sent.pending, outcome, started)))
            outcomes.append(outcome)
        return outcomes


def _of_each(trial: _Trial, job: Job) -> tuple[Answer, ...]:
    """An answer for each recipient, also where one stands for all."""
    return trial.answers if len(trial.answers) == len(job.recipients) else trial.answers * len(job.recipients)


def _priority(hop: NextHop) -> int:
    return hop.priority


def _once(go_ahead: GoAhead | None) -> GoAhead | None:
    """`go_ahead` awaited once, however many next hops come as far as the content."""
    if go_ahead is None:
        return None
    done = False

    async def only_once() -> None:
        nonlocal done
        if not done:
            await go_ahead()
            done = True

    return only_once


def _goes_on(trial: _Trial) -> bool:
    """Whether the next hop in order may be asked too: nobody has got the content, and no answer is about the mail."""
    if trial.sent is None:
        return True
    return all(
        answer.local
        or (
            classify(answer) is OutcomeKind.TEMPORARY
            and answer.stage is not Stage.CONTENT
            and (answer.stage is Stage.MAIL or answer.reply is None or answer.reply.code == 421)
        )
        for answer in trial.answers
    )


def _telling(trials: Sequence[_Trial]) -> _Trial:
    """The trial whose answers count. When none got anywhere: what a server that was reached cannot take, else the last."""
    if not trials:
        return _Trial(None, (Answer(Stage.ROUTE, None, "the next hop is down, and is being probed"),), postponed=True)
    if not _goes_on(trials[-1]):
        return trials[-1]
    unable = [trial for trial in trials if all(answer.local for answer in trial.answers)]
    return unable[0] if unable else trials[-1]


async def _finally(pending: asyncio.Task[Answer], unknown: Outcome, started: float) -> Outcome:
    answer = await asyncio.shield(pending)
    elapsed = asyncio.get_running_loop().time() - started
    return replace(
        unknown,
        kind=classify(answer),
        stage=answer.stage,
        reply=answer.reply,
        detail=answer.detail,
        elapsed=elapsed,
        final=None,
    )
