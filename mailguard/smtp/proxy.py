"""The PROXY protocol, versions 1 and 2: a strict parser of the header that a trusted load balancer puts before a connection.

Follows the specification "The PROXY protocol, versions 1 & 2" of HAProxy. Anything it does not allow is an error.
"""

from __future__ import annotations

import re
import struct
from asyncio import IncompleteReadError, LimitOverrunError, StreamReader
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V1_LIMIT = 107
"""Longest version 1 line, with its CRLF (§2.1)."""
V2_LIMIT = 4096
"""Longest version 2 body we take; senders stay far below it."""

_V1 = re.compile(
    r"PROXY (?:(?P<family>TCP4|TCP6) (?P<source>[0-9A-Fa-f:.]+) (?P<target>[0-9A-Fa-f:.]+)"
    r" (?P<source_port>0|[1-9][0-9]{0,4}) (?P<target_port>0|[1-9][0-9]{0,4})|UNKNOWN(?: [\x20-\x7e]*)?)\r\n"
)
_LOCAL, _PROXY = 0x20, 0x21
_UNSPEC, _TCP4, _TCP6 = 0x00, 0x11, 0x21
_TLV_CRC32C = 0x03


class ProxyError(Exception):
    """The connection does not begin with a PROXY header as it must."""


@dataclass(frozen=True, slots=True)
class ProxiedClient:
    """The client that the header names."""

    ip: str
    port: int


async def read_header(reader: StreamReader) -> ProxiedClient | None:
    """Read the header that must open the connection.

    None: the connection is the proxy's own (version 2 LOCAL, a health check) or of unknown origin, and the peer stands for
    itself. Raises ProxyError for anything but a valid header; reads no octet beyond it.
    """
    try:
        start = await reader.readexactly(6)
        if start == b"PROXY ":
            line = bytearray(start)
            while not line.endswith(b"\n"):
                if len(line) >= V1_LIMIT:
                    raise ProxyError("version 1 header too long")
                line += await reader.readexactly(1)
            return parse_v1(bytes(line))
        if not V2_SIGNATURE.startswith(start):
            raise ProxyError("no PROXY header")
        head = start + await reader.readexactly(10)
        return parse_v2(head, await reader.readexactly(body_length(head)))
    except (IncompleteReadError, LimitOverrunError) as error:
        raise ProxyError("PROXY header cut short") from error


def parse_v1(line: bytes) -> ProxiedClient | None:
    """The client of a version 1 line with its CRLF; None for UNKNOWN. Raises ProxyError."""
    match = _V1.fullmatch(line.decode("ascii", "replace"))
    if match is None or len(line) > V1_LIMIT:
        raise ProxyError("malformed version 1 header")
    if match["family"] is None:
        return None
    parse = IPv4Address if match["family"] == "TCP4" else IPv6Address
    try:
        source, _target = parse(match["source"]), parse(match["target"])
    except AddressValueError as error:
        raise ProxyError("malformed version 1 address") from error
    if int(match["source_port"]) > 65535 or int(match["target_port"]) > 65535:
        raise ProxyError("version 1 port out of range")
    return ProxiedClient(str(source), int(match["source_port"]))


def body_length(head: bytes) -> int:
    """How many octets follow the 16 of a version 2 head. Raises ProxyError when it is none, or too many."""
    signature, command, _family, length = struct.unpack("!12sBBH", head)
    if signature != V2_SIGNATURE:
        raise ProxyError("malformed version 2 signature")
    if command not in (_LOCAL, _PROXY):
        raise ProxyError("unknown version 2 version or command")
    if length > V2_LIMIT:
        raise ProxyError("version 2 header too long")
    return int(length)


def parse_v2(head: bytes, body: bytes) -> ProxiedClient | None:
    """The client of a version 2 header; None for LOCAL and for an unspecified family. Raises ProxyError."""
    if body_length(head) != len(body):
        raise ProxyError("version 2 length does not match")
    command, family = head[12], head[13]
    if command == _LOCAL:
        return None  # whatever else it says must be ignored (§2.2)
    sizes = {_UNSPEC: 0, _TCP4: 12, _TCP6: 36}
    if family not in sizes:
        raise ProxyError("version 2 family or transport is not TCP over IP")
    if len(body) < sizes[family]:
        raise ProxyError("version 2 addresses cut short")
    if family == _UNSPEC:
        return None
    _check_tlvs(head, body, sizes[family])
    if family == _TCP4:
        source, _target, port, _target_port = struct.unpack_from("!4s4sHH", body)
        return ProxiedClient(str(IPv4Address(source)), port)
    source, _target, port, _target_port = struct.unpack_from("!16s16sHH", body)
    return ProxiedClient(str(IPv6Address(source)), port)


def _check_tlvs(head: bytes, body: bytes, at: int) -> None:
    """The type-length-values after the addresses: they must fill the header exactly, and a checksum must hold (§2.2.3)."""
    while at < len(body):
        if len(body) - at < 3:
            raise ProxyError("version 2 TLV cut short")
        kind, length = struct.unpack_from("!BH", body, at)
        at += 3
        if len(body) - at < length:
            raise ProxyError("version 2 TLV cut short")
        if kind == _TLV_CRC32C:
            if length != 4:
                raise ProxyError("malformed version 2 checksum")
            blanked = head + body[:at] + bytes(4) + body[at + 4 :]
            if crc32c(blanked) != int.from_bytes(body[at : at + 4], "big"):
                raise ProxyError("version 2 checksum does not match")
        at += length


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of `data`, as the checksum TLV wants it (RFC 9260 appendix A). For short data: bit by bit."""
    crc = 0xFFFFFFFF
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
