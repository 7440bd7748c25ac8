"""How fast mail may come: per client and per tenant, with a limiter that counts as it is told."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from mailguard.core.reply import Reply
from mailguard.smtp.rates import CLIENT_MESSAGES, CLIENT_RECIPIENTS, TENANT_MESSAGES, Rates, RateSettings


@dataclass
class Counter:
    """A Limiter without time."""

    used: dict[str, int] = field(default_factory=dict)

    def take(self, key: str, *, limit: int, seconds: float) -> bool:
        self.used[key] = self.used.get(key, 0) + 1
        return self.used[key] <= limit


def test_without_limits_nothing_is_counted() -> None:
    counter = Counter()
    rates = Rates(RateSettings(), counter)
    for _ in range(3):
        assert rates.message("192.0.2.1") is rates.recipient("192.0.2.1") is rates.tenant_message(2) is None
    assert counter.used == {}


def test_each_client_has_its_own_limit() -> None:
    rates = Rates(RateSettings(client_messages_per_minute=2), Counter())
    assert [rates.message("192.0.2.1") for _ in range(3)] == [None, None, CLIENT_MESSAGES]
    assert rates.message("192.0.2.2") is None
    assert rates.recipient("192.0.2.1") is None


def test_ipv6_is_counted_by_64() -> None:
    rates = Rates(RateSettings(client_recipients_per_minute=1), Counter())
    assert rates.recipient("2001:db8::1") is None
    assert rates.recipient("2001:db8::2") is CLIENT_RECIPIENTS
    assert rates.recipient("2001:db8:0:1::1") is None
    assert rates.recipient("::ffff:192.0.2.1") is None
    assert rates.recipient("192.0.2.1") is CLIENT_RECIPIENTS


def test_hour_limits_beside_the_minute() -> None:
    counter = Counter()
    rates = Rates(RateSettings(client_messages_per_minute=10, client_messages_per_hour=1), counter)
    assert rates.message("192.0.2.1") is None
    assert rates.message("192.0.2.1") is CLIENT_MESSAGES
    assert sorted(counter.used) == ["m1:192.0.2.1", "m60:192.0.2.1"]


def test_some_networks_have_no_limit() -> None:
    rates = Rates(RateSettings(client_messages_per_minute=1, unlimited_networks=("10.0.0.0/8", "::1/128")), Counter())
    assert [rates.message("10.9.9.9") for _ in range(3)] == [None] * 3
    assert [rates.message("::1") for _ in range(3)] == [None] * 3


def test_tenants_are_counted_whoever_sends() -> None:
    rates = Rates(RateSettings(tenant_messages_per_minute=1), Counter())
    assert [rates.tenant_message(tenant) for tenant in (2, 3, 2)] == [None, None, TENANT_MESSAGES]


@pytest.mark.parametrize("reply", [CLIENT_MESSAGES, CLIENT_RECIPIENTS, TENANT_MESSAGES])
def test_refusals_are_temporary_and_say_why(reply: Reply) -> None:
    assert reply.transient
    assert reply.enhanced == "4.7.1"
    assert "Too many" in reply.text
