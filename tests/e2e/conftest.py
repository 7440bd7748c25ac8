"""The surroundings of the real relay: clamd, a DNS server, next hops, all private and on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.dns_server import DnsServer
from tests.servers.clamd import Clamd, installed, private_clamd
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread, running_sink

ZONE: dict[str, dict[str, Any]] = {
    "sender.test": {
        "TXT": ["v=spf1 ip4:127.0.0.0/8 -all"],
        "A": ["127.0.0.1"],
        "MX": [(10, "mail.sender.test")],
    },
    "mail.sender.test": {"A": ["127.0.0.1"]},
    "forged.test": {"TXT": ["v=spf1 -all"]},
    "_dmarc.forged.test": {"TXT": ["v=DMARC1; p=reject"]},
    "_dmarc.sender.test": {"TXT": ["v=DMARC1; p=reject"]},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/e2e/" in str(item.path):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def clamd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clamd]:
    if not installed():
        pytest.fail("clamd is not installed: `make test` installs what the tests need")
    with private_clamd(tmp_path_factory.mktemp("clamd")) as running:
        yield running


@pytest.fixture(scope="session")
def dns_server() -> Iterator[DnsServer]:
    with DnsServer(ZONE) as server:
        yield server


@pytest.fixture
def new_sink() -> Iterator[Callable[..., SinkThread]]:
    """Makes next hops: `new_sink(script={"rcpt": "550 5.1.1 No such user"})`."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(running_sink(**options))


@pytest.fixture
def new_relay(tmp_path: Path, clamd: Clamd, dns_server: DnsServer) -> Iterator[Callable[..., Relay]]:
    """Makes relays, not yet started; all are stopped at the test's end, and their ledgers must hold."""
    made: list[Relay] = []

    def make(**options: Any) -> Relay:
        settings = {"clamd": clamd.address, "dns": dns_server.address, **options}
        relay = Relay(tmp_path / f"relay{len(made)}", **settings)
        made.append(relay)
        return relay

    yield make
    for relay in made:
        relay.stop()
    for relay in made:
        relay.run("ledger", "check")


@pytest.fixture
def sink(new_sink: Callable[..., SinkThread]) -> SinkThread:
    """The next hop of client.test."""
    return new_sink()


@pytest.fixture
def relay(new_relay: Callable[..., Relay], sink: SinkThread) -> Relay:
    """A running relay with tenant `acme`: client.test goes to `sink`."""
    made = new_relay()
    made.add_tenant("acme", "client.test", sink.port)
    return made.start()


@pytest.fixture(scope="module")
def shared_sink() -> Iterator[SinkThread]:
    """The next hop behind `shared_relay`."""
    with running_sink() as made:
        yield made


@pytest.fixture(scope="module")
def shared_relay(
    tmp_path_factory: pytest.TempPathFactory, clamd: Clamd, dns_server: DnsServer, shared_sink: SinkThread
) -> Iterator[Relay]:
    """As `relay`, once for a file of tests that do not change it and look at mails of their own only."""
    made = Relay(tmp_path_factory.mktemp("relay"), clamd=clamd.address, dns=dns_server.address)
    made.add_tenant("acme", "client.test", shared_sink.port)
    yield made.start()
    made.stop()
    made.run("ledger", "check")
