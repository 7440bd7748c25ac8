"""What happens to each tenant's contract, and to the door: the cases that must be there by name, the rest by chance."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from random import Random

from tests.simulation.mailing import DAY, HOUR, Agenda, Mailing
from tests.simulation.paper import Contract, add_months, first_of, midnight, month_after
from tests.simulation.world import ZONE, Provider, Tenant

MONTHS = tuple(f"{add_months(date(2023, 9, 1), number):%Y-%m}" for number in range(14))
"""September 2023 to October 2024: two ends of summer time and one begin, and 29 February."""
PLANS = ("solo", "office", "campus", "seats")
OUTAGE = date(2024, 1, 17)
Act = Callable[[], None]


class Story:
    """Plans all acts at the start; those by chance are decided when they are due, by what holds then."""

    def __init__(self, provider: Provider, random: Random, tenants: int) -> None:
        self.provider, self.random = provider, random
        self.agenda = Agenda(provider)
        self.mailing = Mailing(provider, self.agenda, random)
        self.tenants: list[Tenant] = []
        self.acts: list[tuple[date, int, Act]] = []
        self.recorded_late: list[tuple[Tenant, Contract]] = []
        self.notices: list[tuple[date, date]] = []
        """The end of a contract by the product, and by its terms on paper."""
        provider.clock.now = midnight(date(2023, 8, 20), ZONE)
        for number in range(tenants):
            self._tenant(number)
        self.acts.sort(key=lambda act: act[:2])
        self._maintenance()

    def play(self, until: int) -> None:
        """All acts and mail before a time (ms UTC)."""
        while self.acts and (due := midnight(self.acts[0][0], ZONE) + 12 * HOUR) < until:
            self.agenda.until(due)
            self.acts.pop(0)[2]()
        self.agenda.until(until)

    def probe(self, month: str) -> None:
        """The results of a month's probes, for those that were promised availability."""
        start, end = midnight(first_of(month), ZONE), midnight(first_of(month_after(month)), ZONE)
        outage = midnight(OUTAGE, ZONE) + 18 * HOUR
        closed = midnight(date(2024, 6, 8), ZONE)
        rows = []
        for number, tenant in enumerate(self.tenants):
            covered = [
                (one, days)
                for one in self.provider.paper.values()
                if one.tenant == tenant.name and (days := one.covered(first_of(month), first_of(month_after(month))))
            ]
            promised = any(
                one.plan(last - timedelta(days=1)).name in ("office", "campus") for one, (_, last) in covered
            )
            if number == 7 or not promised:
                continue
            for at in range(start, end, HOUR):
                luck = self.random.random()
                hours = 60 if number == 1 else 5
                down = outage <= at < outage + hours * HOUR or closed <= at < closed + 11 * HOUR
                if luck < 0.0003 or (down and number % 2):
                    continue  # nobody probed
                moment = at + self.random.randrange(1, HOUR)
                rows.append((tenant.id, moment, "here", not down and luck > 0.001))
                if luck < 0.003:  # twice within the time of one, and the first did not get through
                    rows.append((tenant.id, at, "here", False))
                if luck > 0.9:
                    rows.append((tenant.id, moment, "there", not down))
        self.provider.write(lambda conn: self.provider.probed(conn, rows))

    # --- tenants ---------------------------------------------------------------------------------------------------

    def _tenant(self, number: int) -> None:
        people = [f"{name}{number}" for name in ("ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal")]
        people = people[: self.random.randint(2, 8)]
        kind = number % 4
        merged = {people[1]: people[0]} if kind == 1 else {}
        asked = {people[-1]: people[0]} if kind == 2 else {}
        tenant = self.provider.tenant(f"tenant{number:02d}", people, merged=merged, asked=asked)
        self.tenants.append(tenant)
        if number == 0:
            self.mailing.slow |= {(tenant.name, month) for month in MONTHS[:3]}
        for month in MONTHS:
            self.mailing.month(tenant, month)
        for day in (date(2023, 10, 29), date(2024, 2, 29), date(2024, 3, 1), date(2024, 3, 31)):
            if self.random.random() < 0.2:
                self.mailing.edges(tenant, day)
        special = getattr(self, f"_case_{number}", None)
        (special or self._by_chance)(tenant)

    def _on(self, day: date, act: Act) -> None:
        self.acts.append((day, len(self.acts), act))

    def _sign(self, tenant: Tenant, plan: str, start: date, *, on: date | None = None) -> None:
        """A contract from `start`, recorded some days before or on a given day."""

        def act() -> None:
            contract = self.provider.sign(tenant, plan, start)
            if f"{start:%Y-%m}" < f"{recorded:%Y-%m}":
                self.recorded_late.append((tenant, contract))

        recorded = on or max(date(2023, 8, 21), start - timedelta(days=self.random.randrange(1, 9)))
        self.mailing.edges(tenant, start)
        self._on(recorded, act)

    def _change(self, tenant: Tenant, on: date, start: date, *, plan: str = "", fee: str = "") -> None:
        self._on(on, lambda: self.provider.change(tenant, self._contract(tenant), start, plan=plan, fee=fee))

    def _cancel(self, tenant: Tenant, on: date, last_day: date | None = None) -> None:
        """By its terms, or after a day on which both agree."""

        def act() -> None:
            contract = self._contract(tenant)
            expected = contract.earliest_end(on) if last_day is None else last_day + timedelta(days=1)
            end = self.provider.cancel(tenant, contract, last_day, waive=last_day is not None)
            self.notices.append((end, expected))
            if end < date(2024, 11, 1) and end > on:
                self.mailing.edges(tenant, end)

        self._on(on, act)

    def _contract(self, tenant: Tenant) -> Contract:
        return max(
            (one for one in self.provider.paper.values() if one.tenant == tenant.name), key=lambda one: one.start
        )

    def _has_contract(self, tenant: Tenant) -> bool:
        return any(one.tenant == tenant.name for one in self.provider.paper.values())

    # --- cases -----------------------------------------------------------------------------------------------------

    def _case_0(self, tenant: Tenant) -> None:
        """A price change that is agreed long before, in the midst of the leap month."""
        self._sign(tenant, "office", date(2023, 9, 1))
        self._change(tenant, date(2023, 11, 20), date(2024, 2, 15), fee="83.33")

    def _case_1(self, tenant: Tenant) -> None:
        """Its door is closed for days: the whole fee comes back, and no more, though some was given back before."""
        self._sign(tenant, "campus", date(2023, 9, 1))

    def _case_2(self, tenant: Tenant) -> None:
        """Begins on the day of 25 hours, and changes on 29 February."""
        self._sign(tenant, "solo", date(2023, 10, 29))
        self._change(tenant, date(2024, 2, 20), date(2024, 2, 29), plan="office")

    def _case_3(self, tenant: Tenant) -> None:
        """Begins on 29 February; its year ends with the 28th of the next."""
        self._sign(tenant, "office", date(2024, 2, 29))
        self._cancel(tenant, date(2024, 9, 9))

    def _case_4(self, tenant: Tenant) -> None:
        """Recorded two months after it began."""
        self._sign(tenant, "office", date(2023, 10, 11), on=date(2023, 12, 12))

    def _case_5(self, tenant: Tenant) -> None:
        """No fixed fee; ends with a renewal of a month that began on the 31st."""
        self._sign(tenant, "seats", date(2023, 10, 31))
        self._cancel(tenant, date(2024, 4, 10))

    def _case_6(self, tenant: Tenant) -> None:
        """Ends in the midst of a month, and comes back in the same."""
        self._sign(tenant, "solo", date(2023, 9, 1))
        self._cancel(tenant, date(2024, 3, 12), date(2024, 4, 9))
        self._sign(tenant, "office", date(2024, 4, 20), on=date(2024, 4, 15))

    def _case_7(self, tenant: Tenant) -> None:
        """Promised availability, and never probed."""
        self._sign(tenant, "office", date(2023, 12, 24))

    def _case_8(self, tenant: Tenant) -> None:
        """Ends within days that are paid for: the bill is in its favour."""
        self._sign(tenant, "campus", date(2023, 9, 15))
        self._cancel(tenant, date(2024, 5, 10), date(2024, 5, 20))

    def _case_9(self, tenant: Tenant) -> None:
        """Withdrawn before it begins, when its first days are charged already."""
        self._sign(tenant, "office", date(2023, 12, 20), on=date(2023, 10, 20))
        self._cancel(tenant, date(2023, 12, 10), date(2023, 12, 19))

    def _case_10(self, tenant: Tenant) -> None:
        """Cancelled, and thinks better of it."""
        self._sign(tenant, "solo", date(2023, 9, 30))
        self._cancel(tenant, date(2024, 6, 25))
        self._on(date(2024, 7, 9), lambda: self.provider.revoke(tenant, self._contract(tenant)))

    def _case_11(self, tenant: Tenant) -> None:
        """Three plans in one month, the later one agreed on first."""
        self._sign(tenant, "office", date(2023, 9, 1))
        self._change(tenant, date(2024, 7, 8), date(2024, 7, 20), plan="solo")
        self._change(tenant, date(2024, 7, 15), date(2024, 7, 10), plan="seats")

    def _case_12(self, tenant: Tenant) -> None:
        """Another fee for a day, twice; and days that were charged in advance change."""
        self._sign(tenant, "solo", date(2023, 11, 5))
        self._change(tenant, date(2024, 1, 10), date(2024, 2, 3), fee="21.21")
        self._change(tenant, date(2024, 2, 10), date(2024, 2, 3), fee="20.02")

    def _case_13(self, tenant: Tenant) -> None:
        """Ends, and is removed before its last month is billed."""
        self._sign(tenant, "solo", date(2023, 9, 1))
        self._cancel(tenant, date(2024, 8, 8), date(2024, 8, 17))
        self._on(date(2024, 8, 25), lambda: self._remove(tenant))

    def _case_14(self, tenant: Tenant) -> None:
        """From no fixed fee to one."""
        self._sign(tenant, "seats", date(2023, 9, 1))
        self._change(tenant, date(2024, 3, 27), date(2024, 3, 31), fee="5.37")

    def _case_15(self, tenant: Tenant) -> None:
        """By a plan whose file was edited meanwhile, which changes nothing for those that had signed."""

        def edit() -> None:
            path = self.provider.folder / "policies" / "plans" / "office.yaml"
            path.write_text(path.read_text().replace("79.95", "88.05").replace("1.505", "1.605"))
            self.provider.plans.load()

        self._on(date(2024, 4, 2), edit)
        self._sign(tenant, "office", date(2024, 4, 16), on=date(2024, 4, 10))

    def _remove(self, tenant: Tenant) -> None:
        self.parting(tenant)
        self.provider.remove(tenant)

    def parting(self, tenant: Tenant) -> None:
        """Called before a tenant is removed; who reckons replaces it."""

    def _by_chance(self, tenant: Tenant) -> None:
        start = date(2023, 9, 1) + timedelta(days=self.random.choice((0, 0, self.random.randrange(300))))
        self._sign(tenant, self.random.choice(PLANS), start)
        for month in MONTHS:
            day = first_of(month) + timedelta(days=self.random.randrange(7, 27))
            if self.random.random() < 0.18:
                self._on(day, lambda day=day: self._some_act(tenant, day))  # type: ignore[misc]

    def _some_act(self, tenant: Tenant, today: date) -> None:
        """A change or an end that is possible today."""
        if not self._has_contract(tenant):
            return
        contract = self._contract(tenant)
        start = max(contract.start, today.replace(day=1) + timedelta(days=self.random.randrange(75)))
        if not contract.covers(start) or contract.end is not None:
            return
        if self.random.random() < 0.2 and contract.start <= today:
            expected = contract.earliest_end(today)
            self.notices.append((self.provider.cancel(tenant, contract), expected))
        elif self.random.random() < 0.5:
            fee = f"{self.random.randrange(100, 20_000) / 100:.2f}"
            self.provider.change(tenant, contract, start, fee=fee)
        else:
            plan = self.random.choice([one for one in PLANS if one != contract.plan(start).name])
            self.provider.change(tenant, contract, start, plan=plan)

    # --- the door --------------------------------------------------------------------------------------------------

    def _maintenance(self) -> None:
        """Windows: one within the outage, one announced too late, one that is too long."""
        agenda, provider = self.agenda, self.provider
        outage, long = midnight(OUTAGE, ZONE), midnight(date(2024, 6, 8), ZONE)
        agenda.add(outage - 3 * DAY, lambda conn: provider.announce(conn, outage + 19 * HOUR, outage + 21 * HOUR))
        agenda.add(outage + 12 * HOUR, lambda conn: provider.announce(conn, outage + 21 * HOUR, outage + 23 * HOUR))
        agenda.add(long - 2 * DAY, lambda conn: provider.announce(conn, long, long + 11 * HOUR))
