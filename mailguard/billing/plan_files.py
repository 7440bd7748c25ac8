"""The plans in policies/plans/*.yaml: their shape, checked with every error at its path and line, reloaded as profiles are."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from mailguard.billing.money import CURRENCIES, ZERO, decimals
from mailguard.billing.plans import Commitment, CommitmentName, CreditStep, Plan, Rates, Scheme, ServiceLevels, Tier
from mailguard.config.problems import nearest, problems_of
from mailguard.config.reloading import OnProblems, ReloadedFiles, ignore_problems
from mailguard.config.yaml_source import read
from mailguard.core.errors import ConfigError, NotFoundError, Problem

PRICE_DECIMALS = 6
"""Digits behind the point that a price of one unit may have; less than a float loses."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
UNLIMITED = "unlimited"


def _decimal(value: object) -> Decimal:
    """A number as it was written: YAML's float is shown by Python with the digits that were typed."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        raise ValueError("must be a number")
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise ValueError("must be a number such as 49.90") from None
    if not number.is_finite():
        raise ValueError("must be a number such as 49.90")
    return number


def _money(value: Decimal) -> Decimal:
    if not 0 <= value < 1_000_000_000 or decimals(value) > PRICE_DECIMALS:
        raise ValueError(f"must be from 0 to under 1000000000, with at most {PRICE_DECIMALS} digits behind the point")
    return value


def _percent(value: Decimal) -> Decimal:
    if not 0 <= value <= 100 or decimals(value) > PRICE_DECIMALS:
        raise ValueError(f"must be from 0 to 100, with at most {PRICE_DECIMALS} digits behind the point")
    return value


def _currency(code: str) -> str:
    if code not in CURRENCIES:
        raise ValueError("must be the ISO 4217 code of a currency, such as EUR")
    return code


def _allowance(value: object) -> object:
    if value == UNLIMITED:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1_000_000_000_000:
        raise ValueError(f"must be a whole number from 0, or {UNLIMITED}")
    return value


Money = Annotated[Decimal, BeforeValidator(_decimal), AfterValidator(_money)]
Percent = Annotated[Decimal, BeforeValidator(_decimal), AfterValidator(_percent)]
Allowance = Annotated[int | None, BeforeValidator(_allowance)]


class Table(BaseModel):
    """What all tables of a plan share: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class TierTable(Table):
    """One row of `tiers`."""

    up_to: Annotated[StrictInt, Field(ge=1, le=1_000_000_000_000)] | None = None
    price: Money


class RatesTable(Table):
    """`mailbox_tiers` and `message_tiers`: what goes beyond the allowance."""

    scheme: Literal["graduated", "volume"]
    per: Literal[1, 10, 100, 1000, 10000] = 1
    tiers: tuple[TierTable, ...] = Field(min_length=1)

    @field_validator("tiers")
    @classmethod
    def _rising(cls, tiers: tuple[TierTable, ...]) -> tuple[TierTable, ...]:
        if any(tier.up_to is None for tier in tiers[:-1]) or tiers[-1].up_to is not None:
            raise ValueError("must each have up_to but the last, which takes all further ones")
        bounds = [tier.up_to for tier in tiers if tier.up_to is not None]
        if any(later <= earlier for earlier, later in itertools.pairwise(bounds)):
            raise ValueError("must be in order of rising up_to")
        return tiers

    def rates(self) -> Rates:
        """As a value."""
        tiers = tuple(Tier(tier.up_to, tier.price) for tier in self.tiers)
        return Rates(Scheme(self.scheme), tiers, self.per)


class BelowTable(Table):
    """A step of `credits` where more is better."""

    below: Money
    percent: Percent


class AboveTable(Table):
    """A step of `credits` where less is better."""

    above: Money
    percent: Percent


class LeastTable(Table):
    """A commitment in percent of which more is better: `target` is the least that is promised."""

    target: Percent
    credits: tuple[BelowTable, ...] = ()

    @field_validator("credits")
    @classmethod
    def _falling(cls, steps: tuple[BelowTable, ...], info: ValidationInfo) -> tuple[BelowTable, ...]:
        limits = [info.data.get("target", Decimal(100)), *(step.below for step in steps)]
        if any(
            later > earlier or (later == earlier and i) for i, (earlier, later) in enumerate(itertools.pairwise(limits))
        ):
            raise ValueError("must begin at most at the target and go down from there")
        _rising_percent(step.percent for step in steps)
        return steps

    def commitment(self, name: CommitmentName) -> Commitment:
        """As a value."""
        return Commitment(name, self.target, tuple(CreditStep(step.below, step.percent) for step in self.credits))


class MostTable(Table):
    """A commitment of which less is better: `target` is the most that is promised."""

    target: Money
    credits: tuple[AboveTable, ...] = ()

    @field_validator("credits")
    @classmethod
    def _rising(cls, steps: tuple[AboveTable, ...], info: ValidationInfo) -> tuple[AboveTable, ...]:
        limits = [info.data.get("target", ZERO), *(step.above for step in steps)]
        if any(
            later < earlier or (later == earlier and i) for i, (earlier, later) in enumerate(itertools.pairwise(limits))
        ):
            raise ValueError("must begin at least at the target and go up from there")
        _rising_percent(step.percent for step in steps)
        return steps

    def commitment(self, name: CommitmentName) -> Commitment:
        """As a value."""
        return Commitment(name, self.target, tuple(CreditStep(step.above, step.percent) for step in self.credits))


def _rising_percent(percents: Iterable[Decimal]) -> None:
    if any(later <= earlier for earlier, later in itertools.pairwise((ZERO, *percents))):
        raise ValueError("must credit a higher percent at each worse step")


class SlaTable(Table):
    """`sla`: what is promised, and what is credited when it is not kept."""

    availability: LeastTable | None = None
    delay_p95_seconds: MostTable | None = None
    virus_catch: LeastTable | None = None
    spam_catch: LeastTable | None = None
    false_positive_rate: MostTable | None = None
    release_response_hours: MostTable | None = None
    max_credit_percent: Percent = Decimal(100)

    def service_levels(self) -> ServiceLevels:
        """As a value."""
        tables = ((name, getattr(self, name.value)) for name in CommitmentName)
        return ServiceLevels(
            tuple(table.commitment(name) for name, table in tables if table is not None), self.max_credit_percent
        )


class PlanTable(Table):
    """A whole file."""

    description: str = ""
    currency: Annotated[str, AfterValidator(_currency)]
    monthly_fee: Money
    setup_fee: Money = ZERO
    included_mailboxes: Allowance = Field(None, validate_default=False)
    included_messages: Allowance = Field(None, validate_default=False)
    mailbox_tiers: RatesTable | None = None
    message_tiers: RatesTable | None = None
    tax_rate: Percent
    tax_category: Literal["S", "Z", "E", "AE", "O"] = "S"
    tax_exemption: str = Field("", max_length=200)
    billing_day: Annotated[StrictInt, Field(ge=1, le=28)] = 1
    payment_days: Annotated[StrictInt, Field(ge=0, le=365)] = 14
    term_months: Annotated[StrictInt, Field(ge=0, le=120)] = 0
    renewal_months: Annotated[StrictInt, Field(ge=0, le=120)] = 0
    notice_days: Annotated[StrictInt, Field(ge=0, le=730)] = 0
    sla: SlaTable = SlaTable()

    @field_validator("monthly_fee", "setup_fee")
    @classmethod
    def _in_minor_units(cls, fee: Decimal, info: ValidationInfo) -> Decimal:
        currency = info.data.get("currency")
        if currency is not None and decimals(fee) > CURRENCIES[currency]:
            raise ValueError(f"must have at most {CURRENCIES[currency]} digits behind the point in {currency}")
        return fee

    @field_validator("mailbox_tiers", "message_tiers")
    @classmethod
    def _beyond_what(cls, rates: RatesTable | None, info: ValidationInfo) -> RatesTable | None:
        key = "included_mailboxes" if info.field_name == "mailbox_tiers" else "included_messages"
        if key not in info.data:
            return rates  # what is wrong with it is told already
        if rates is None and info.data[key] is not None:
            raise ValueError(f"must say what more than {key} costs; make that {UNLIMITED} if it costs nothing")
        if rates is not None and info.data[key] is None:
            raise ValueError(f"never apply while {key} is {UNLIMITED}; set it, to 0 if each one is to be paid")
        return rates

    @field_validator("tax_category")
    @classmethod
    def _rate_of_category(cls, category: str, info: ValidationInfo) -> str:
        rate = info.data.get("tax_rate")
        if rate is not None and bool(rate) != (category == "S"):  # EN 16931, BR-S-5, BR-Z-5, BR-E-5, BR-AE-5, BR-O-5
            raise ValueError("does not go with this tax_rate: S is for a rate over 0, Z, E, AE and O are for 0")
        return category

    @field_validator("tax_exemption")
    @classmethod
    def _why_no_tax(cls, reason: str, info: ValidationInfo) -> str:
        category = info.data.get("tax_category")
        if category in ("E", "AE", "O") and not reason.strip():  # EN 16931, BR-E-10, BR-AE-10, BR-O-10
            raise ValueError(f"must say why no tax is charged, since tax_category is {category}")
        if category in ("S", "Z") and reason:
            raise ValueError(f"must be empty, since tax_category is {category}")
        return reason.strip()

    def plan(self, name: str) -> Plan:
        """As a value."""
        return Plan(
            name=name,
            description=self.description.strip(),
            currency=self.currency,
            monthly_fee=self.monthly_fee,
            setup_fee=self.setup_fee,
            included_mailboxes=self.included_mailboxes,
            included_messages=self.included_messages,
            mailbox_rates=self.mailbox_tiers.rates() if self.mailbox_tiers else None,
            message_rates=self.message_tiers.rates() if self.message_tiers else None,
            tax_rate=self.tax_rate,
            tax_category=self.tax_category,
            tax_exemption=self.tax_exemption,
            billing_day=self.billing_day,
            payment_days=self.payment_days,
            term_months=self.term_months,
            renewal_months=self.renewal_months,
            notice_days=self.notice_days,
            sla=self.sla.service_levels(),
        )


def read_plans(directory: Path) -> tuple[dict[str, Plan], tuple[Problem, ...]]:
    """All plans of `directory` by name, and all that is wrong with them. A plan with a problem is left out."""
    if not directory.is_dir():
        return {}, (Problem(str(directory), "is not a directory of plans"),)
    problems: list[Problem] = []
    plans = {path.stem: plan for path in sorted(directory.glob("*.yaml")) if (plan := _read(path, problems))}
    return plans, tuple(problems)


def _read(path: Path, problems: list[Problem]) -> Plan | None:
    if not _NAME.fullmatch(path.stem):
        problems.append(Problem(path.name, "the name must be of lower-case letters, digits, hyphens and underscores"))
        return None
    before = len(problems)
    source = read(path, path.name, problems)
    if source is None:
        return None
    try:
        table = PlanTable.model_validate({} if source.data is None else source.data)
    except ValidationError as error:
        problems += problems_of(error, PlanTable, source.where)
        return None
    return table.plan(path.stem) if len(problems) == before else None


class PlanFiles(ReloadedFiles):
    """All plans of a directory, which need not be there: then there are none."""

    def __init__(self, path: Path, *, on_problems: OnProblems = ignore_problems) -> None:
        super().__init__(on_problems=on_problems)
        self._path = path
        self._plans: dict[str, Plan] = {}

    def _paths(self) -> Iterable[Path]:
        return self._path.glob("*.yaml")

    def _take(self) -> None:
        plans, problems = read_plans(self._path) if self._path.exists() else ({}, ())
        if problems:
            raise ConfigError(problems)
        self._plans = plans

    def find(self, name: str) -> Plan:
        """The plan by its name. Raises NotFoundError naming those that are there."""
        try:
            return self._plans[name]
        except KeyError:
            known = nearest(name, self._plans) if self._plans else "there is none yet"
            raise NotFoundError(
                f"no plan {name!r} in {self._path}; {known} (see `mailguard plan list`, docs/billing.md tells how to write one)"
            ) from None

    @property
    def plans(self) -> dict[str, Plan]:
        """All plans by name."""
        return dict(self._plans)

    @property
    def hashes(self) -> dict[str, str]:
        """The hashes of all plans by name."""
        return {name: plan.hash for name, plan in self._plans.items()}
