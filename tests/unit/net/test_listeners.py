"""Next hops that would reach our own listeners, and private ones."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mailguard.core.envelope import NextHop
from mailguard.net.listeners import check_next_hops, is_local_address, is_own_listener

OURS = {"192.0.2.1", "2001:db8::1", "127.0.0.1", "::1"}
NAMES = {
    "us.test": ["192.0.2.1"],
    "client.test": ["198.51.100.7", "2001:db8:7::1"],
    "inside.test": ["10.0.0.7"],
    "public.test": ["93.184.215.14"],
    "both.test": ["93.184.215.14", "192.0.2.1"],
}


def is_ours(address: str) -> bool:
    return address in OURS


def wrong(hop: NextHop, *, listen: Sequence[tuple[str, int]], allow_private: bool = True) -> list[str]:
    problems = check_next_hops(
        [hop],
        listen=listen,
        allow_private=allow_private,
        addresses=lambda name: NAMES.get(name, []),
        is_local=is_ours,
    )
    return [problem.message for problem in problems]


@pytest.mark.parametrize(
    ("address", "listen", "own"),
    [
        ("192.0.2.1", ("192.0.2.1", 25), True),
        ("192.0.2.2", ("192.0.2.1", 25), False),
        ("192.0.2.1", ("0.0.0.0", 25), True),
        ("192.0.2.1", ("::", 25), True),
        ("2001:db8::1", ("::", 25), True),
        ("2001:db8::2", ("::", 25), False),
        ("::ffff:192.0.2.1", ("192.0.2.1", 25), True),
        ("0.0.0.0", ("127.0.0.1", 25), True),
        ("::", ("127.0.0.1", 25), True),
        ("192.0.2.1", ("192.0.2.1", 2525), False),
        ("127.0.0.1", ("localhost", 25), True),
    ],
)
def test_own_listeners(address: str, listen: tuple[str, int], own: bool) -> None:
    assert is_own_listener(address, 25, listen=[listen], is_local=is_ours) is own


def test_a_name_of_ours_is_refused_by_any_of_its_addresses() -> None:
    for name in ("us.test", "both.test"):
        assert "own listener" in wrong(NextHop(name), listen=[("0.0.0.0", 25)])[0]
    assert wrong(NextHop("us.test", 2525), listen=[("0.0.0.0", 25)]) == []
    assert wrong(NextHop("client.test"), listen=[("0.0.0.0", 25)]) == []
    assert wrong(NextHop("nowhere.test"), listen=[("0.0.0.0", 25)]) == []  # looked at again when it is used


@pytest.mark.parametrize(
    "host", ["10.0.0.7", "inside.test", "127.0.0.1", "fe80::1", "169.254.169.254", "::ffff:10.0.0.7"]
)
def test_private_addresses_are_the_providers(host: str) -> None:
    assert wrong(NextHop(host, 2525), listen=[]) == []
    assert "private address" in wrong(NextHop(host, 2525), listen=[], allow_private=False)[0]


def test_public_addresses_are_anyones() -> None:
    assert wrong(NextHop("public.test"), listen=[], allow_private=False) == []


def test_the_system_knows_its_own_addresses() -> None:
    assert is_local_address("127.0.0.1")
    assert not is_local_address("192.0.2.1")
