"""The dialogues of tests/chat with running relays, and what arrives behind them at the next hop.

Left out are those with limits and times set so low that each would need a relay of its own, and those with a Door that
fails on purpose: tests/chat plays them with the door alone.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.chat.dialogue import Dialogue, parse
from tests.chat.runner import DIALOGUES, Client
from tests.chat.test_smuggling import BARE, LONE_DOT
from tests.dns_server import DnsServer
from tests.servers.clamd import Clamd
from tests.servers.ports import free_port, wait_until
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread, running_sink
from tests.servers.smtp_sink import Received

NEEDS: dict[str, dict[str, object]] = {
    "plain": {},
    "proxy": {"listener": "proxy"},
    "refuse": {"bare_newline": "refuse"},
    "lax": {"strict_pipelining": False},
}
"""A relay's name, and the settings of the dialogues that are played with it."""
ENVIRONMENT = {
    "refuse": {"MAILGUARD_SERVER__BARE_NEWLINE": "refuse"},
    "lax": {"MAILGUARD_SERVER__STRICT_PIPELINING": "false"},
}
Door = tuple[int, SinkThread]
"""The port that mail is taken in on, and where it goes."""


def relay_for(dialogue: Dialogue) -> str:
    """The relay that a dialogue is played with; empty when it needs another."""
    settings = {name: value for name, value in dialogue.settings.items() if (name, value) != ("tls", True)}
    return next((name for name, needs in NEEDS.items() if needs == settings), "")


PLAYED = [path for path in sorted(DIALOGUES.glob("*.chat")) if relay_for(parse(path))]


@pytest.fixture(scope="module")
def door(
    tmp_path_factory: pytest.TempPathFactory, clamd: Clamd, dns_server: DnsServer
) -> Iterator[Callable[[str], Door]]:
    """Doors by the names of NEEDS: their relays are started when they are first asked for."""
    made: dict[str, Door] = {}
    with ExitStack() as stack:

        def door_of(name: str) -> Door:
            if name not in made:
                made[name] = _start(stack, name, tmp_path_factory.mktemp(name), clamd.address, dns_server.address)
            return made[name]

        yield door_of


def _start(stack: ExitStack, name: str, root: Path, clamd: str, dns: str) -> Door:
    sink = stack.enter_context(running_sink())
    environment, port = dict(ENVIRONMENT.get(name, {})), 0
    if name == "proxy":
        port = free_port()
        environment |= {
            "MAILGUARD_SERVER__PROXY_LISTEN": f"127.0.0.1:{port}",
            "MAILGUARD_SERVER__PROXY_TRUSTED": "127.0.0.0/8",
        }
    relay = Relay(root, clamd=clamd, dns=dns, environment=environment)
    relay.add_tenant("acme", "client.test", sink.port, "--policy", "tag-only")
    stack.callback(relay.run, "ledger", "check")
    stack.callback(relay.stop)
    relay.start()
    return port or relay.port, sink


@pytest.mark.parametrize("path", PLAYED, ids=lambda path: path.stem)
def test_dialogue_with_the_running_relay(path: Path, door: Callable[[str], Door]) -> None:
    dialogue = parse(path)
    port, sink = door(relay_for(dialogue))
    before = len(sink.messages)
    asyncio.run(Client("127.0.0.1", port).play(dialogue))
    if dialogue.messages is None:
        return
    expected = [
        (sender, routed, content)
        for sender, recipients, content in dialogue.messages
        if (routed := [recipient for recipient in recipients if "@" in recipient])  # bare postmaster goes elsewhere
    ]
    # A client that goes away after its final dot does not hear when the mail has gone on.
    wait_until(lambda: len(sink.messages) - before >= len(expected), what="the messages arriving")
    arrived = sink.messages[before:]
    assert [(_path(one.mail), [_path(rcpt) for rcpt in one.rcpts]) for one in arrived] == [
        (sender, recipients) for sender, recipients, _content in expected
    ]
    for one, (_sender, _recipients, content) in zip(arrived, expected, strict=True):
        assert content is None or _arrived_as(one, content)
        assert not BARE.search(one.wire)
        assert one.chunked or not LONE_DOT.search(b"\r\n" + one.wire)


def test_most_dialogues_are_played() -> None:
    assert len(PLAYED) >= 140


def _path(command: str) -> str:
    found = re.match(r"(?:MAIL FROM|RCPT TO):<(.*)>", command)
    assert found, command
    return found[1]


def _arrived_as(received: Received, content: bytes) -> bool:
    """Whether it is `content` below our headers, but for the line end that a message must have."""
    _block, _, below = received.content.partition(b"X-MailGuard-Score: ")
    return below.endswith(content) or below.endswith(content + b"\r\n")
