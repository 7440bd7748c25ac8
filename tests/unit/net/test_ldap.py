"""The LDAP client against a real OpenLDAP, its filters and BER, and servers that answer nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.net.ber import BerError, element, elements, header, integer, octets, read_integer
from mailguard.net.ldap import MESSAGE_LIMIT, Found, LdapClient, LdapError, LdapServer, _values, parse_url
from mailguard.net.ldap_filter import FilterError, parse_filter
from tests.servers.slapd import BASE, BIND_DN, PASSWORD, Slapd, program, running_slapd

MAIL = parse_filter("(mail={address})")


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    if not program():
        pytest.fail("slapd is not installed: `make test` installs what the tests need")
    with running_slapd(["joe@client.test", "ann(1)*@client.test"]) as server:
        yield server


def asking(server: LdapServer, slapd: Slapd | None = None, *, timeout: float = 5.0) -> LdapClient:
    def context() -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(slapd.certificate) if slapd else None)

    return LdapClient(server, timeout=timeout, context=context)


def plain(slapd: Slapd) -> LdapServer:
    return LdapServer("localhost", slapd.port, bind_dn=BIND_DN, password=PASSWORD)


async def finds(client: LdapClient, address: str, query: str = "(mail={address})") -> bool:
    local, _, domain = address.partition("@")
    encoded = parse_filter(query).encode({"address": address, "local": local, "domain": domain})
    return await client.finds(BASE, encoded)


QUERIES = [
    ("(mail={address})", "joe@client.test", True),
    ("(mail={address})", "JOE@client.test", True),
    ("(mail={address})", "eve@client.test", False),
    ("(mail={address})", "*@client.test", False),
    ("(mail={address})", "x)(mail=*", False),
    ("(mail={address})", "ann(1)*@client.test", True),
    ("(mail={local}@{domain})", "joe@client.test", True),
    ("(|(uid={local})(mail={address}))", "joe@client.test", True),
    ("(&(objectClass=inetOrgPerson)(mail={address}))", "joe@client.test", True),
    ("(mail=joe@*.test)", "anybody@client.test", True),
    ("(mail=*)", "anybody@client.test", True),
    ("(!(objectClass=*))", "anybody@client.test", False),
    ("(mail=ann\\28*)", "anybody@client.test", True),
]


@pytest.mark.parametrize(("query", "address", "found"), QUERIES)
async def test_a_search_finds_or_not(slapd: Slapd, query: str, address: str, found: bool) -> None:
    client = asking(plain(slapd))
    assert await finds(client, address, query) is found
    client.close()


async def test_an_attribute_of_the_entry_is_read_if_it_is_the_only_one(slapd: Slapd) -> None:
    client = asking(plain(slapd))

    async def find(query: str, attribute: str) -> Found | None:
        return await client.find(BASE, parse_filter(query).encode({"address": "joe@client.test"}), attribute)

    assert await find("(mail={address})", "uid") == Found(("u0",))
    assert await find("(mail={address})", "") == Found()
    assert await find("(mail={address})", "manager") == Found()
    assert await find("(mail={address})", "objectClass") == Found(("inetOrgPerson",))
    assert await find("(mail=*)", "uid") == Found(several=True)
    assert await find("(mail=nobody)", "uid") is None


def entry(*attributes: tuple[bytes, ...]) -> bytes:
    """The content of a SearchResultEntry."""
    return octets(b"uid=x") + element(
        0x30,
        b"".join(
            element(0x30, octets(name) + element(0x31, b"".join(map(octets, values)))) for name, *values in attributes
        ),
    )


def test_values_that_are_no_text_are_digits() -> None:
    assert _values(entry((b"mail", b"b@x.test", b"a@x.test"))) == ("a@x.test", "b@x.test")
    assert _values(entry((b"objectGUID", b"\xff\x00"), (b"uid", b"a\nb"))) == ("610a62", "ff00")
    assert _values(entry()) == ()


@given(st.binary(max_size=60))
def test_nonsense_for_an_entry_raises_a_ber_error_or_nothing(content: bytes) -> None:
    with contextlib.suppress(BerError):
        assert all(isinstance(value, str) for value in _values(content))


@pytest.mark.parametrize("how", ["ldaps", "starttls"])
async def test_tls_is_verified(slapd: Slapd, how: str) -> None:
    server = plain(slapd)
    server = replace(server, port=slapd.tls_port, tls=True) if how == "ldaps" else replace(server, starttls=True)
    client = asking(server, slapd)
    assert await finds(client, "joe@client.test")
    client.close()
    with pytest.raises(LdapError, match=r"(?i)certificate"):
        await finds(asking(server), "joe@client.test")
    with pytest.raises(LdapError, match=r"(?i)certificate"):
        await finds(asking(replace(server, host="127.0.0.1"), slapd), "joe@client.test")


async def test_a_wrong_password_is_told(slapd: Slapd) -> None:
    with pytest.raises(LdapError, match="bind failed with result 49"):
        await finds(asking(replace(plain(slapd), password="wrong")), "joe@client.test")


async def test_after_a_failed_bind_nothing_is_asked_as_nobody(slapd: Slapd) -> None:
    client = asking(replace(plain(slapd), password="wrong"))
    for _ in range(3):
        with pytest.raises(LdapError, match="bind failed"):
            await finds(client, "joe@client.test")


async def test_who_waits_too_long_for_a_turn_does_not_disturb_who_has_it() -> None:
    """A server that answers each question after a while: the second in line gives up, the first has its answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        await release.wait()
        done = element(0x65, integer(0, tag=0x0A) + octets(b"") + octets(b""))
        writer.write(element(0x30, integer(1) + done))
        await reader.read()
        writer.close()

    release = asyncio.Event()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = asking(LdapServer("127.0.0.1", port), timeout=5.0)
        first = asyncio.create_task(finds(client, "joe@client.test"))
        await asyncio.sleep(0)
        client._timeout = 0.05
        with pytest.raises(LdapError, match="no answer"):
            await finds(client, "eve@client.test")
        release.set()
        assert await first is False
        client.close()


async def test_a_base_that_is_not_there_is_an_error_not_an_unknown_recipient(slapd: Slapd) -> None:
    with pytest.raises(LdapError, match="result 32"):
        await asking(plain(slapd)).finds("dc=elsewhere", MAIL.encode({"address": "joe@client.test"}))


async def test_who_may_not_search_does_not_take_everybody_for_unknown(slapd: Slapd) -> None:
    with pytest.raises(LdapError, match="result 32"):
        await finds(asking(replace(plain(slapd), bind_dn="")), "joe@client.test")


async def test_a_connection_serves_many_questions_and_is_made_anew_when_it_broke(slapd: Slapd) -> None:
    client = asking(plain(slapd))
    answers = await asyncio.gather(*(finds(client, f"{who}@client.test") for who in ("joe", "eve") * 10))
    assert answers == [True, False] * 10
    slapd.stop()
    with pytest.raises(LdapError):
        await finds(client, "joe@client.test")
    slapd.start()
    assert await finds(client, "joe@client.test")
    slapd.stop()
    slapd.start()
    assert await finds(client, "joe@client.test")
    client.close()


NONSENSE = [
    b"",
    b"HTTP/1.1 400\r\n\r\n",
    b"\x30\x84\xff\xff\xff\xff",
    b"\x30\x80\x00\x00",
    b"\x30\x03\x02\x01\x07",
    b"\x30\x00",
]


@pytest.mark.parametrize("answer", NONSENSE)
async def test_a_server_that_answers_nonsense(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(LdapError):
            await finds(asking(LdapServer("127.0.0.1", port)), "joe@client.test")


async def test_a_silent_server_is_not_waited_for() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(LdapError, match=r"no answer within 0\.1 s"):
            await finds(asking(LdapServer("127.0.0.1", port), timeout=0.1), "joe@client.test")


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("ldap://dc.client.test", ("dc.client.test", 389, False)),
        ("ldaps://dc.client.test", ("dc.client.test", 636, True)),
        ("ldap://[::1]:3389/", ("::1", 3389, False)),
    ],
)
def test_urls(url: str, parsed: tuple[str, int, bool]) -> None:
    assert parse_url(url) == parsed


@pytest.mark.parametrize(
    "url", ["http://x", "ldap://", "ldap://x/dc=a", "ldap://u:p@x", "ldap://x:99999", "ldap://x?a"]
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_url(url)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mail=x",
        "(mail=x",
        "(mail=x))",
        "()",
        "(=x)",
        "(&)",
        "(!(a=b)(c=d))",
        "(mail={password})",
        "(mail=a(b)",
        "(mail=\\x)",
    ],
)
def test_what_is_no_filter(text: str) -> None:
    with pytest.raises(FilterError):
        parse_filter(text)


def test_a_filter_nested_deeply_is_refused() -> None:
    with pytest.raises(FilterError, match="deeply"):
        parse_filter("(!" * 5000 + "(a=b)" + ")" * 5000)


@given(st.text(max_size=100))
def test_any_text_is_a_filter_or_not(text: str) -> None:
    try:
        parse_filter(text).encode({"address": "a@b", "local": "a", "domain": "b"})
    except FilterError as error:
        assert str(error)


@given(st.binary(max_size=60).map(lambda data: data.decode("latin-1")))
def test_an_address_is_a_value_and_nothing_else(address: str) -> None:
    encoded = MAIL.encode({"address": address})
    assert encoded == element(0xA3, octets(b"mail") + octets(address.encode()))


@given(st.integers(-(2**62), 2**62), st.binary(max_size=400))
def test_ber_reads_what_it_writes(number: int, content: bytes) -> None:
    parts = list(elements(integer(number) + octets(content)))
    assert read_integer(parts[0][1]) == number
    assert parts[1] == (0x04, content)


@given(st.binary(max_size=100))
def test_ber_of_any_bytes_is_bounded(data: bytes) -> None:
    read: list[Callable[[], object]] = [
        lambda: list(elements(data)),
        lambda: header(data, 50),
        lambda: read_integer(data),
    ]
    for one in read:
        try:
            one()
        except BerError as error:
            assert str(error)


def test_a_megabyte_of_small_elements_takes_no_longer_than_a_large_one() -> None:
    start = time.process_time()
    assert sum(1 for _ in elements(octets(b"") * (MESSAGE_LIMIT // 2))) == MESSAGE_LIMIT // 2
    assert time.process_time() - start < 5  # it was 9 s when each element copied all that followed it
