"""Runs the checks of one mail side by side under one time budget. What fails or does not end in time becomes a visible TEMPERROR."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from types import MappingProxyType
from typing import Any, cast

from mailguard.checks.base import Check, CheckContext, TenantCheck
from mailguard.checks.eager import Ended, start
from mailguard.core.address import normalise
from mailguard.core.attachments import merged
from mailguard.core.errors import UnavailableError
from mailguard.core.tenant import Tenant
from mailguard.core.verdict import CheckResult, CheckStatus, Findings, Symbol
from mailguard.message.parse import Message
from mailguard.ops.aside import compute_aside
from mailguard.ops.log import MailLog

LINK_HOST_LIMIT = 200
"""Hosts that are kept of one mail's links."""
GRACE = 1.0
"""Seconds in which a cancelled check must have ended; after that it is left behind."""

INLINE_LIMIT = 256 * 1024
"""Octets of a mail up to which checks that wait for nobody run on the spot; for more they go to a thread, so that the event loop goes on."""

TENANT_BUDGET = 5.0
"""Seconds for what is looked up of one tenant."""

OnTiming = Callable[[str, CheckStatus, float], None]
"""Told of each check's name, how it ended, and its seconds."""


class Runner:
    """`checks` in the order of their results; `budget` in seconds for all of them together.

    `points` are what symbols weigh, for those whose own points are not to count.

    Raises ValueError when two checks have one name or `needs` go in a circle. A need that is not configured is not waited for.
    """

    def __init__(
        self,
        checks: Sequence[Check],
        *,
        tenant_checks: Sequence[TenantCheck] = (),
        points: Mapping[str, float] = MappingProxyType({}),
        budget: float = 30.0,
        on_timing: OnTiming | None = None,
        log: MailLog | None = None,
    ) -> None:
        self._tenant_checks = tuple(tenant_checks)
        self._points = points
        self._budget = budget
        self._on_timing = on_timing
        self._log = log or MailLog()
        self.names = tuple(check.name for check in checks)
        """The checks that run, in the order of their results."""
        names = [*self.names, *(check.name for check in self._tenant_checks)]
        if len(set(names)) != len(names):
            raise ValueError(f"two checks have one name: {names}")
        steps = [_Step(check, self.names) for check in checks]
        try:
            order = tuple(TopologicalSorter({step.name: step.needs for step in steps}).static_order())
        except CycleError as error:
            raise ValueError(f"checks need each other: {error.args[1]}") from error
        # What never waits runs one check after the other, when all that do wait have been started.
        needed = {need for step in steps if step.waits for need in step.needs}
        in_turn = [step for step in steps if not step.waits and step.name not in needed]
        self._in_turn = tuple(sorted(in_turn, key=lambda step: (bool(step.needs), order.index(step.name))))
        # Each after those that it needs, since it is started on the spot.
        beside = [step for step in steps if step not in in_turn]
        self._beside = tuple(sorted(beside, key=lambda step: order.index(step.name)))

    async def run_for(self, tenant: Tenant, context: CheckContext, findings: Findings) -> tuple[CheckResult, ...]:
        """What the checks that look with a tenant's eyes see in a mail, within TENANT_BUDGET. Never raises for what one did."""
        if not self._tenant_checks:
            return ()
        begun: list[Ended[CheckResult] | asyncio.Task[CheckResult]] = []
        late: set[asyncio.Task[CheckResult]] = set()
        try:
            for check in self._tenant_checks:
                begun.append(start(self._outcome(check.name, check.run(tenant, context, findings), context)))
            waiting = [one for one in begun if not isinstance(one, Ended)]
            if waiting:
                _, late = await asyncio.wait(waiting, timeout=TENANT_BUDGET)
        finally:
            # All that wait when this is cancelled, too.
            for one in begun:
                if not isinstance(one, Ended) and not one.done():
                    one.cancel()
        results: list[CheckResult] = []
        for check, one in zip(self._tenant_checks, begun, strict=True):
            if isinstance(one, Ended):
                results.append(one.value)
            else:
                results.append(_late(check.name, TENANT_BUDGET) if one in late else one.result())
        for result in results:
            self._report(result, context)
        return tuple(results)

    async def run(self, context: CheckContext) -> Findings:
        """All findings about one mail. Never raises for what a check did; cancelling it cancels the checks."""
        tasks: dict[str, asyncio.Task[CheckResult]] = {}
        ended: dict[str, CheckResult] = {}
        started: list[asyncio.Task[Any]] = []
        try:
            for step in self._beside:
                begun = start(self._running(step, context, tasks, ended), name=step.title)
                if isinstance(begun, Ended):
                    ended[step.name] = begun.value
                else:
                    tasks[step.name] = begun
                    started.append(begun)
            in_turn = start(self._run_in_turn(context, tasks, ended), name="checks in turn")
            if not isinstance(in_turn, Ended):
                started.append(in_turn)
            if started:
                await asyncio.wait(started, timeout=self._budget)
        finally:
            late = [task for task in started if not task.done()]
            for task in late:
                task.cancel()
        ended.update((name, task.result()) for name, task in tasks.items() if task not in late)
        results = tuple([ended.get(name) or _late(name, self._budget) for name in self.names])
        for result in results:
            self._report(result, context)
        if late:
            await asyncio.wait(late, timeout=GRACE)
        return self._findings(results, context.message)

    def _running(
        self,
        step: _Step,
        context: CheckContext,
        tasks: Mapping[str, asyncio.Task[CheckResult]],
        ended: Mapping[str, CheckResult],
    ) -> Coroutine[Any, Any, CheckResult]:
        """One check, after those that it needs."""
        needed = {name: tasks[name] for name in step.needs if name in tasks} if tasks else None
        if needed:
            return self._run_after(needed, step, context, ended)
        return self._outcome(step.name, step.running(context, {name: ended[name] for name in step.needs}), context)

    async def _run_after(
        self,
        needed: Mapping[str, asyncio.Task[CheckResult]],
        step: _Step,
        context: CheckContext,
        ended: Mapping[str, CheckResult],
    ) -> CheckResult:
        await asyncio.wait(needed.values())
        results = {name: needed[name].result() if name in needed else ended[name] for name in step.needs}
        return await self._outcome(step.name, step.running(context, results), context)

    async def _run_in_turn(
        self, context: CheckContext, tasks: Mapping[str, asyncio.Task[CheckResult]], ended: dict[str, CheckResult]
    ) -> None:
        for step in self._in_turn:
            ended[step.name] = await self._running(step, context, tasks, ended)

    async def _outcome(self, name: str, running: Awaitable[CheckResult], context: CheckContext) -> CheckResult:
        started = time.perf_counter()
        try:
            result = await running
        except UnavailableError as error:
            result = failed(name, str(error))
        except Exception as error:  # noqa: BLE001 - one of the two places: a check's bug must not pass for "clean"
            self._log.unforeseen(f"check {name}", message=context.envelope.message_id, error=error)
            result = failed(name, f"unforeseen {type(error).__name__}")
        elapsed = time.perf_counter() - started
        result = result.ended(self._weighed(result.symbols), elapsed)
        return with_temperror_symbol(result) if result.status is CheckStatus.TEMPERROR else result

    def _weighed(self, symbols: tuple[Symbol, ...]) -> tuple[Symbol, ...]:
        """The symbols with the points that count."""
        points = self._points
        if points.keys().isdisjoint([one.name for one in symbols]):
            return symbols
        return tuple(
            [
                Symbol(one.name, points[one.name], one.description, one.evidence) if one.name in points else one
                for one in symbols
            ]
        )

    def _report(self, result: CheckResult, context: CheckContext) -> None:
        if result.status is CheckStatus.TEMPERROR:
            self._log.check_failed(context.envelope.message_id, result=result)
        if self._on_timing:
            self._on_timing(result.check, result.status, result.elapsed)

    def _findings(self, results: tuple[CheckResult, ...], message: Message) -> Findings:
        addresses = message.from_addresses
        seen = [host for result in results for host in result.link_hosts]
        hosts = message.link_hosts
        if seen:  # many in files do not keep out those of the mail
            hosts = tuple(dict.fromkeys((*seen[: LINK_HOST_LIMIT // 2], *message.link_hosts, *seen)))
        return Findings(
            results=results,
            attachments=merged(
                [one for result in results if result.check != "unpack" for one in result.attachments],
                [one for result in results if result.check == "unpack" for one in result.attachments],
            ),
            link_hosts=hosts[:LINK_HOST_LIMIT],
            from_address=normalise(addresses[0]) if len(addresses) == 1 else "",
        )


class _Step:
    """A check, and what is asked of it for each mail, asked once. `configured`: the names of all checks."""

    __slots__ = ("check", "name", "needs", "title", "waits")

    def __init__(self, check: Check, configured: Collection[str]) -> None:
        self.check = check
        self.name = check.name
        self.title = f"check {check.name}"
        self.needs = tuple(need for need in check.needs if need in configured)
        self.waits = bool(getattr(check, "waits", True))
        """Whether it may wait for others than itself: all do but those that say they do not."""

    def running(self, context: CheckContext, results: Mapping[str, CheckResult]) -> Awaitable[CheckResult]:
        """Its run; of one that does not wait, for a large mail, in a thread."""
        running = self.check.run(context, results)
        if self.waits or len(context.message.raw) <= INLINE_LIMIT:
            return running
        return compute_aside(_to_its_end, running)


def _to_its_end(running: Coroutine[Any, Any, CheckResult]) -> CheckResult:
    """The result of a check that does not wait, in a thread. RuntimeError for one that says so and does."""
    try:
        running.send(None)
    except StopIteration as ended:
        return cast(CheckResult, ended.value)
    running.close()
    raise RuntimeError("it has `waits = False`, and waits")


def _late(name: str, budget: float) -> CheckResult:
    return replace(failed(name, f"not done within {budget:g} s"), elapsed=budget)


def failed(check: str, detail: str) -> CheckResult:
    """The TEMPERROR of a check, with its symbol."""
    return with_temperror_symbol(CheckResult(check, CheckStatus.TEMPERROR, detail=detail))


def with_temperror_symbol(result: CheckResult) -> CheckResult:
    """`result` with <CHECK>_TEMPERROR among its symbols, so that a failure shows wherever symbols do."""
    name = f"{result.check.upper()}_TEMPERROR"
    if any(symbol.name.endswith("_TEMPERROR") for symbol in result.symbols):
        return result
    symbol = Symbol(name, 0.0, f"the {result.check} check could not be done", (result.detail,) if result.detail else ())
    return replace(result, symbols=(*result.symbols, symbol))
