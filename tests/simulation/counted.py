"""What each month's bill counts, from the raw rows of events, units, addresses and lists, by docs/billing.md alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, text

from tests.simulation.paper import day_at, first_of, midnight, month_after

_EVENTS = """
    SELECT e.id, e.at, e.unit, e.tenant, e.to_state AS became, e.reason, e.size, e.detail, u.probe, u.action, a.address
    FROM events e JOIN units u ON u.id = e.unit JOIN addresses a ON a.id = u.recipient
    WHERE e.kind = 'state' AND e.id > :after ORDER BY e.id
"""


@dataclass(frozen=True)
class Event:
    """A move of a mail of one recipient, as it is recorded. `at` in ms UTC; `action`: what the policy decided on the mail."""

    id: int
    at: int
    unit: str
    tenant: int
    became: str
    reason: str
    size: int
    detail: str
    probe: bool
    action: str
    address: str


@dataclass(frozen=True)
class Lists:
    """How the addresses of a tenant stand for mailboxes."""

    separators: str
    homes: Mapping[str, str]
    listed: Mapping[str, str]
    known: Mapping[str, str]

    def mailbox(self, address: str) -> str:
        """Capitals, what a sender added and alias domains make no difference; then the list and the directory are asked."""
        local, _, domain = address.lower().rpartition("@")
        home = self.homes.get(domain, domain)
        for separator in self.separators:
            local = local.partition(separator)[0] or local
        plain = f"{local}@{home}"
        return self.listed.get(plain) or self.known.get(plain) or self.listed.get(f"@{home}") or plain


@dataclass(frozen=True)
class Counted:
    """What a tenant used."""

    mailboxes: int
    messages: int
    octets: int


class Months:
    """Reads the events as they come, and gives each to its month when that is closed."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._read = 0
        self._open: list[Event] = []
        self.events: dict[tuple[str, int], list[Event]] = defaultdict(list)
        """By month and tenant."""
        self.lists: dict[str, dict[int, Lists]] = {}
        """By month, as they were when it was closed."""
        self._gone: dict[int, Lists] = {}
        self.late = 0
        """How many events came after their month had been closed."""

    def close(self, conn: Connection, month: str) -> None:
        """Nothing is committed beside this: what is there and happened before the month's end is of the month."""
        rows = conn.execute(text(_EVENTS), {"after": self._read})
        fresh = [Event(**{**row, "probe": bool(row["probe"])}) for row in rows.mappings()]
        if fresh:
            self._read = fresh[-1].id
        end = midnight(first_of(month_after(month)), self._zone)
        start = midnight(first_of(month), self._zone)
        waiting = []
        for event in [*self._open, *fresh]:
            if event.at < start and not self.lists:  # of a month before the first that is billed
                self.events[f"{day_at(event.at, self._zone):%Y-%m}", event.tenant].append(event)
            elif event.at < end:
                self.events[month, event.tenant].append(event)
                self.late += event.at < start
            else:
                waiting.append(event)
        self._open = waiting
        self.lists[month] = {**dict(_lists(conn)), **self._gone}

    def counted(self, month: str, tenant: int, *, first: date = date.min, end: date = date.max) -> Counted:
        """What a tenant used on the days from `first` up to but not including `end`."""
        lists = self.lists[month][tenant]
        taken: dict[str, Event] = {}
        for event in sorted(self.events[month, tenant], key=lambda one: one.at):
            if event.became in ("delivered", "released") and not event.probe:
                taken.setdefault(event.unit, event)  # the first time is when it counts
        taken = {unit: one for unit, one in taken.items() if first <= day_at(one.at, self._zone) < end}
        boxes = {lists.mailbox(event.address) for event in taken.values()}
        return Counted(len(boxes), len(taken), sum(event.size for event in taken.values()))

    def part(self, conn: Connection, tenant: int) -> None:
        """A tenant is about to be removed: the lists that it leaves behind count for its last bill."""
        self._gone[tenant] = dict(_lists(conn))[tenant]


def _lists(conn: Connection) -> Iterable[tuple[int, Lists]]:
    homes: dict[int, dict[str, str]] = defaultdict(dict)
    for tenant, name, of in conn.execute(text("SELECT tenant, name, alias_of FROM domains WHERE alias_of IS NOT NULL")):
        homes[tenant][name] = of
    listed, known = _named(conn, "recipients"), _named(conn, "verifications WHERE result = 'known'")
    for tenant, separators in conn.execute(text("SELECT id, separators FROM tenants")):
        yield tenant, Lists(separators, homes[tenant], listed[tenant], known[tenant])


def _named(conn: Connection, table: str) -> Mapping[int, Mapping[str, str]]:
    found: dict[int, dict[str, str]] = defaultdict(dict)
    for tenant, address, mailbox in conn.execute(text(f"SELECT tenant, address, mailbox FROM {table}")):
        found[tenant][address] = mailbox
    return found
