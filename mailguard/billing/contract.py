"""A contract and the questions asked of it: what holds on a day, when it ends, when notice must be given. Pure; no clock.

All dates are days of the billing time zone; a period is [start, end), so an end is the first day that is no longer covered.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from mailguard.billing.invoice import Party
from mailguard.billing.plans import Plan

ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds from a day on: the plan as it was agreed. `id` grows with the time of agreement."""

    id: int
    start: date
    plan: Plan
    plan_hash: str


@dataclass(frozen=True, slots=True)
class Contract:
    """What a tenant and the provider agreed. `ends_on` is None while no end is agreed; `created_on`: when it was recorded.

    It runs for `term_months` and is then renewed by `renewal_months` each time, unless notice is given `notice_days` before
    the last day. Without a renewal it runs on after the term, and may end on any day with notice.
    """

    id: int
    tenant: int
    start: date
    terms: tuple[Terms, ...]
    currency: str
    buyer: Party
    created_on: date
    term_months: int = 0
    renewal_months: int = 0
    notice_days: int = 0
    ends_on: date | None = None
    notice_on: date | None = None
    buyer_reference: str = ""

    def covers(self, day: date) -> bool:
        """Whether the service is owed on a day."""
        return self.start <= day and (self.ends_on is None or day < self.ends_on)

    def terms_on(self, day: date) -> Terms | None:
        """What holds on a day, None when it is not covered: of the terms begun by then the latest, of one day the last agreed."""
        return self._begun_by(day) if self.covers(day) else None

    def days_within(self, start: date, end: date) -> tuple[date, date]:
        """The covered part of [start, end); both dates are the same when there is none."""
        first = max(start, self.start)
        last = end if self.ends_on is None else min(end, self.ends_on)
        return first, max(first, last)

    def last_terms_within(self, start: date, end: date) -> Terms | None:
        """What holds on the last covered day of [start, end)."""
        first, last = self.days_within(start, end)
        return self._begun_by(last - ONE_DAY) if first < last else None

    def _begun_by(self, day: date) -> Terms | None:
        begun = [terms for terms in self.terms if terms.start <= day]
        return max(begun, key=lambda terms: (terms.start, terms.id), default=None)

    # --- ends ------------------------------------------------------------------------------------------------------

    def term_ends(self) -> Iterator[date]:
        """The days on which it can end by itself: the end of the term, then of each renewal. Empty where none is agreed."""
        months = self.term_months
        if months:
            yield add_months(self.start, months)
        while self.renewal_months:
            months += self.renewal_months
            if self.start.year + months // 12 >= date.max.year:
                return
            yield add_months(self.start, months)

    def current_term_end(self, day: date) -> date | None:
        """The end of the term or renewal that a day lies in. None when none does: then it may end on any day."""
        return next((end for end in self.term_ends() if end > day), None)

    def earliest_end(self, notice_on: date) -> date:
        """The earliest end when notice is given on a day (at the earliest: the day after it began)."""
        possible = max(notice_on + timedelta(days=self.notice_days), self.start) + ONE_DAY
        term_end = next((end for end in self.term_ends() if end >= possible), None)
        return possible if term_end is None else term_end

    def last_day_for_notice(self, end: date) -> date:
        """The last day to give notice for an end."""
        return end - ONE_DAY - timedelta(days=self.notice_days)


def add_months(day: date, months: int) -> date:
    """The end of a period of months that begins on `day`: the same day of the month, later.

    Where that month has no such day, the period ends with the month's last one, so that its end is the first of the next
    month: a month from 31 January ends with the last day of February.
    """
    index = day.year * 12 + day.month - 1 + months
    year, month = divmod(index, 12)
    if day.day <= calendar.monthrange(year, month + 1)[1]:
        return date(year, month + 1, day.day)
    return month_after(date(year, month + 1, 1))


def month_start(day: date) -> date:
    """The first day of a day's month."""
    return day.replace(day=1)


def month_after(day: date) -> date:
    """The first day of the month after a day's."""
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def month_name(day: date) -> str:
    """`YYYY-MM`."""
    return f"{day:%Y-%m}"


def first_of(month: str) -> date:
    """The first day of a month `YYYY-MM`."""
    return date(int(month[:4]), int(month[5:]), 1)
