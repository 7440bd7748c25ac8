"""The PROXY header: what is taken, and that nothing else is."""

from __future__ import annotations

import asyncio
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.smtp.proxy import V2_SIGNATURE, ProxiedClient, ProxyError, crc32c, parse_v1, parse_v2, read_header

PORTS = st.integers(0, 65535)


def v2(body: bytes, *, command: int = 0x21, family: int = 0x11) -> tuple[bytes, bytes]:
    return V2_SIGNATURE + struct.pack("!BBH", command, family, len(body)), body


def tcp4(source: str = "192.0.2.7", port: int = 4321) -> bytes:
    return IPv4Address(source).packed + IPv4Address("127.0.0.1").packed + struct.pack("!HH", port, 25)


async def read(stream: bytes) -> tuple[ProxiedClient | None, bytes]:
    reader = asyncio.StreamReader()
    reader.feed_data(stream)
    reader.feed_eof()
    return await read_header(reader), await reader.read()


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), PORTS, PORTS)
def test_v1_over_ipv4(source: IPv4Address, target: IPv4Address, port: int, target_port: int) -> None:
    line = f"PROXY TCP4 {source} {target} {port} {target_port}\r\n".encode()
    assert asyncio.run(read(line + b"EHLO x\r\n")) == (ProxiedClient(str(source), port), b"EHLO x\r\n")


@given(st.ip_addresses(v=6), st.ip_addresses(v=6), PORTS, PORTS)
def test_v1_over_ipv6(source: IPv6Address, target: IPv6Address, port: int, target_port: int) -> None:
    line = f"PROXY TCP6 {source.exploded} {target} {port} {target_port}\r\n".encode()
    assert parse_v1(line) == ProxiedClient(str(source), port)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), PORTS, st.binary(max_size=20))
def test_v2_with_tlvs(source: IPv4Address | IPv6Address, port: int, value: bytes) -> None:
    addresses = source.packed + bytes(len(source.packed)) + struct.pack("!HH", port, 25)
    body = addresses + struct.pack("!BH", 0x02, len(value)) + value
    head, body = v2(body, family=0x11 if source.version == 4 else 0x21)
    assert asyncio.run(read(head + body + b"\r\n")) == (ProxiedClient(str(source), port), b"\r\n")


def test_own_connection_of_the_proxy_stands_for_itself() -> None:
    assert parse_v1(b"PROXY UNKNOWN\r\n") is None
    assert parse_v1(b"PROXY UNKNOWN ffff::1 whatever 1 2\r\n") is None
    assert parse_v2(*v2(b"", command=0x20, family=0)) is None
    assert parse_v2(*v2(b"any garbage", command=0x20, family=0x99)) is None
    assert parse_v2(*v2(b"", family=0)) is None


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY\r\n",
        b"PROXY \r\n",
        b"proxy TCP4 192.0.2.7 127.0.0.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\n",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2 \r\n",
        b"PROXY TCP4  192.0.2.7 127.0.0.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 1\r\n",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 01 2\r\n",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 65536 2\r\n",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 1 99999\r\n",
        b"PROXY TCP4 192.0.2.07 127.0.0.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.7 ::1 1 2\r\n",
        b"PROXY TCP6 192.0.2.7 127.0.0.1 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        b"PROXY UDP4 192.0.2.7 127.0.0.1 1 2\r\n",
        b"PROXY UNKNOWNX\r\n",
        b"PROXY UNKNOWN " + b"x" * 100 + b"\r\n",
    ],
)
def test_v1_is_strict(line: bytes) -> None:
    with pytest.raises(ProxyError):
        parse_v1(line)
    with pytest.raises(ProxyError):
        asyncio.run(read(line))


@pytest.mark.parametrize(
    ("head", "body"),
    [
        v2(tcp4(), command=0x22),
        v2(tcp4(), command=0x11),
        v2(tcp4(), family=0x12),  # datagrams
        v2(tcp4(), family=0x31),  # UNIX
        v2(tcp4(), family=0x21),  # too short for IPv6
        v2(tcp4()[:11]),
        v2(tcp4() + b"\x04\x00"),
        v2(tcp4() + b"\x04\x00\x05abcd"),
        v2(tcp4() + b"\x03\x00\x04\x00\x00\x00\x00"),  # a checksum that is wrong
        v2(tcp4() + b"\x03\x00\x02\x00\x00"),
        v2(bytes(5000)),
    ],
)
def test_v2_is_strict(head: bytes, body: bytes) -> None:
    with pytest.raises(ProxyError):
        parse_v2(head, body)


def test_v2_length_must_match() -> None:
    head, body = v2(tcp4())
    with pytest.raises(ProxyError, match="length"):
        parse_v2(head, body + b"x")


def test_v2_checksum_that_holds() -> None:
    head, body = v2(tcp4() + b"\x03\x00\x04\x00\x00\x00\x00")
    body = body[:-4] + crc32c(head + body).to_bytes(4, "big")
    assert parse_v2(head, body) == ProxiedClient("192.0.2.7", 4321)


def test_crc32c_check_value() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720 §B.4's polynomial, the usual check value


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda b: V2_SIGNATURE + b)))
def test_garbage_is_an_error_or_a_client_with_a_real_address(stream: bytes) -> None:
    try:
        client, _rest = asyncio.run(read(stream))
    except ProxyError:
        return
    if client is not None:
        ip_address(client.ip)
        assert 0 <= client.port <= 65535
