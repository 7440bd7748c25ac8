"""MTA-STS policies (RFC 8461): parsed, fetched from a real HTTPS server, kept, and never believed beyond what they may say."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.net.dns import StaticResolver
from mailguard.net.mta_sts import AGAIN_AFTER, MtaSts, StsMode, StsPolicy, parse_policy
from mailguard.net.tls_contexts import TlsContexts
from tests.servers.pki import Issued, authority

CA = authority()
POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: mail.client.test\r\nmx: *.mx.client.test\r\nmax_age: 86400\r\n"


# the text


def test_a_policy_is_read() -> None:
    assert parse_policy(POLICY) == StsPolicy(StsMode.ENFORCE, ("mail.client.test", "*.mx.client.test"), 86400)
    lenient = b"VERSION:STSv1\nmode:  testing\nmode: enforce\nmx: MAIL.client.TEST.\nunknown: x\nno colon\n\nmax_age: 99999999"
    assert parse_policy(lenient) == StsPolicy(StsMode.TESTING, ("mail.client.test",), 31_557_600)
    assert parse_policy(b"version: STSv1\nmode: none\nmax_age: 60").mode is StsMode.NONE


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>not found</html>",
        POLICY.replace(b"STSv1", b"STSv2"),
        POLICY.replace(b"enforce", b"strict"),
        POLICY.replace(b"86400", b"-1"),
        POLICY.replace(b"86400", "٣".encode()),
        POLICY.replace(b"max_age", b"maxage"),
        POLICY.replace(b"mx:", b"mix:"),
        POLICY.replace(b"*.mx", b"*.*.mx"),
        POLICY.replace(b"mail.client.test", b"mail.client.test evil"),
        b"version: STSv1\nmode: enforce\nmax_age: 60\n" + b"mx: a.test\n" * 1001,
    ],
)
def test_what_is_no_policy(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"its|names"):
        parse_policy(text)


@given(st.binary(max_size=300))
def test_any_octets_are_a_policy_or_none(text: bytes) -> None:
    try:
        policy = parse_policy(text)
    except ValueError:
        return
    assert policy.max_age >= 0


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("mail.client.test", True),
        ("MAIL.client.test.", True),
        ("a.mx.client.test", True),
        ("a.b.mx.client.test", False),  # RFC 8461 §4.1: one label
        ("mx.client.test", False),
        ("mail.client.test.evil.test", False),
    ],
)
def test_patterns(host: str, allowed: bool) -> None:
    assert parse_policy(POLICY).allows(host) is allowed


# fetched


@dataclass
class Site:
    """Serves one answer by HTTPS, whatever is asked."""

    body: bytes = POLICY
    head: bytes = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    silent: bool = False
    requests: list[bytes] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(await reader.readuntil(b"\r\n\r\n"))
        if self.silent:
            await asyncio.sleep(30)
        writer.write(self.head + self.body)
        writer.close()


@asynccontextmanager
async def site(tmp_path: Path, issued: Issued | None = None) -> AsyncIterator[Site]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*(issued or CA.issue("mta-sts.client.test")).write(tmp_path, "site"))
    made = Site()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=context)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


RECORDS: dict[str, dict[str, list[str]]] = {
    "_mta-sts.client.test": {"TXT": ["v=STSv1; id=20250401T1000;"]},
    "mta-sts.client.test": {"A": ["127.0.0.1"]},
}


def sts(
    made: Site,
    tmp_path: Path,
    *,
    private: bool = True,
    clock: Callable[[], float] = lambda: 1000.0,
    timeout: float = 2.0,
) -> tuple[MtaSts, StaticResolver]:
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    resolver = StaticResolver(RECORDS)
    contexts = TlsContexts(ca_file=str(tmp_path / "ca.pem"))
    return MtaSts(resolver, contexts, port=made.port, private=private, clock=clock, timeout=timeout), resolver


def publish(resolver: StaticResolver, *texts: str) -> None:
    resolver._zone["_mta-sts.client.test"] = {"TXT": texts}


async def test_a_policy_is_fetched_once_and_kept(tmp_path: Path) -> None:
    async with site(tmp_path) as made:
        policies, _ = sts(made, tmp_path)
        found = await asyncio.gather(*(policies.policy("client.test") for _ in range(5)))
        assert set(found) == {parse_policy(POLICY)}
        assert await policies.policy("CLIENT.test.") == found[0]
        (request,) = made.requests
        assert request.startswith(b"GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.client.test\r\n")


async def test_a_policy_outlives_its_record_and_its_server_but_not_its_age(tmp_path: Path) -> None:
    now = 1000.0
    async with site(tmp_path) as made:
        policies, resolver = sts(made, tmp_path, clock=lambda: now)
        assert await policies.policy("client.test")
        publish(resolver)  # an attacker who suppresses the record
        now += 80_000
        assert await policies.policy("client.test")
        publish(resolver, "v=STSv1; id=new")
        made.head = b"HTTP/1.1 404 Not Found\r\n\r\n"
        assert await policies.policy("client.test")
        now += 10_000
        assert await policies.policy("client.test") is None


async def test_a_new_id_brings_a_new_policy_and_a_failure_is_not_repeated_at_once(tmp_path: Path) -> None:
    now = 1000.0
    async with site(tmp_path) as made:
        policies, resolver = sts(made, tmp_path, clock=lambda: now)
        await policies.policy("client.test")
        publish(resolver, "v=STSv1; id=2")
        made.body = POLICY.replace(b"enforce", b"none")
        now += AGAIN_AFTER
        made.head, good = b"HTTP/1.1 500 No\r\n\r\n", made.head
        for _ in range(3):
            assert (await policies.policy("client.test")) == parse_policy(POLICY)
        assert len(made.requests) == 2
        made.head = good
        now += AGAIN_AFTER
        found = await policies.policy("client.test")
        assert found is not None and found.mode is StsMode.NONE


async def test_a_policy_is_fetched_anew_before_it_runs_out(tmp_path: Path) -> None:
    now = 1000.0
    async with site(tmp_path) as made:
        policies, _ = sts(made, tmp_path, clock=lambda: now)
        for _ in range(4):
            assert await policies.policy("client.test")
            now += 50_000
        assert len(made.requests) == 4


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 301 Moved\r\nLocation: https://evil.test/\r\nContent-Type: text/plain\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX: " + b"x" * 40_000 + b"\r\n\r\n",
        b"220 smtp.client.test ESMTP\r\n",
        b"",
    ],
)
async def test_answers_that_are_no_policy(tmp_path: Path, head: bytes) -> None:
    async with site(tmp_path) as made:
        made.head = head
        policies, _ = sts(made, tmp_path)
        assert await policies.policy("client.test") is None
        assert len(made.requests) == 1


async def test_too_large_and_too_slow(tmp_path: Path) -> None:
    async with site(tmp_path) as made:
        made.body = POLICY + b"mx: a.test\r\n" * 6000
        policies, _ = sts(made, tmp_path)
        assert await policies.policy("client.test") is None
        made.silent = True
        policies, _ = sts(made, tmp_path, timeout=0.2)
        assert await policies.policy("client.test") is None


@pytest.mark.parametrize("issued", [CA.issue("client.test"), authority().issue("mta-sts.client.test")])
async def test_the_site_must_be_who_it_says(tmp_path: Path, issued: Issued) -> None:
    async with site(tmp_path, issued) as made:
        policies, _ = sts(made, tmp_path)
        assert await policies.policy("client.test") is None
        assert not made.requests


async def test_private_addresses_are_not_asked(tmp_path: Path) -> None:
    async with site(tmp_path) as made:
        policies, _ = sts(made, tmp_path, private=False)
        assert await policies.policy("client.test") is None
        assert not made.requests


@pytest.mark.parametrize(
    "records",
    [
        (),
        ("v=STSv1; id=1", "v=STSv1; id=2"),
        ("v=STSv1;",),
        ("v=STSv1; id=with space",),
        ("v=STSv2; id=1",),
        ("v=spf1 -all",),
        ("v=STSv1; id=" + "1" * 33,),
    ],
)
async def test_records_that_announce_nothing(tmp_path: Path, records: tuple[str, ...]) -> None:
    async with site(tmp_path) as made:
        policies, resolver = sts(made, tmp_path)
        publish(resolver, *records)
        assert await policies.policy("client.test") is None
        publish(resolver, "v=spf1 -all", "v=STSv1;x=y; id = abc ; z=1")
        assert await policies.policy("client.test")
