"""Limits on connections, per client and in all, and on what one connection may do."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mailguard.smtp import limits as limits_module
from mailguard.smtp import replies
from mailguard.smtp.door import SmtpSettings
from mailguard.smtp.limits import ConnectionLimits, Refusal, SessionBudget, client_address, client_key


class Seconds:
    """A clock that a test turns."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def settings(**given: object) -> SmtpSettings:
    return SmtpSettings(hostname="mx.test", **{"unlimited_networks": (), **given})  # type: ignore[arg-type]


def test_connections_in_all() -> None:
    limits = ConnectionLimits(settings(max_connections=2))
    assert [limits.enter(), limits.enter(), limits.enter()] == [None, None, Refusal.TOTAL]
    limits.leave()
    assert limits.enter() is None


def test_connections_of_one_client() -> None:
    limits = ConnectionLimits(settings(connections_per_client=1))
    assert limits.enter_client("192.0.2.1") is None
    assert limits.enter_client("192.0.2.1") is Refusal.CLIENT
    assert limits.enter_client("::ffff:192.0.2.1") is Refusal.CLIENT
    assert limits.enter_client("192.0.2.2") is None
    limits.leave_client("192.0.2.1")
    assert limits.enter_client("192.0.2.1") is None


def test_an_ipv6_customer_is_its_64() -> None:
    limits = ConnectionLimits(settings(connections_per_client=1))
    assert limits.enter_client("2001:db8:1:2::1") is None
    assert limits.enter_client("2001:db8:1:2:ffff::9") is Refusal.CLIENT
    assert limits.enter_client("2001:db8:1:3::1") is None
    assert client_key(client_address("fe80::1%eth0")) == "fe80000000000000/64"


def test_rate_of_one_client() -> None:
    clock = Seconds()
    limits = ConnectionLimits(settings(connections_per_minute=3), monotonic=clock)

    def connect() -> Refusal | None:
        refusal = limits.enter_client("192.0.2.1")
        if refusal is None:
            limits.leave_client("192.0.2.1")
        return refusal

    assert [connect() for _ in range(4)] == [None, None, None, Refusal.RATE]
    clock.now += 20
    assert [connect(), connect()] == [None, Refusal.RATE]
    clock.now += 3600
    assert [connect() for _ in range(4)] == [None, None, None, Refusal.RATE]


def test_unlimited_networks() -> None:
    limits = ConnectionLimits(settings(connections_per_client=0, unlimited_networks=("127.0.0.0/8", "2001:db8::/32")))
    assert limits.enter_client("127.1.2.3") is None
    limits.leave_client("127.1.2.3")
    assert limits.enter_client("2001:db8::1") is None
    assert limits.enter_client("192.0.2.1") is Refusal.CLIENT


def test_quiet_clients_are_forgotten_connected_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "CLIENTS_REMEMBERED", 10)
    limits = ConnectionLimits(settings(connections_per_client=1))
    limits.enter_client("192.0.2.255")
    for i in range(50):
        limits.enter_client(f"192.0.2.{i}")
        limits.leave_client(f"192.0.2.{i}")
    assert len(limits._clients) <= 11
    assert limits.enter_client("192.0.2.255") is Refusal.CLIENT


class Counting(RuleBasedStateMachine):
    """Whatever the order, what is open is what entered and has not left, and no client exceeds its share."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = ConnectionLimits(settings(connections_per_client=2, max_connections=5), monotonic=Seconds())
        self.open: list[str] = []

    @rule(ip=st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]))
    def connect(self, ip: str) -> None:
        if self.limits.enter() is not None:
            assert len(self.open) == 5
            return
        same = [each for each in self.open if client_key(client_address(each)) == client_key(client_address(ip))]
        if self.limits.enter_client(ip) is None:
            self.open.append(ip)
            assert len(same) < 2
        else:
            assert len(same) == 2
            self.limits.leave()

    @precondition(lambda self: self.open)
    @rule(index=st.integers(0, 100))
    def disconnect(self, index: int) -> None:
        ip = self.open.pop(index % len(self.open))
        self.limits.leave_client(ip)
        self.limits.leave()

    @invariant()
    def counts_agree(self) -> None:
        assert self.limits.open == len(self.open)


TestCounting = Counting.TestCase


def test_budget_of_a_session() -> None:
    budget = SessionBudget(
        settings(commands_per_session=6, junk_commands=2, errors_per_session=2, messages_per_session=1)
    )
    assert [budget.command(b"NOOP"), budget.command(b"RSET")] == [None, None]
    assert budget.command(b"NOOP") is replies.TOO_MUCH_JUNK
    budget.accepted()
    assert budget.command(b"NOOP") is None
    assert [budget.command(b"MAIL"), budget.command(b"MAIL"), budget.command(b"MAIL")] == [
        None,
        None,
        replies.TOO_MANY_COMMANDS,
    ]
    assert [budget.error(), budget.error()] == [None, replies.TOO_MANY_ERRORS]
    assert [budget.transaction(), budget.transaction()] == [None, replies.TOO_MANY_MESSAGES]
