"""Where mail goes on: tenants' domains by the directory, our own outbound mail by smarthost or MX."""

from __future__ import annotations

import pytest

from mailguard.core.envelope import NextHop
from mailguard.core.errors import PermanentError, TemporaryError
from mailguard.core.tenant import Directory, Domain, Tenant
from mailguard.core.transport import AS_SET_FOR_ALL, HopSecurity, TlsMode
from mailguard.delivery.route import OutboundRoutes, tenant_route
from mailguard.net.dns import StaticResolver
from mailguard.net.mta_sts import StsMode, StsPolicy

ZONE = {
    "two.test": {"MX": [(20, "b.two.test"), (10, "a.two.test")]},
    "implicit.test": {"A": ["192.0.2.1"]},
    "null.test": {"MX": [(0, "")], "A": ["192.0.2.1"]},
    "bare.test": {"TXT": ["no mail here"]},
    "broken.test": {"MX": "SERVFAIL"},
    "half.test": {"A": "TIMEOUT"},
    "us.test": {"MX": [(10, "relay.test"), (20, "other.test")]},
    "backup.test": {"MX": [(10, "own.backup.test"), (20, "Relay.Test"), (30, "worse.test")]},
    "many.test": {"MX": [(i, f"mx{i}.many.test") for i in range(30)]},
}


def routes(**settings: object) -> OutboundRoutes:
    return OutboundRoutes(StaticResolver(ZONE), hostname="relay.test", **settings)  # type: ignore[arg-type]


def test_tenant_domain_has_the_route_of_the_directory() -> None:
    hops = (NextHop("192.0.2.7", 2526, 10), NextHop("mx.client.test", 25, 20))
    directory = Directory.of([Tenant(2, "client")], [Domain("client.test", 2, hops), Domain("homeless.test", 2)])
    route = tenant_route(directory, "client.test")
    assert route is not None
    assert route.next_hops == hops
    assert not route.public_only
    assert tenant_route(directory, "homeless.test") is None
    assert tenant_route(directory, "gone.test") is None


@pytest.mark.parametrize(
    ("domain", "hosts"),
    [
        ("two.test", ["a.two.test", "b.two.test"]),
        ("implicit.test", ["implicit.test"]),
        ("backup.test", ["own.backup.test"]),
        ("[192.0.2.9]", ["192.0.2.9"]),
        ("[IPv6:2001:db8::1]", ["2001:db8::1"]),
    ],
)
async def test_route_by_mx(domain: str, hosts: list[str]) -> None:
    route = await routes().route(domain)
    assert [hop.host for hop in route.next_hops] == hosts
    assert route.public_only


@pytest.mark.parametrize(
    ("domain", "reply"),
    [
        ("null.test", "556 5.1.10"),
        ("bare.test", "550 5.1.2"),
        ("nowhere.test", "550 5.1.2"),
        ("us.test", "554 5.4.6"),
        ("[300.1.1.1]", "550 5.1.2"),
    ],
)
async def test_no_route_ever(domain: str, reply: str) -> None:
    with pytest.raises(PermanentError) as caught:
        await routes().route(domain)
    assert str(caught.value.reply).startswith(reply)


@pytest.mark.parametrize("domain", ["broken.test", "half.test"])
async def test_no_route_for_now(domain: str) -> None:
    with pytest.raises(TemporaryError) as caught:
        await routes().route(domain)
    assert str(caught.value.reply).startswith("451 4.4.3")


async def test_exchangers_are_limited() -> None:
    assert len((await routes().route("many.test")).next_hops) == 10


async def test_smarthost_takes_all() -> None:
    smarthost = NextHop("smart.test", 587)
    route = await routes(smarthost=smarthost).route("null.test")
    assert route.next_hops == (smarthost,)
    assert not route.public_only


async def test_private_networks_only_on_demand() -> None:
    assert not (await routes(private=True).route("two.test")).public_only


class Policies:
    """Stands for MtaSts: one policy for every domain."""

    def __init__(self, mode: StsMode, *mx: str) -> None:
        self._policy = StsPolicy(mode, mx, 86400)

    async def policy(self, domain: str) -> StsPolicy | None:
        return self._policy


async def test_an_mta_sts_policy_chooses_the_exchangers_and_wants_them_verified() -> None:
    route = await routes(sts=Policies(StsMode.ENFORCE, "b.two.test")).route("two.test")
    assert [hop.host for hop in route.next_hops] == ["b.two.test"]
    assert route.security.mode(TlsMode.OPPORTUNISTIC) is TlsMode.VERIFIED
    implicit = await routes(sts=Policies(StsMode.ENFORCE, "implicit.test")).route("implicit.test")
    assert implicit.security == HopSecurity(at_least=TlsMode.VERIFIED)


async def test_exchangers_that_the_policy_does_not_name_are_no_route_for_now() -> None:
    with pytest.raises(TemporaryError) as caught:
        await routes(sts=Policies(StsMode.ENFORCE, "*.two.example")).route("two.test")
    assert (caught.value.reply.code, caught.value.reply.enhanced) == (451, "4.7.5")
    assert "MTA-STS: two.test allows *.two.example, not a.two.test" in caught.value.reason


@pytest.mark.parametrize("mode", [StsMode.TESTING, StsMode.NONE])
async def test_policies_that_enforce_nothing(mode: StsMode) -> None:
    route = await routes(sts=Policies(mode, "other.test")).route("two.test")
    assert len(route.next_hops) == 2 and route.security == AS_SET_FOR_ALL


async def test_a_smarthost_is_met_by_its_own_security_whatever_the_policy() -> None:
    ours = HopSecurity(username="relay", password="x")
    hop = NextHop("smarthost.test", 587)
    route = await routes(sts=Policies(StsMode.ENFORCE, "other.test"), smarthost=hop, security=ours).route("two.test")
    assert (route.next_hops, route.security) == ((hop,), ours)
