"""What the commands about plans, contracts and bills share: days and amounts as they are typed, the plans, who sends invoices."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, tzinfo
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import TYPE_CHECKING

from mailguard.core.errors import ConfigError, Problem

if TYPE_CHECKING:
    from mailguard.billing.document import Seller
    from mailguard.billing.plan_files import PlanFiles
    from mailguard.billing.prepare import Sources
    from mailguard.cli.context import Cli

PLANS = "plans"
"""The directory of plans, beside the filtering profiles."""


def day(text: str, *, option: str) -> date:
    """A day `YYYY-MM-DD`. Raises ConfigError."""
    try:
        found = date.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError([Problem(option, f"{text!r} is not a day such as 2026-11-24")]) from None
    if not 1970 <= found.year < 9900:
        raise ConfigError([Problem(option, f"{text!r} is not within the years 1970 to 9899")])
    return found


def amount(text: str, *, option: str) -> Decimal:
    """An amount of money such as `49.90`. Raises ConfigError."""
    try:
        found = Decimal(text.strip())
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite() or abs(found) >= 1_000_000_000:
        raise ConfigError([Problem(option, f"{text!r} is not an amount such as 49.90")])
    return found


def number(value: int | None, *, option: str, most: int) -> int | None:
    """A whole number from 0 to `most`. Raises ConfigError."""
    if value is not None and not 0 <= value <= most:
        raise ConfigError([Problem(option, f"{value} is not within 0 to {most}")])
    return value


def money(value: Decimal, currency: str = "") -> str:
    """An amount for people: `1,234.50 EUR`; with a currency, at least the digits of its minor unit."""
    from mailguard.billing.money import priced

    return f"{priced(value, currency):,f} {currency}" if currency else f"{value:,f}"


def zone_of(cli: Cli) -> tzinfo:
    """The billing time zone."""
    from mailguard.billing.months import time_zone

    return time_zone(cli.settings.billing.time_zone)


def plans_of(cli: Cli) -> PlanFiles:
    """The plans in policies/plans. Raises ConfigError with every problem of every file."""
    from mailguard.billing.plan_files import PlanFiles

    files = PlanFiles(cli.settings.policies.path / PLANS)
    files.load()
    return files


def seller_of(cli: Cli) -> Seller:
    """The provider, as [billing] names it."""
    from mailguard.billing.document import Seller
    from mailguard.billing.invoice import Party

    billing = cli.settings.billing
    party = Party(
        billing.seller_name,
        billing.seller_address,
        billing.seller_country,
        billing.seller_tax_id,
        billing.seller_email,
    )
    return Seller(party, billing.bank, billing.invoice_series, billing.credit_note_series, billing.number_digits)


def sources_of(cli: Cli) -> Sources:
    """What a run of the bill needs beside the contracts."""
    from mailguard.billing.prepare import Sources
    from mailguard.billing.sla import credits_of
    from mailguard.cli.sla import rules_of

    return Sources(zone_of(cli), seller_of(cli), partial(credits_of, rules=rules_of(cli)))


def list_text(texts: Sequence[str]) -> str:
    """Lines as one, for people."""
    return ", ".join(texts)
