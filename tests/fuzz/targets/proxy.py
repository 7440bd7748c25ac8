"""The PROXY header, versions 1 and 2: strictly what the specification allows, and not an octet beyond it."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

from mailguard.smtp.door import SmtpSettings
from mailguard.smtp.proxy import V1_LIMIT, V2_LIMIT, V2_SIGNATURE, ProxiedClient, ProxyError, crc32c, read_header
from tests.fuzz.smtp_door import Conversation
from tests.fuzz.step_loop import run as answer
from tests.fuzz.step_loop import step_loop
from tests.fuzz.target import Input, Target

Verdict = tuple[ProxiedClient | None, int] | None
"""The client, and how long the header was; None: it is refused."""


def reference(stream: bytes) -> Verdict:
    """What the specification makes of a connection's first octets, written down plainly."""
    if stream.startswith(V2_SIGNATURE):
        return _version_2(stream)
    end = stream.find(b"\n") + 1
    line = stream[:end]
    if not line.startswith(b"PROXY ") or not line.endswith(b"\r\n") or len(line) > V1_LIMIT:
        return None
    words = line[:-2].split(b" ")
    if words[1] == b"UNKNOWN":
        return (None, end) if all(32 <= octet < 127 for octet in line[:-2]) else None
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        return None
    version = 4 if words[1] == b"TCP4" else 6
    try:
        addresses = [ip_address(word.decode("ascii")) for word in words[2:4]]
    except ValueError:
        return None
    if any(address.version != version for address in addresses) or any(b"%" in word for word in words[2:4]):
        return None
    for port in words[4:]:
        if not (port.isdigit() and int(port) <= 65535 and str(int(port)).encode() == port):
            return None
    return ProxiedClient(str(addresses[0]), int(words[4])), end


def _version_2(stream: bytes) -> Verdict:
    if len(stream) < 16 or stream[12] not in (0x20, 0x21):
        return None
    length = stream[14] * 256 + stream[15]
    whole = stream[: 16 + length]
    if length > V2_LIMIT or len(whole) < 16 + length:
        return None
    if stream[12] == 0x20:
        return None, len(whole)
    size = {0x00: 0, 0x11: 4, 0x21: 16}.get(stream[13])
    if size is None:
        return None
    if not size:
        return None, len(whole)
    at = 16 + 2 * size + 4
    if len(whole) < at:
        return None
    port = whole[16 + 2 * size] * 256 + whole[17 + 2 * size]
    client = ProxiedClient(str(ip_address(whole[16 : 16 + size])), port)
    while at < len(whole):
        if at + 3 > len(whole):
            return None
        kind, end = whole[at], at + 3 + whole[at + 1] * 256 + whole[at + 2]
        if end > len(whole):
            return None
        if kind == 3:
            blank = whole[: at + 3] + bytes(4) + whole[end:]
            if end - at != 7 or crc32c(blank) != int.from_bytes(whole[at + 3 : end], "big"):
                return None
        at = end
    return client, len(whole)


async def _read(stream: bytes) -> Verdict:
    reader = asyncio.StreamReader(loop=step_loop())
    reader.feed_data(stream)
    reader.feed_eof()
    try:
        client = await read_header(reader)
    except ProxyError:
        return None
    return client, len(stream) - len(await reader.read())


def run(data: bytes) -> None:
    """Read it by itself; then, when it is a header, before a session: the session goes as if it were not there."""
    source = Input(data)
    summed, cut = source.flag(), 1 + source.octet()
    stream = source.rest()
    if summed and len(stream) >= 23 and stream.startswith(V2_SIGNATURE):
        stream = _with_checksum(stream)
    verdict = answer(_read(stream))
    assert verdict == reference(stream)
    settings = SmtpSettings(hostname="mx.test", proxy_networks=("192.0.2.0/24",), strict_pipelining=False)
    talk = Conversation(settings, tls=False, proxied=True)
    said = b"".join(talk.say(stream[at : at + cut]) for at in range(0, len(stream), cut))
    if verdict is None:
        assert not said, "a peer without a header was spoken to"
    else:
        assert said.startswith(b"220 mx.test "), said
        expected = verdict[0]
        address = ip_address(expected.ip if expected else "192.0.2.9")
        mapped = getattr(address, "ipv4_mapped", None)
        assert talk.protocol.client.client_ip == str(mapped or address)
        assert talk.protocol.client.client_port == (expected.port if expected else 40_000)
    talk.end()


def _with_checksum(stream: bytes) -> bytes:
    """A version 2 header with a right checksum at its end, as its last TLV."""
    body = stream[16:] + b"\x03\x00\x04"
    head = stream[:14] + (len(body) + 4).to_bytes(4, "big")[-2:]
    return head + body + crc32c(head + body + bytes(4)).to_bytes(4, "big")


_V4 = bytes.fromhex("c0000201c63364030bb80019")
_V6 = bytes.fromhex("20010db8000000000000000000000001" + "20010db8000000000000000000000002" + "0bb80019")
TARGET = Target(
    "proxy",
    run,
    (
        b"\x00\x50PROXY TCP4 192.0.2.1 198.51.100.2 3000 25\r\nEHLO x\r\n",
        b"\x00\x03PROXY TCP6 2001:db8::1 2001:db8::2 3000 25\r\n",
        b"\x00\x01PROXY TCP6 ::ffff:192.0.2.1 ::1 65535 0\r\n",
        b"\x00\x50PROXY UNKNOWN ffff:f...f:ffff 1 2 3\r\nNOOP\r\n",
        b"\x00\x50PROXY UNKNOWN\r\n",
        b"\x00\x50" + V2_SIGNATURE + b"\x21\x11\x00\x0c" + _V4 + b"NOOP\r\n",
        b"\x01\x50" + V2_SIGNATURE + b"\x21\x11\x00\x0c" + _V4,
        b"\x01\x07" + V2_SIGNATURE + b"\x21\x21\x00\x24" + _V6 + b"\x01\x00\x02h2",
        b"\x00\x50" + V2_SIGNATURE + b"\x20\x00\x00\x03abcQUIT\r\n",
        b"\x00\x50" + V2_SIGNATURE + b"\x21\x00\x00\x05abcde",
    ),
    tokens=(b"PROXY ", b"TCP4", b"TCP6", b"UNKNOWN", V2_SIGNATURE, b"\x21\x11", b"\x21\x21", b"\x03\x00\x04"),
    max_length=6000,
)
