"""The mail of the simulation: when which message comes, and what becomes of it, by a seeded generator."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import count
from random import Random

from sqlalchemy.engine import Connection

from mailguard.core.decision import Action, Reason
from mailguard.core.events import State
from mailguard.store.complaints import Kind
from tests.simulation.paper import day_at, first_of, midnight, month_after
from tests.simulation.world import ZONE, Mail, Provider, Tenant

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
Work = Callable[[Connection], None]
_AT_ONCE = 300
"""Works in one transaction."""
_ENDS: dict[State, Reason] = {
    State.REJECTED: Reason.NEXT_HOP_REFUSED,
    State.DEFERRED: Reason.NEXT_HOP_UNAVAILABLE,
    State.BOUNCED: Reason.NEXT_HOP_REFUSED,
}


@dataclass
class Agenda:
    """What is to be done, by the time at which it is committed; the clock shows the time that is said to be."""

    provider: Provider
    _heap: list[tuple[int, int, int, Work]] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=count)

    def add(self, at: int, work: Work, *, committed: int = 0) -> None:
        """Do something at `at` by the clock, in ms UTC; `committed`: when it really happens, if that is later."""
        heapq.heappush(self._heap, (max(at, committed), next(self._numbers), at, work))

    def until(self, end: int) -> None:
        """Do all that is due before `end`, many in one transaction."""

        def work(conn: Connection) -> None:
            for _ in range(_AT_ONCE):
                if not self._heap or self._heap[0][0] >= end:
                    return
                _, _, self.provider.clock.now, due = heapq.heappop(self._heap)
                due(conn)

        while self._heap and self._heap[0][0] < end:
            self.provider.write(work)
        self.provider.clock.now = end


class Mailing:
    """Sends mail: each kind is a method by the name of what becomes of it."""

    def __init__(self, provider: Provider, agenda: Agenda, random: Random) -> None:
        self._provider, self._agenda, self._random = provider, agenda, random
        self.slow: set[tuple[str, str]] = set()
        """Tenants and months in which much mail took minutes."""

    def month(self, tenant: Tenant, month: str) -> None:
        """A month of a tenant's mail."""
        start, end = midnight(first_of(month), ZONE), midnight(first_of(month_after(month)), ZONE)
        if self._random.random() < 0.1:
            self.slow.add((tenant.name, month))
        for _ in range(self._random.randint(4, 9)):
            self.any(tenant, self._random.randrange(start, end))
        if self._random.random() < 0.2:
            for at in (start, end - 1):  # to the millisecond
                self.delivered(tenant, at, wait=0)
        if self._random.random() < 0.3:
            self.late(tenant, month)

    def late(self, tenant: Tenant, month: str) -> None:
        """Mail of a month's last days that is only committed when the month is closed; some of it kept for a while."""
        end = midnight(first_of(month_after(month)), ZONE)
        at, closed = end - self._random.randrange(1, 3 * DAY), end + 4 * DAY
        self._random.choice((self.delivered, self.stopped, self.tagged))(tenant, at, committed=closed)

    def edges(self, tenant: Tenant, day: date) -> None:
        """Mail in the last millisecond before a day, and in its first."""
        at = midnight(day, ZONE)
        self.delivered(tenant, at - 1, wait=0)
        self.delivered(tenant, at, wait=0)

    def any(self, tenant: Tenant, at: int) -> None:
        """A mail of any kind."""
        kinds = (
            (self.delivered, 48),
            (self.tagged, 5),
            (self.delayed, 7),
            (self.stopped, 12),
            (self.released, 9),
            (self.infected, 3),
            (self.refused, 10),
            (self.probe, 4),
            (self.many, 2),
        )
        (send,) = self._random.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])
        send(tenant, at)

    # --- kinds -----------------------------------------------------------------------------------------------------

    def delivered(self, tenant: Tenant, at: int, *, wait: int = -1, committed: int = 0, probe: bool = False) -> None:
        """Taken by the client's server at once, some of it spam or worse."""
        late = self._random.random() < (0.8 if (tenant.name, f"{day_at(at, ZONE):%Y-%m}") in self.slow else 0.02)
        wait = self._random.choice((45_000, 90_000, 400_000) if late else (300, 800, 2_500)) if wait < 0 else wait
        mail = self._mail(tenant, State.FORWARDING, Reason.CLEAN, Action.DELIVER, probe=probe)

        def work(conn: Connection) -> None:
            for unit in self._provider.begin(conn, mail):
                self._later(
                    at + wait, unit, State.DELIVERED, Reason.NEXT_HOP_ACCEPTED, latency=wait, committed=committed
                )
                if not probe and self._random.random() < 0.03:
                    kind = Kind.VIRUS if self._random.random() < 0.3 else Kind.SPAM
                    self._reported(max(at, committed) + self._random.randrange(HOUR, 20 * DAY), unit, kind)

        self._agenda.add(at, work, committed=committed)

    def tagged(self, tenant: Tenant, at: int, *, committed: int = 0) -> None:
        """Spam, delivered with a mark."""
        mail = self._mail(tenant, State.FORWARDING, Reason.SPAM_SCORE, Action.TAG)

        def work(conn: Connection) -> None:
            for unit in self._provider.begin(conn, mail):
                self._later(at + 900, unit, State.DELIVERED, Reason.NEXT_HOP_ACCEPTED, latency=900, committed=committed)
                if self._random.random() < 0.2:
                    self._reported(max(at, committed) + 2 * DAY, unit, Kind.SPAM)

        self._agenda.add(at, work, committed=committed)

    def delayed(self, tenant: Tenant, at: int) -> None:
        """Spooled, and delivered or bounced after hours or days."""
        mail = self._mail(tenant, State.SPOOLED, Reason.CLEAN, Action.DELIVER)
        end = State.DELIVERED if self._random.random() < 0.7 else State.BOUNCED

        def work(conn: Connection) -> None:
            for unit in self._provider.begin(conn, mail):
                after = at + self._random.randrange(HOUR, 4 * DAY)
                self._later(after, unit, end, _ENDS.get(end, Reason.NEXT_HOP_ACCEPTED))

        self._agenda.add(at, work)

    def stopped(self, tenant: Tenant, at: int, *, committed: int = 0) -> None:
        """Kept as spam for good, or deleted when somebody asks."""
        mail = self._mail(tenant, State.QUARANTINED, Reason.SPAM_SCORE, Action.QUARANTINE)

        def work(conn: Connection) -> None:
            for unit in self._provider.begin(conn, mail):
                asked = max(at, committed) + self._random.randrange(MINUTE, DAY)
                if self._random.random() < 0.15:
                    self._agenda.add(asked, lambda conn, unit=unit: self._provider.request(conn, unit))  # type: ignore[misc]
                    if self._random.random() < 0.5:
                        self._later(asked + 5 * HOUR, unit, State.DELETED, Reason.DELETED_BY_ADMIN)

        self._agenda.add(at, work, committed=committed)

    def released(self, tenant: Tenant, at: int) -> None:
        """Kept, asked for, released, delivered; some of it again later, which costs nothing more in a month."""
        mail = self._mail(tenant, State.QUARANTINED, Reason.SPAM_SCORE, Action.QUARANTINE)
        provider, random = self._provider, self._random

        def out(when: int, unit: str, *, again: bool = False) -> None:
            wrongly = not again and random.random() < 0.4
            self._agenda.add(when, lambda conn: provider.release(conn, unit, again=again, wrongly=wrongly))
            self._later(when + 2_000, unit, State.RELEASED, Reason.NEXT_HOP_ACCEPTED)

        def work(conn: Connection) -> None:
            for unit in provider.begin(conn, mail):
                asked = at + random.randrange(HOUR, 20 * DAY)
                if random.random() < 0.7:
                    self._agenda.add(asked, lambda conn, unit=unit: provider.request(conn, unit))  # type: ignore[misc]
                when = asked + random.choice((10 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 30 * HOUR))
                out(when, unit)
                if random.random() < 0.25:
                    out(when + random.randrange(DAY, 30 * DAY), unit, again=True)

        self._agenda.add(at, work)

    def infected(self, tenant: Tenant, at: int) -> None:
        """Kept as malware."""
        mail = self._mail(tenant, State.QUARANTINED, Reason.MALWARE, Action.QUARANTINE)
        self._agenda.add(at, lambda conn: [*self._provider.begin(conn, mail)].clear())

    def refused(self, tenant: Tenant, at: int) -> None:
        """Refused or discarded by us, or refused by the client's server."""
        kind = self._random.randrange(4)
        provider, random = self._provider, self._random
        if kind < 2:
            state, action = ((State.REJECTED, Action.REJECT), (State.DISCARDED, Action.DISCARD))[kind]
            mail = self._mail(tenant, state, Reason.SPAM_SCORE, action)
        else:
            mail = self._mail(tenant, State.FORWARDING, Reason.CLEAN, Action.DELIVER)
        end = (State.REJECTED, State.DEFERRED)[kind % 2]

        def work(conn: Connection) -> None:
            for unit in provider.begin(conn, mail):
                if kind >= 2:
                    self._later(at + 700, unit, end, _ENDS[end])
                elif random.random() < 0.1:
                    self._reported(at + 3 * DAY, unit, Kind.FALSE_POSITIVE)

        self._agenda.add(at, work)

    def probe(self, tenant: Tenant, at: int) -> None:
        """A mail of the provider's own probe."""
        self.delivered(tenant, at, wait=500_000, probe=True)

    def many(self, tenant: Tenant, at: int) -> None:
        """A day on which a good deal comes."""
        for _ in range(self._random.randint(5, 25)):
            self.delivered(tenant, at + self._random.randrange(DAY))

    # --- parts -----------------------------------------------------------------------------------------------------

    def _mail(self, tenant: Tenant, state: State, reason: Reason, action: Action, *, probe: bool = False) -> Mail:
        people = self._random.sample(tenant.people, self._random.choice((1, 1, 1, 2)))
        to = self._addresses(tenant, people)
        return Mail(tenant, to, state, reason, action, self._random.randrange(400, 90_000), probe)

    def _addresses(self, tenant: Tenant, people: Sequence[str]) -> list[str]:
        """People's addresses as senders write them."""
        found = []
        for person in people:
            local = self._random.choice(
                (person, person, person.upper(), person.title(), f"{person}+news", f"{person}+A")
            )
            domain = self._random.choice((tenant.domain, tenant.domain, tenant.domain.upper(), tenant.alias))
            found.append(f"{local}@{domain}")
        return found

    def _later(
        self, at: int, unit: str, state: State, reason: Reason, *, latency: int | None = None, committed: int = 0
    ) -> None:
        work = lambda conn: self._provider.move(conn, unit, state, reason, latency=latency)  # noqa: E731
        self._agenda.add(at, work, committed=committed)

    def _reported(self, at: int, unit: str, kind: Kind) -> None:
        self._agenda.add(at, lambda conn: self._provider.report(conn, unit, kind))
