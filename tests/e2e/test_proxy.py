"""A listener for load balancers: the client is whom the PROXY header names, and only trusted peers may send one."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.dns_server import DnsServer
from tests.e2e.mails import arrived, mail
from tests.e2e.test_swaks import swaks
from tests.servers.clamd import Clamd
from tests.servers.ports import free_port
from tests.servers.relay import Relay
from tests.servers.sink_thread import SinkThread

CLIENTS = {"TCP4": ("192.0.2.77", "198.51.100.1"), "TCP6": ("2001:db8::77", "2001:db8::1")}


@pytest.fixture(scope="module")
def proxied(
    tmp_path_factory: pytest.TempPathFactory, clamd: Clamd, dns_server: DnsServer, shared_sink: SinkThread
) -> Iterator[Relay]:
    """A relay whose one listener wants a PROXY header, from 127.0.0.1 only."""
    relay = Relay(tmp_path_factory.mktemp("proxied"), clamd=clamd.address, dns=dns_server.address)
    relay.environment |= {
        "MAILGUARD_SERVER__LISTEN": f'["127.0.0.1:{free_port()}"]',
        "MAILGUARD_SERVER__PROXY_LISTEN": f'["127.0.0.1:{relay.port}"]',
        "MAILGUARD_SERVER__PROXY_TRUSTED": '["127.0.0.1/32"]',
    }
    dns_server.update({"proxied.test": {"TXT": ["v=spf1 ip4:192.0.2.77 ip6:2001:db8::77 -all"]}})
    relay.add_tenant("acme", "client.test", shared_sink.port)
    yield relay.start()
    relay.stop()
    relay.run("ledger", "check")


@pytest.mark.parametrize("family", CLIENTS)
@pytest.mark.parametrize("version", [1, 2])
def test_the_client_is_whom_the_header_names(
    proxied: Relay, shared_sink: SinkThread, version: int, family: str
) -> None:
    source, target = CLIENTS[family]
    named = family if version == 1 else family.replace("TCP4", "AF_INET").replace("TCP6", "AF_INET6")
    header = f"--proxy-version {version} --proxy-command PROXY --proxy-family {named} --proxy-protocol STREAM".split()
    header += [
        "--proxy-source",
        source,
        "--proxy-dest",
        target,
        "--proxy-source-port",
        "4711",
        "--proxy-dest-port",
        "25",
    ]
    recipient = f"v{version}.{family}@client.test"
    done = swaks(proxied, recipient, *header, "--from", "a@proxied.test")
    assert done.returncode == 0, done.stdout
    (received,) = arrived(shared_sink, recipient)
    literal = f"IPv6:{source}" if ":" in source else source
    assert received.content.startswith(f"Received: from mail.sender.test ([{literal}])".encode())
    assert b"spf=pass smtp.mailfrom=a@proxied.test" in received.content
    (row,) = proxied.json("trace", "--to", recipient)
    assert row["client_ip"] == source


@pytest.mark.parametrize(
    "opening",
    [
        b"EHLO mail.sender.test\r\n",
        b"PROXY TCP4 192.0.2.77 198.51.100.1 4711\r\n",
        b"PROXY TCP4 999.0.2.77 198.51.100.1 4711 25\r\n",
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x02xx",
    ],
)
def test_a_connection_without_a_whole_header_is_cut_without_a_word(proxied: Relay, opening: bytes) -> None:
    with socket.create_connection(("127.0.0.1", proxied.port), 10) as connection:
        connection.sendall(opening)
        assert _all_it_says(connection) == b""


def test_a_peer_that_is_not_trusted_is_cut_whatever_it_sends(proxied: Relay) -> None:
    with socket.create_connection(("127.0.0.1", proxied.port), 10, source_address=("127.0.0.2", 0)) as connection:
        connection.sendall(b"PROXY TCP4 192.0.2.77 198.51.100.1 4711 25\r\nEHLO mail.sender.test\r\n")
        assert b"220" not in _all_it_says(connection)


def test_mail_by_a_proxy_that_speaks_for_itself(proxied: Relay, shared_sink: SinkThread) -> None:
    with socket.create_connection(("127.0.0.1", proxied.port), 10) as connection:
        connection.sendall(b"PROXY UNKNOWN\r\n")
        replies = connection.makefile("rb")
        assert replies.readline().startswith(b"220 ")
        said = (b"HELO lb.client.test", b"MAIL FROM:<a@sender.test>", b"RCPT TO:<own@client.test>", b"DATA")
        for line, code in zip(said, (b"250", b"250", b"250", b"354"), strict=True):
            connection.sendall(line + b"\r\n")
            assert replies.readline()[:3] == code
        connection.sendall(mail("by the proxy itself") + b".\r\n")
        assert replies.readline().startswith(b"250 ")
    (received,) = arrived(shared_sink, "own@client.test")
    assert b"lb.client.test ([127.0.0.1])" in received.content


def _all_it_says(connection: socket.socket) -> bytes:
    try:
        return b"".join(iter(lambda: connection.recv(4096), b""))
    except ConnectionResetError:
        return b""
