"""Plans: what a month costs, what is included, what more costs, and what is promised. Values; reading files is in plan_files.

A contract keeps a snapshot of its plan, so an edited file changes no contract that was signed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from functools import cache

from pydantic import TypeAdapter

from mailguard.billing.money import ZERO


class Scheme(StrEnum):
    """How tiers apply to what goes beyond the allowance."""

    GRADUATED = "graduated"
    """Each unit costs what its own tier says."""
    VOLUME = "volume"
    """All units cost what the tier says that the last one lies in."""


@dataclass(frozen=True, slots=True)
class Tier:
    """Units beyond the allowance up to `up_to` (None: all further ones) at `price` each `per` of them."""

    up_to: int | None
    price: Decimal


@dataclass(frozen=True, slots=True)
class Rates:
    """What units beyond the allowance cost. A price is for `per` units; fewer cost their share."""

    scheme: Scheme
    tiers: tuple[Tier, ...]
    per: int = 1


class CommitmentName(StrEnum):
    """What can be promised, with its unit."""

    AVAILABILITY = "availability"
    """Percent of the probes of the month that the door answered."""
    DELAY_P95 = "delay_p95_seconds"
    """The added delay, in seconds, that 95 % of the mail stayed within."""
    VIRUS_CATCH = "virus_catch"
    """Percent of the infected mail that was stopped."""
    SPAM_CATCH = "spam_catch"
    """Percent of the spam that was stopped or tagged."""
    FALSE_POSITIVE_RATE = "false_positive_rate"
    """Percent of the good mail that was stopped."""
    RELEASE_RESPONSE = "release_response_hours"
    """The hours within which mail that was asked for was released."""

    @property
    def more_is_better(self) -> bool:
        """Whether the target is the least that is promised; else it is the most."""
        return self in (CommitmentName.AVAILABILITY, CommitmentName.VIRUS_CATCH, CommitmentName.SPAM_CATCH)


@dataclass(frozen=True, slots=True)
class CreditStep:
    """Measured below `limit` (above it, where less is better): `percent` of the month's fee is credited."""

    limit: Decimal
    percent: Decimal

    def applies(self, measured: Decimal, name: CommitmentName) -> bool:
        """Whether a measurement is that bad."""
        return measured < self.limit if name.more_is_better else measured > self.limit


@dataclass(frozen=True, slots=True)
class Commitment:
    """One promise. `steps` go from mild to bad; the worst that applies counts."""

    name: CommitmentName
    target: Decimal
    steps: tuple[CreditStep, ...] = ()

    def is_met(self, measured: Decimal) -> bool:
        """Whether a measurement keeps the promise."""
        return measured >= self.target if self.name.more_is_better else measured <= self.target

    def credit_percent(self, measured: Decimal) -> Decimal:
        """Percent of the month's fee that a measurement gives back."""
        return max((step.percent for step in self.steps if step.applies(measured, self.name)), default=ZERO)


@dataclass(frozen=True, slots=True)
class ServiceLevels:
    """All that a plan promises. All credits of a month together are at most `max_credit_percent` of its fee."""

    commitments: tuple[Commitment, ...] = ()
    max_credit_percent: Decimal = Decimal(100)


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan. Money is in the major unit of `currency`, rates are in percent, None for an allowance means unlimited.

    `tax_category` is a code of UNCL 5305; `tax_exemption` says why no tax is charged, where none is.
    """

    name: str
    description: str
    currency: str
    monthly_fee: Decimal
    setup_fee: Decimal = ZERO
    included_mailboxes: int | None = None
    included_messages: int | None = None
    mailbox_rates: Rates | None = None
    message_rates: Rates | None = None
    tax_rate: Decimal = ZERO
    tax_category: str = "S"
    tax_exemption: str = ""
    billing_day: int = 1
    payment_days: int = 14
    term_months: int = 0
    renewal_months: int = 0
    notice_days: int = 0
    sla: ServiceLevels = field(default_factory=ServiceLevels)

    @property
    def hash(self) -> str:
        """SHA-256, in hex, of all that can change a bill: the description cannot."""
        return hashlib.sha256(plan_json(replace(self, description="")).encode()).hexdigest()


def plan_json(plan: Plan) -> str:
    """A plan as the snapshot that a contract keeps: canonical JSON, Decimals as strings."""
    return json.dumps(_adapter().dump_python(plan), sort_keys=True, separators=(",", ":"), default=_text)


def plan_from_json(text: str) -> Plan:
    """The Plan that `plan_json` wrote. Raises ValueError (pydantic's) when it is not one."""
    return _adapter().validate_json(text)


def _text(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    raise TypeError(f"{type(value).__name__} has no place in a plan")


@cache
def _adapter() -> TypeAdapter[Plan]:
    return TypeAdapter(Plan)
