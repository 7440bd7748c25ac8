"""The runner: side by side, under one budget, and no failure that does not show."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import fields

import pytest

from mailguard.checks.base import CheckContext
from mailguard.checks.runner import INLINE_LIMIT, Runner
from mailguard.core.errors import UnavailableError
from mailguard.core.verdict import Attachment, CheckResult, CheckStatus, Symbol
from tests.unit.checks.contexts import PLAIN, context

Behaviour = Callable[[Mapping[str, CheckResult]], Awaitable[CheckResult]]


class Fake:
    """A check that does what it is told."""

    def __init__(self, name: str, behaviour: Behaviour | None = None, needs: tuple[str, ...] = ()) -> None:
        self.name = name
        self.needs = needs
        self.waits = True
        self._behaviour = behaviour
        self.cancelled = self.closed = False

    async def run(self, context: CheckContext, results: Mapping[str, CheckResult]) -> CheckResult:
        try:
            return await self._behaviour(results) if self._behaviour else CheckResult(self.name)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        except GeneratorExit:
            self.closed = True
            raise


async def hang(results: Mapping[str, CheckResult]) -> CheckResult:
    await asyncio.Event().wait()
    raise AssertionError


def raising(error: Exception) -> Behaviour:
    async def behave(results: Mapping[str, CheckResult]) -> CheckResult:
        raise error

    return behave


async def test_results_come_in_the_order_of_the_checks() -> None:
    findings = await Runner([Fake("b"), Fake("a"), Fake("c", needs=("b",))]).run(context())
    assert [result.check for result in findings.results] == ["b", "a", "c"]
    assert all(result.status is CheckStatus.OK for result in findings.results)


async def test_checks_run_at_the_same_time() -> None:
    met = asyncio.Barrier(3)

    async def meet(results: Mapping[str, CheckResult]) -> CheckResult:
        await met.wait()
        return CheckResult("x")

    findings = await Runner([Fake(name, meet) for name in "abc"], budget=5).run(context())
    assert not findings.failed_checks


async def test_a_check_gets_what_it_needs() -> None:
    seen: dict[str, CheckResult] = {}

    async def look(results: Mapping[str, CheckResult]) -> CheckResult:
        seen.update(results)
        return CheckResult("dmarc")

    async def late(results: Mapping[str, CheckResult]) -> CheckResult:
        await asyncio.sleep(0)
        return CheckResult("spf", detail="late")

    checks = [
        Fake("dmarc", look, needs=("spf", "dkim", "not configured")),
        Fake("spf", late),
        Fake("dkim", raising(KeyError())),
    ]
    await Runner(checks).run(context())
    assert set(seen) == {"spf", "dkim"}
    assert seen["spf"].detail == "late"
    assert seen["dkim"].status is CheckStatus.TEMPERROR


@pytest.mark.parametrize(
    ("error", "detail"),
    [(RuntimeError("secret"), "unforeseen RuntimeError"), (UnavailableError("clamd is away"), "clamd is away")],
)
async def test_a_crash_is_a_temperror_that_shows(error: Exception, detail: str) -> None:
    findings = await Runner([Fake("clamav", raising(error)), Fake("rules")]).run(context())
    assert findings.failed_checks == ("clamav",)
    result = findings.results[0]
    assert result.detail == detail
    assert [symbol.name for symbol in result.symbols] == ["CLAMAV_TEMPERROR"]
    assert findings.results[1].status is CheckStatus.OK


async def test_a_temperror_without_a_symbol_gets_one() -> None:
    async def temperror(results: Mapping[str, CheckResult]) -> CheckResult:
        return CheckResult("dnsbl", CheckStatus.TEMPERROR, (Symbol("LISTED", 1),))

    findings = await Runner([Fake("dnsbl", temperror)]).run(context())
    assert [symbol.name for symbol in findings.symbols] == ["LISTED", "DNSBL_TEMPERROR"]


async def test_the_budget_ends_what_hangs() -> None:
    hanging = Fake("spf", hang)
    started = time.monotonic()
    findings = await Runner([hanging, Fake("rules"), Fake("dmarc", needs=("spf",))], budget=0.05).run(context())
    assert time.monotonic() - started < 1
    assert hanging.cancelled
    assert findings.failed_checks == ("spf", "dmarc")
    assert [symbol.name for symbol in findings.symbols] == ["SPF_TEMPERROR", "DMARC_TEMPERROR"]
    assert findings.results[0].detail == "not done within 0.05 s"


async def test_a_check_that_will_not_be_cancelled_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailguard.checks.runner.GRACE", 0.05)
    release = asyncio.Event()

    async def stubborn(results: Mapping[str, CheckResult]) -> CheckResult:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return CheckResult("x")

    findings = await Runner([Fake("x", stubborn)], budget=0.02).run(context())
    assert findings.failed_checks == ("x",)
    release.set()


async def test_cancelling_the_run_cancels_the_checks() -> None:
    hanging = Fake("spf", hang)
    task = asyncio.create_task(Runner([hanging]).run(context()))
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert hanging.cancelled


async def test_each_check_is_timed() -> None:
    async def slow(results: Mapping[str, CheckResult]) -> CheckResult:
        time.sleep(0.02)
        return CheckResult("slow")

    told: list[tuple[str, CheckStatus]] = []
    checks = [Fake("slow", slow), Fake("after", needs=("slow",)), Fake("hang", hang)]
    runner = Runner(checks, budget=0.2, on_timing=lambda check, status, seconds: told.append((check, status)))
    findings = await runner.run(context())
    assert findings.results[0].elapsed >= 0.02
    assert findings.results[1].elapsed < 0.02  # waiting for what it needs does not count
    assert findings.results[2].elapsed == 0.2
    assert told == [("slow", CheckStatus.OK), ("after", CheckStatus.OK), ("hang", CheckStatus.TEMPERROR)]


async def test_findings_of_the_message() -> None:
    async def attachments(results: Mapping[str, CheckResult]) -> CheckResult:
        return CheckResult("attachments", attachments=(Attachment("a.zip", "", "", 1, ""),))

    raw = b"From: Alice <Alice@B.Example>\r\n\r\nsee http://X.example/ and https://y.example\r\n"
    findings = await Runner([Fake("attachments", attachments)]).run(context(raw))
    assert findings.from_address == "alice@b.example"
    assert findings.link_hosts == ("x.example", "y.example")
    assert [attachment.name for attachment in findings.attachments] == ["a.zip"]


@pytest.mark.parametrize(
    "sender", [b"", b"From: a@b.example, c@d.example\r\n", b"From: a@b.example\r\nFrom: a@b.example\r\n"]
)
async def test_without_a_single_author_there_is_none(sender: bytes) -> None:
    assert (await Runner([]).run(context(sender + b"\r\nx"))).from_address == ""


def test_what_cannot_run_is_refused() -> None:
    with pytest.raises(ValueError, match="one name"):
        Runner([Fake("a"), Fake("a")])
    with pytest.raises(ValueError, match="need each other"):
        Runner([Fake("a", needs=("b",)), Fake("b", needs=("a",))])


async def test_what_a_check_reports_is_kept_whole() -> None:
    reported = CheckResult("x")
    values = {one.name: object() for one in fields(CheckResult)} | {
        "check": "x",
        "status": CheckStatus.OK,
        "symbols": (),
    }
    for name, value in values.items():
        object.__setattr__(reported, name, value)
    kept = reported.ended((), 1.5)
    assert {one.name: getattr(kept, one.name) for one in fields(kept)} == {**values, "elapsed": 1.5}


async def test_checks_that_never_wait_run_in_turn_while_the_others_wait() -> None:
    order: list[str] = []
    may_end = asyncio.Event()

    def noting(name: str) -> Behaviour:
        async def behave(results: Mapping[str, CheckResult]) -> CheckResult:
            order.append(f"{name} after {','.join(results)}")
            may_end.set()
            return CheckResult(name)

        return behave

    async def wait(results: Mapping[str, CheckResult]) -> CheckResult:
        await may_end.wait()
        order.append("dns")
        return CheckResult("dns")

    checks = [Fake("last", noting("last"), needs=("dns", "first")), Fake("dns", wait), Fake("first", noting("first"))]
    for check in (checks[0], checks[2]):
        check.waits = False
    findings = await Runner(checks, budget=5).run(context())
    assert [result.check for result in findings.results] == ["last", "dns", "first"]
    assert order == ["first after ", "dns", "last after dns,first"]
    assert not findings.failed_checks


async def test_of_checks_in_turn_those_that_had_ended_in_time_count() -> None:
    checks = [Fake("quick"), Fake("stuck", hang), Fake("never")]
    for check in checks:
        check.waits = False
    findings = await Runner(checks, budget=0.05).run(context())
    assert findings.failed_checks == ("stuck", "never")


async def test_a_check_that_another_waits_for_has_a_task_of_its_own() -> None:
    prompt = Fake("prompt")
    prompt.waits = False
    findings = await Runner([Fake("asks", needs=("prompt",)), prompt], budget=5).run(context())
    assert not findings.failed_checks


@pytest.mark.parametrize("large", [False, True])
async def test_of_a_large_mail_what_never_waits_runs_beside_the_event_loop(large: bool) -> None:
    threads: list[int] = []

    async def note(results: Mapping[str, CheckResult]) -> CheckResult:
        threads.append(threading.get_ident())
        return CheckResult("x")

    checks = [Fake("in turn", note), Fake("needed", note), Fake("asks", needs=("needed",))]
    for check in checks[:2]:
        check.waits = False
    findings = await Runner(checks, budget=60).run(context(PLAIN + bytes(INLINE_LIMIT if large else 0)))
    assert not findings.failed_checks
    assert len(threads) == 2
    assert (threading.get_ident() not in threads) == large


async def test_a_check_that_waits_although_it_says_not_fails_visibly() -> None:
    async def wait(results: Mapping[str, CheckResult]) -> CheckResult:
        await asyncio.sleep(0)
        return CheckResult("stuck")

    check = Fake("stuck", wait)
    check.waits = False
    findings = await Runner([check], budget=60).run(context(PLAIN + bytes(INLINE_LIMIT)))
    assert findings.failed_checks == ("stuck",)
    assert check.closed
