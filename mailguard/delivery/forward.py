"""One attempt to deliver a message to the next hops of its route: by priority, with failover, within a budget of time."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from random import Random, SystemRandom

from mailguard.core.envelope import MailOptions, NextHop, Recipient
from mailguard.core.reply import Reply
from mailguard.core.transport import AS_SET_FOR_ALL, HopSecurity
from mailguard.core.values import value
from mailguard.delivery.dial import Dialler
from mailguard.delivery.health import Admission, HopHealth
from mailguard.delivery.outcome import Outcome, OutcomeKind, Stage, classify, hop_failed
from mailguard.net.smtp_client import (
    Answer,
    Capabilities,
    GoAhead,
    HopError,
    Sent,
    SmtpConnection,
    Transaction,
)
from mailguard.net.smtp_pool import ConnectionPool, HopBusyError, PoolKey
from mailguard.ops.metrics import Metrics

IN_SESSION = 60.0
"""Seconds that the sender is kept waiting for the next hop at most; senders wait 10 minutes (RFC 5321 §4.5.3.2.6)."""
REMEMBERED = 3600.0
"""Seconds that a next hop's EHLO counts at the door, so that a server that was upgraded is asked again."""


@value
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
    security: HopSecurity = AS_SET_FOR_ALL
    public_only: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """What a next hop (`next_hop`, empty when none was reached) said to each recipient, in their order.

    `mailboxes`: those that a directory names for them, where one was asked; empty for none.
    """

    answers: tuple[Answer, ...]
    next_hop: str = ""
    mailboxes: tuple[str, ...] = ()


@value
class _Attempt:
    """A job on its way: its transaction, the loop's time by which it must end, and the hook before the content."""

    job: Job
    transaction: Transaction
    deadline: float
    go_ahead: GoAhead | None
    pool: ConnectionPool


@value
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
        dialler: Dialler,
        *,
        questions: ConnectionPool | None = None,
        health: HopHealth | None = None,
        metrics: Metrics | None = None,
        random: Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`questions` are the connections on which `ask` asks, so that it takes none from deliveries."""
        self.health = health or HopHealth()
        self.on_recovery: Callable[[int, NextHop], None] = lambda tenant, next_hop: None
        """Called when a next hop of a tenant that was down is back."""
        self._pool = pool
        self._questions = questions or pool
        self._dialler = dialler
        self._metrics = metrics
        self._random = random or SystemRandom()
        self._clock = clock
        self._offers: OrderedDict[NextHop, tuple[Capabilities, float]] = OrderedDict()

    async def deliver(self, job: Job, *, budget: float = IN_SESSION, go_ahead: GoAhead | None = None) -> list[Outcome]:
        """Try the job once, for `budget` seconds at most: an outcome per recipient, in their order.

        `go_ahead` is awaited once, before any content is sent. What it raises is raised, nothing was delivered then.
        """
        started = asyncio.get_running_loop().time()
        transaction = Transaction(job.mail_from, job.recipients, job.content, job.options)
        trial = await self._trial(_Attempt(job, transaction, started + budget, _once(go_ahead), self._pool))
        return self._outcomes(job, trial, started)

    async def ask(self, job: Job, *, budget: float) -> Asked:
        """What the next hops say to the recipients of a job, in `budget` seconds at most; nothing is sent (a call-ahead)."""
        transaction = Transaction(job.mail_from, job.recipients, job.content, job.options, asking=True)
        deadline = asyncio.get_running_loop().time() + budget
        trial = await self._trial(_Attempt(job, transaction, deadline, None, self._questions))
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
        return _telling(trials) if trials else self._down(attempt.job)

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

    def is_closed(self, tenant: int, next_hops: Sequence[NextHop], security: HopSecurity = AS_SET_FOR_ALL) -> bool:
        """Whether all next hops are down and none may be probed now."""
        return all(self.health.is_closed(PoolKey(tenant, hop, security)) for hop in next_hops)

    def until_probe(self, tenant: int, next_hops: Sequence[NextHop], security: HopSecurity = AS_SET_FOR_ALL) -> float:
        """Seconds until one of the next hops may be probed; 0 when one may be asked now."""
        return min((self.health.until_probe(PoolKey(tenant, hop, security)) for hop in next_hops), default=0.0)

    def window(self, tenant: int, next_hops: Sequence[NextHop], security: HopSecurity = AS_SET_FOR_ALL) -> int:
        """How many messages at once the queue may send along this route."""
        return max((self.health.window(PoolKey(tenant, hop, security)) for hop in next_hops), default=1)

    def close(self) -> None:
        """Close idle connections, and busy ones as they become free."""
        self._pool.close()
        self._questions.close()

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
        key = PoolKey(job.tenant, hop, job.security)
        admission = self.health.admit(key)
        if admission is Admission.CLOSED:
            return None
        now = asyncio.get_running_loop().time()
        try:
            sent, connection = await attempt.pool.transact(
                replace(key, public_only=True) if job.public_only else key,
                attempt.transaction,
                dial=partial(self._dial, job, hop, now + (attempt.deadline - now) / left),
                deadline=attempt.deadline,
                go_ahead=attempt.go_ahead,
            )
        except HopBusyError as error:
            self.health.unknown(key, admission)
            return _Trial(hop, (Answer(error.stage, None, error.detail),), postponed=True)
        except HopError as error:
            self.health.failed(key, admission, why=str(error))
            return _Trial(hop, (Answer(error.stage, error.reply, error.detail),))
        except BaseException:
            self.health.unknown(key, admission)
            raise
        if self._metrics and connection.uses > 1:
            self._metrics.connected("reused")
        if all(hop_failed(classify(answer), answer.stage, answer.reply) for answer in sent.answers):
            if attempt.transaction.asking:  # it has enough of questions (RFC 5321 §3.8), which says nothing of mail
                self.health.unknown(key, admission)
            else:
                self.health.failed(key, admission)
        elif self.health.succeeded(key):
            self.on_recovery(job.tenant, hop)
        return _Trial(hop, sent.answers, sent, connection)

    async def _dial(self, job: Job, hop: NextHop, deadline: float) -> SmtpConnection:
        connection = await self._dialler.dial(hop, job.security, public_only=job.public_only, deadline=deadline)
        self._remember(hop, connection.capabilities)
        return connection

    def _down(self, job: Job) -> _Trial:
        """Nobody was asked: what was the matter with the last next hop when it was."""
        why = [self.health.why(PoolKey(job.tenant, hop, job.security)) for hop in self._in_order(job.next_hops)]
        cause = f" ({why[-1]})" if why and why[-1] else ""
        detail = f"the next hop is down{cause}, and is being probed"
        return _Trial(None, (Answer(Stage.ROUTE, None, detail),), postponed=True)

    def _remember(self, hop: NextHop, offers: Capabilities) -> None:
        self._offers[hop] = (offers, self._clock())
        self._offers.move_to_end(hop)
        if len(self._offers) > 10_000:
            self._offers.popitem(last=False)

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
                trial.connection is not None and trial.connection.capabilities.dsn,
            )
            if position in unknown and trial.sent and trial.sent.pending:
                late = _finally(trial.sent.pending, unknown.index(position), outcome, started)
                outcome = replace(outcome, final=loop.create_task(late))
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
    if not _goes_on(trials[-1]):
        return trials[-1]
    unable = [trial for trial in trials if all(answer.local for answer in trial.answers)]
    return unable[0] if unable else trials[-1]


async def _finally(
    pending: asyncio.Task[tuple[Answer, ...]], position: int, unknown: Outcome, started: float
) -> Outcome:
    answer = (await asyncio.shield(pending))[position]
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
