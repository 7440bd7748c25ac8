"""SPF driven by our resolver: identities, limits, failures, hostile records. The RFC's own cases are in tests/suites."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.checks import spf_query
from mailguard.checks.spf_memory import OCTETS_LIMIT, REMEMBERED, Outcome, Seen, SpfMemory
from mailguard.checks.spf_query import RECORD_LIMIT, SpfResult, check_spf
from mailguard.core.verdict import AuthOutcome
from mailguard.net.dns import Answer, StaticResolver, Zone


async def check(
    zone: Zone, *, ip: str = "192.0.2.1", helo: str = "mx.a.test", mail_from: str = "x@a.test"
) -> SpfResult:
    return await check_spf(StaticResolver(zone), ip=ip, helo=helo, mail_from=mail_from, hostname="relay.test")


@pytest.mark.parametrize(
    ("record", "outcome", "mechanism"),
    [
        ("v=spf1 ip4:192.0.2.0/24 -all", "pass", "ip4:192.0.2.0/24"),
        ("v=spf1 -all", "fail", "-all"),
        ("v=spf1 ~all", "softfail", "~all"),
        ("v=spf1 ?all", "neutral", "?all"),
        ("v=spf1", "neutral", ""),
        ("v=spf10 -all", "none", ""),
        ("v=spf1 ipv4:192.0.2.1 -all", "permerror", ""),  # strict: a spelling mistake is not forgiven
        ("v=spf1 mx -all", "pass", "mx"),
        ("v=spf1 exists:%{l}.who.test -all", "pass", "exists:%{l}.who.test"),
        ("v=spf1 ptr -all", "pass", "ptr"),
        ("v=spf1 include:slow.test -all", "temperror", ""),
        ("v=spf1 redirect=nowhere.test", "permerror", ""),
    ],
)
async def test_results_of_a_record(record: str, outcome: str, mechanism: str) -> None:
    zone = {
        "a.test": {"TXT": ["unrelated", record], "MX": [(10, "m1.a.test"), (20, "m2.a.test")]},
        "m1.a.test": {"A": ["198.51.100.1"]},
        "m2.a.test": {"A": ["192.0.2.1"]},
        "x.who.test": {"A": ["127.0.0.2"]},
        "slow.test": {"TXT": "TIMEOUT"},
        "1.2.0.192.in-addr.arpa": {"PTR": ["slow-ptr.test", "M2.a.test"]},
        "slow-ptr.test": {"*": "SERVFAIL"},
    }
    result = await check(zone)
    assert (result.outcome, result.mechanism) == (outcome, mechanism)
    assert result.domain == "a.test"


async def test_the_null_sender_is_judged_by_helo() -> None:
    zone = {"mx.a.test": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]}}
    result = await check(zone, mail_from="")
    assert (result.identity, result.domain, result.outcome) == ("helo", "mx.a.test", AuthOutcome.PASS)
    for helo in ("[192.0.2.1]", "localhost", "", "a..test"):
        assert (await check({}, mail_from="", helo=helo)).outcome is AuthOutcome.NONE


async def test_mapped_addresses_and_ipv6() -> None:
    zone = {"a.test": {"TXT": ["v=spf1 ip4:192.0.2.1 ip6:2001:db8::/32 -all"]}}
    assert (await check(zone, ip="::ffff:192.0.2.1")).outcome is AuthOutcome.PASS
    assert (await check(zone, ip="2001:db8::7")).outcome is AuthOutcome.PASS
    assert (await check(zone, ip="2001:db9::7")).outcome is AuthOutcome.FAIL


async def test_internationalised_sender() -> None:
    zone = {"xn--bcher-kva.test": {"TXT": ["v=spf1 exists:%{l}.who.test ip4:192.0.2.1 -all"]}}
    result = await check(zone, mail_from="jürgen@bücher.test")  # RFC 8616 §5: %{l} does not match, the rest does
    assert (result.domain, result.outcome) == ("xn--bcher-kva.test", AuthOutcome.PASS)


async def test_the_explanation_comes_as_one_safe_line() -> None:
    zone = {
        "a.test": {"TXT": ["v=spf1 exp=why.a.test -all"]},
        "why.a.test": {"TXT": ["%{i} is not one of ours,\r\n250 OK, says %{r}"]},
    }
    result = await check(zone)
    assert result.explanation == "192.0.2.1 is not one of ours, 250 OK, says relay.test"


async def test_a_sender_with_tags_is_looked_up_as_it_is() -> None:
    zone = {"a.test": {"TXT": ["v=spf1 exists:%{l}.who.test -all"]}, "x+tag.who.test": {"A": ["127.0.0.2"]}}
    assert (await check(zone, mail_from="x+tag@a.test")).outcome is AuthOutcome.PASS


async def test_an_at_in_the_local_part_does_not_hide_the_domain() -> None:
    zone: Zone = {"a.test": {"TXT": ["v=spf1 exists:%{l}.who.test -all"]}, "y.who.test": {"A": ["127.0.0.2"]}}
    for sender in ('"x@b.test"@a.test', "@@a.test"):
        result = await check(zone, mail_from=sender)
        assert (result.domain, result.outcome) == ("a.test", AuthOutcome.FAIL)


async def test_look_up_limits_hold() -> None:
    chain: Zone = {f"n{i}.test": {"TXT": [f"v=spf1 include:n{i + 1}.test -all"]} for i in range(30)}
    assert (await check(chain, mail_from="x@n0.test")).outcome is AuthOutcome.PERMERROR
    void = {"a.test": {"TXT": ["v=spf1 a:v1.test a:v2.test a:v3.test ip4:192.0.2.1 -all"]}}
    assert (await check(void)).outcome is AuthOutcome.PERMERROR
    many = {"a.test": {"TXT": ["v=spf1 mx -all"], "MX": [(i, f"m{i}.test") for i in range(11)]}}
    assert (await check(many)).outcome is AuthOutcome.PERMERROR


class Counting(StaticResolver):
    """Knows how many look-ups there were at one time, at most."""

    most = now = 0

    async def query(self, name: str, rdtype: str) -> Answer:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        return await super().query(name, rdtype)


async def test_hosts_and_includes_are_asked_for_at_once() -> None:
    hosts = [f"m{i}.test" for i in range(8)]
    zone: Zone = {
        "a.test": {"TXT": ["v=spf1 mx -all"], "MX": [(1, host) for host in hosts]},
        "b.test": {"TXT": ["v=spf1 " + " ".join(f"include:{host}" for host in hosts) + " -all"]},
        **{host: {"A": ["192.0.2.1"], "TXT": ["v=spf1 ip4:198.51.100.7 ~all"]} for host in hosts},
    }
    for sender, outcome in (("x@a.test", AuthOutcome.PASS), ("x@b.test", AuthOutcome.FAIL)):
        resolver = Counting(zone)
        result = await check_spf(resolver, ip="192.0.2.1", helo="h.test", mail_from=sender, hostname="relay.test")
        assert result.outcome is outcome
        assert resolver.most == 8
        assert len(set(resolver.queries)) == len(resolver.queries)


async def test_side_by_side_checks_share_nothing() -> None:
    zone: dict[str, dict[str, list[str]]] = {
        f"d{i}.test": {"TXT": [f"v=spf1 a:h{i}.test {'-' if i % 2 else '~'}all"]} for i in range(40)
    }
    results = await asyncio.gather(*(check(zone, mail_from=f"x@d{i}.test") for i in range(40)))
    assert [result.outcome for result in results] == [AuthOutcome.SOFTFAIL, AuthOutcome.FAIL] * 20


@pytest.mark.parametrize(
    "record",
    [
        "v=spf1 a:." + "a" * 60_000 + "! -all",
        "v=spf1 " + ("a:." + "a" * 500 + "! ") * 15,
        "v=spf1 " + "%{" * 2_000,
        "v=spf1 exists:%{d999999999r}.test",
        "v=spf1 " + "ip4:192.0.2.9 " * 500,
        "v=spf1 a:" + "a." * 240 + "-",
        "v=spf1 exp=" + "%{l}" * 100 + ".test -all",
    ],
)
async def test_hostile_records_cost_little(record: str) -> None:
    started = time.process_time()
    result = await check({"a.test": {"TXT": [record]}})
    assert isinstance(result, SpfResult)
    assert time.process_time() - started < 0.5
    if len(record) > RECORD_LIMIT:
        assert result.outcome is AuthOutcome.PERMERROR


async def test_the_same_answers_make_the_same_result_without_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []

    def counted(run: spf_query._Run) -> Outcome:
        runs.append(run.s)
        return outcome_of(run)

    outcome_of = spf_query._Run.outcome
    monkeypatch.setattr(spf_query._Run, "outcome", counted)
    memory = SpfMemory()
    zone: dict[str, dict[str, list[str]]] = {
        "a.test": {"TXT": ["v=spf1 include:b.test a:h.test -all"]},
        "b.test": {"TXT": ["v=spf1 ip4:198.51.100.1 -all"]},
        "h.test": {"A": ["192.0.2.7"]},
    }

    async def again(mail_from: str = "x@a.test", ip: str = "192.0.2.1") -> tuple[SpfResult, int]:
        runs.clear()
        resolver = StaticResolver(zone)
        result = await check_spf(
            resolver, ip=ip, helo="mx.a.test", mail_from=mail_from, hostname="relay.test", memory=memory
        )
        assert len(resolver.queries) == len(set(resolver.queries))
        return result, len(runs)

    first, needed = await again()
    assert first.outcome is AuthOutcome.FAIL and needed > 0
    assert await again() == (first, 0)
    assert await again("other@a.test") == (first, 0)  # no macro asks for the local part
    assert (await again(ip="192.0.2.2"))[1] > 0
    zone["h.test"]["A"] = ["192.0.2.1"]
    result, needed = await again()
    assert result.outcome is AuthOutcome.PASS and needed > 0
    assert await again() == (result, 0)
    zone["a.test"]["TXT"] = ["v=spf1 ~all"]
    assert (await again())[0].outcome is AuthOutcome.SOFTFAIL


@pytest.mark.parametrize(
    "zone",
    [
        {"a.test": {"TXT": ["v=spf1 exists:%{l}.who.test -all"]}, "x.who.test": {"A": ["127.0.0.2"]}},
        {"a.test": {"TXT": ["v=spf1 exp=why.test -all"]}, "why.test": {"TXT": ["%{s} may not"]}},
        {"a.test": {"TXT": ["v=spf1 include:slow.test -all"]}, "slow.test": {"TXT": "TIMEOUT"}},
        {"a.test": {"TXT": ["v=spf1 -all", "x" * (OCTETS_LIMIT + 1)]}},
    ],
)
async def test_what_may_come_out_otherwise_is_not_kept(zone: Zone) -> None:
    memory = SpfMemory()
    for sender in ("x@a.test", "y@a.test"):
        resolver = StaticResolver(zone)
        kept = await check_spf(
            resolver, ip="192.0.2.1", helo="h.test", mail_from=sender, hostname="r.test", memory=memory
        )
        assert kept == await check(zone, helo="h.test", mail_from=sender)
        assert memory.get("192.0.2.1", "a.test") is None


def test_what_was_not_asked_for_the_longest_is_forgotten() -> None:
    memory = SpfMemory()
    seen = Seen({("a.test", "TXT"): [(b"v=spf1 -all",)]}, (AuthOutcome.FAIL, "-all", ""))
    for number in range(REMEMBERED):
        memory.put(f"192.0.2.{number}", "a.test", seen)
    assert memory.get("192.0.2.0", "a.test") is seen
    memory.put("198.51.100.1", "a.test", seen)
    assert memory.get("192.0.2.0", "a.test") is seen
    assert memory.get("192.0.2.1", "a.test") is None


TERMS = st.lists(
    st.one_of(
        st.sampled_from(
            ["a", "mx", "ptr", "-all", "include:b.test", "exists:%{ir}.%{l1r-}.test", "ip4:192.0.2.1/0", "ip6:::/0",
             "redirect=b.test", "exp=%{d}", "a//0", "mx/33", "include:a.test", "ip6:%{i}", "ip4:", "default=-"]
        ),
        st.text(max_size=30),
    ),
    max_size=8,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(TERMS, st.text(max_size=20), st.text(max_size=20), st.sampled_from(["192.0.2.1", "2001:db8::1"]))
def test_nothing_raises(terms: list[str], helo: str, local: str, ip: str) -> None:
    zone = {
        "a.test": {"TXT": ["v=spf1 " + " ".join(terms)], "A": ["192.0.2.9"], "MX": [(1, "a.test")]},
        "b.test": {"TXT": ["v=spf1 a:b.test ?all"]},
        "1.2.0.192.in-addr.arpa": {"PTR": ["a.test", "\xff.test"]},
    }
    memory = SpfMemory()
    for sender in (f"{local}@a.test", "", "other@a.test", f"{local}@a.test"):
        result = asyncio.run(check(zone, ip=ip, helo=helo, mail_from=sender))
        assert result.reason.isascii()
        kept = check_spf(StaticResolver(zone), ip=ip, helo=helo, mail_from=sender, hostname="relay.test", memory=memory)
        assert asyncio.run(kept) == result
