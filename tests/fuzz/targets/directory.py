"""LDAP: BER from a server, and filters that an admin writes and addresses fill in."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import cast
from unittest.mock import patch

from mailguard.net.ber import BerError, element, elements, header, integer, octets, read_integer
from mailguard.net.ldap import LdapClient, LdapError, LdapServer
from mailguard.net.ldap_filter import FilterError, parse_filter
from mailguard.net.tls_contexts import TlsContexts
from tests.fuzz.step_loop import run as answer
from tests.fuzz.step_loop import step_loop
from tests.fuzz.target import Input, Target

_DEPTH = 40


def _walk(content: bytes, depth: int = 0) -> list[int]:
    """The tags of all elements, the constructed ones' inner ones too."""
    tags: list[int] = []
    for tag, inner in elements(content):
        tags.append(tag)
        if tag & 0x20 and depth < _DEPTH:
            tags += _walk(inner, depth + 1)
    return tags


def ber(data: bytes) -> None:
    """Elements of any octets; what reads as some can be written again."""
    source = Input(data)
    whole = source.long_rest()
    try:
        found = list(elements(whole))
    except BerError:
        found = []
    else:
        again = b"".join(element(tag, content) for tag, content in found)
        assert list(elements(again)) == found
        assert len(again) <= len(whole)
    for tag, content in found:
        assert tag & 0x1F != 0x1F
        if tag == 0x02:
            try:
                value = read_integer(content)
            except BerError:
                continue
            (again_tag, again_content), *rest = elements(integer(value))
            assert (again_tag, read_integer(again_content), rest) == (0x02, value, [])
    with contextlib.suppress(BerError):
        _walk(whole)
    try:
        first = header(whole, 1 << 20)
    except BerError:
        return
    assert first is None or (2 <= first[1] <= 6 and 0 <= first[2] <= 1 << 20)


def filters(data: bytes) -> None:
    """A filter, and what an address makes of it: other values, never another form."""
    source = Input(data)
    address = source.text()
    text = source.long_rest().decode("utf-8", "replace")
    try:
        parsed = parse_filter(text)
    except FilterError as error:
        assert str(error)
        return
    plain = parsed.encode({"address": "a@b.test", "local": "a", "domain": "b.test"})
    local, _, domain = address.rpartition("@")
    hostile = parsed.encode({"address": address, "local": local, "domain": domain})
    assert _walk(hostile) == _walk(plain)
    assert "{address}" not in text or address.encode() in hostile
    assert len(list(elements(hostile))) == 1


class _Writer:
    """Takes what is written to a server that is not there."""

    def __init__(self) -> None:
        self.transport = SimpleNamespace(abort=lambda: None)

    def write(self, data: bytes) -> None:
        """Lose it."""

    def close(self) -> None:
        """Nothing to close."""


def client(data: bytes) -> None:
    """A server that answers a bind and a search with any octets."""
    source = Input(data)
    bind, number = source.flag(), source.flag()
    stream = source.long_rest()
    if number:
        stream = _as_answers(stream, bind)
    server = LdapServer("directory.test", 389, bind_dn="cn=x" if bind else "", password="p")

    async def connect(*_arguments: object, **_options: object) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader = asyncio.StreamReader(loop=step_loop())
        reader.feed_data(stream)
        reader.feed_eof()
        return reader, cast(asyncio.StreamWriter, _Writer())

    ldap = LdapClient(server, timeout=5, context=lambda: TlsContexts().get(verified=True))
    query = parse_filter("(mail={address})").encode({"address": "u@client.test"})
    with patch("asyncio.open_connection", connect):
        for _ in range(2):  # the second time on the connection that was kept, if it was
            try:
                assert answer(ldap.finds("dc=test", query)) in (True, False)
            except LdapError as error:
                assert str(error)
                assert str(error).isprintable()
    ldap.close()


def _as_answers(stream: bytes, bind: bool) -> bytes:
    """The parts of an input as the operations of messages with the right numbers."""
    first = 1 if bind else 0
    messages = [element(0x30, integer(1) + element(0x61, _done(0)))] if bind else []
    for number, part in enumerate(stream.split(b"\0\0")[:10]):
        tag, content = (part[0], part[1:]) if part else (0x65, _done(0))
        messages.append(element(0x30, integer(first + 1 + number // 2) + element(tag & 0xFE, content)))
    return b"".join(messages)


def _done(code: int) -> bytes:
    return integer(code, tag=0x0A) + octets(b"") + octets(b"")


_SEARCH = element(0x30, integer(1) + element(0x64, octets(b"cn=u") + element(0x30, b"")))
_DONE = element(0x30, integer(1) + element(0x65, _done(0)))
TARGETS = (
    Target(
        "ber",
        ber,
        (_SEARCH + _DONE, b"\x30\x84\x00\x00\x00\x03\x02\x01\x05", b"\x30\x80", b"\x1f\x01x", b"\xfd\x30\x02\xfe\x20"),
        tokens=(b"\x30\x84", b"\x02\x01\x01", b"\x0a\x01\x00", b"\x04\x00", b"\x82\x01\x00", b"\xff\xff\xff\xff"),
    ),
    Target(
        "ldap_filter",
        filters,
        (
            b"u@client.test\0\0(mail={address})",
            b"*)(uid=*\0\0(|(mail={address})(proxyAddresses=smtp:{local}*{domain}*))",
            b"\\2a)\0\0(&(objectClass=person)(!(a=\\2a))(b>=1)(c<=2)(d~=3)(e=*))",
            b"x\0\0(\xfd&(\xfe\x10a=b))",
            b"x\0\0(&\xfd(a=b)\xfe\x20)",
            b"x\0\0(a=\xfd*\xfe\x20)",
            b"x\0\0(1.2.3;lang-de=a)",
        ),
        tokens=(b"(", b")", b"&", b"|", b"!", b"*", b"\\2a", b"{address}", b"{local}", b"{domain}", b">=", b"~="),
    ),
    Target(
        "ldap_client",
        client,
        (
            b"\x00\x00" + _SEARCH + _DONE,
            b"\x00\x00" + _DONE + _DONE.replace(b"\x02\x01\x01", b"\x02\x01\x02"),
            b"\x01\x01d\0\0e" + _done(0),
            b"\x00\x01e" + _done(32) + b"\0\0s\0\0",
            b"\x00\x00" + element(0x30, integer(0) + element(0x78, _done(52))),
            b"\x00\x01e\x0a\x09\xff\xff\xff\xff\xff\xff\xff\xff\xff\x04\x00\x04\x00",
        ),
        tokens=(_DONE, _SEARCH, b"\x0a\x01\x00", b"\x04\x00", b"\x30\x84", b"\x02\x01\x01"),
    ),
)
