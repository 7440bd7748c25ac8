"""The service level in a report: measured until the invoice is there, from then on as that froze it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date
from decimal import Decimal
from pathlib import Path

import pytest

from mailguard.billing.invoice import ServiceLevel
from mailguard.billing.months import month
from mailguard.billing.plans import Commitment, CommitmentName, CreditStep, ServiceLevels
from mailguard.billing.report.facts import ServiceFacts
from mailguard.billing.report.service import service_of
from mailguard.billing.sla import SlaRules
from tests.unit.billing.bill_world import a_plan
from tests.unit.billing.provider import Provider, at

PROMISED = ServiceLevels(
    (Commitment(CommitmentName.AVAILABILITY, Decimal("99.9"), (CreditStep(Decimal(99), Decimal(10)),)),)
)


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    made = Provider(tmp_path)
    made.clock.now = at(2027, 1, 1)
    yield made
    made.close()


def shown(provider: Provider, name: str = "2027-01") -> ServiceFacts:
    period = month(name, zone=UTC)
    return provider.database.read(lambda conn: service_of(conn, provider.tenants["acme"], period, rules=SlaRules(UTC)))


def test_without_a_contract_nothing_was_promised(provider: Provider) -> None:
    assert shown(provider) == ServiceFacts(None, ())


def test_it_is_measured_until_the_invoice_is_frozen(provider: Provider) -> None:
    provider.sign(a_plan(sla=PROMISED), date(2027, 1, 1))
    provider.mail(at(2027, 1, 5))
    provider.clock.now = at(2027, 2, 1)
    (measured,) = shown(provider).levels
    assert (measured.target, measured.measured, measured.met) == ("≥ 99.9 %", "0 %", False)  # nobody probed
    assert measured.credit_percent == 10
    frozen = ServiceLevel("Availability", "≥ 99.9 %", "98.5 %", met=False, credit_percent=Decimal(7))
    provider.levels = (frozen,)
    provider.run("2027-01")
    assert shown(provider).levels == (frozen,)
    assert shown(provider, "2027-02").levels != (frozen,)
