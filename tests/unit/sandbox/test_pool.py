"""The pool with real processes: what misbehaves is killed, told apart and replaced, and cannot reach anything."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mailguard.sandbox.confine import NICENESS
from mailguard.sandbox.fork_server import Order
from mailguard.sandbox.frames import Json
from mailguard.sandbox.pool import Pool
from mailguard.sandbox.process import Process
from mailguard.sandbox.values import Answer, Limits, Outcome, Protection
from tests.servers.ports import wait_until

ROOT = str(Path(__file__).parents[3])


@dataclass
class Seen:
    """What the pool told."""

    held: list[frozenset[Protection]] = field(default_factory=list)
    outcomes: list[tuple[str, Outcome]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    gone: int = 0

    def started(self, protections: frozenset[Protection]) -> None:
        self.held.append(protections)

    def ended(self) -> None:
        self.gone += 1

    def unable(self, reason: str) -> None:
        self.reasons.append(reason)

    def done(self, function: str, outcome: Outcome, seconds: float) -> None:
        assert seconds >= 0
        self.outcomes.append((function, outcome))


@asynccontextmanager
async def pool_of(
    limits: Limits | None = None,
    *,
    seen: Seen | None = None,
    size: int = 1,
    queue: int = 8,
    wait: float = 60.0,
    registry: str = "tests.unit.sandbox.misbehaving",
    user: str = "nobody",
) -> AsyncIterator[Pool]:
    order = Order(registry, (ROOT,), user, limits or Limits(seconds=60, cpu_seconds=30))
    pool = Pool(order, size=size, queue=queue, wait=wait, observer=seen)
    try:
        yield pool
    finally:
        await pool.close()
        assert not pool.pids


def value(answer: Answer) -> Mapping[str, Json]:
    assert answer.outcome is Outcome.OK, answer
    assert isinstance(answer.value, dict)
    return answer.value


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_job_gets_its_octets_and_arguments() -> None:
    async with pool_of() as pool:
        assert not pool.pids  # none before the first job
        answer = value(await pool.run("echo", bytes(3_000_000), {"a": [1, None, "é"]}))
        assert answer["size"] == 3_000_000
        assert answer["arguments"] == {"a": [1, None, "é"]}
        assert pool.pids == {answer["pid"]}


async def test_one_process_is_ready_before_the_first_job() -> None:
    async with pool_of() as pool:
        await pool.prepare()
        (ready,) = pool.pids
        await pool.prepare()  # it is there already
        assert pool.pids == {ready}
        assert value(await pool.run("echo"))["pid"] == ready
        pool.renew(options={"a": 1}, material=b"")
        await pool.prepare()  # that one is of before
        (renewed,) = pool.pids
        assert renewed != ready
        assert value(await pool.run("prepared"))["pid"] == renewed
        os.kill(renewed, signal.SIGKILL)
        await pool.run("prepared")
        await pool.prepare()
        assert len(pool.pids) == 1
    await pool.prepare()
    assert not pool.pids


async def test_one_that_cannot_be_prepared_is_told_and_not_tried_at_once_again() -> None:
    seen = Seen()
    async with pool_of(user="no-such-user", seen=seen) as pool:
        await pool.prepare()
        await pool.prepare()
        assert len(seen.reasons) == 1
        assert not pool.pids


async def test_processes_are_prepared_anew_once_there_is_something_new() -> None:
    async with pool_of() as pool:
        first = value(await pool.run("prepared"))
        assert first["with"] == [{"options": {}, "material": ""}]
        pool.renew(options={}, material=b"")  # nothing new
        assert value(await pool.run("prepared"))["pid"] == first["pid"]
        pool.renew(options={"a": 1}, material=b"\xff\x00")
        second = value(await pool.run("prepared"))
        assert second["with"] == [{"options": {"a": 1}, "material": "ff00"}]
        assert pool.pids == {second["pid"]}


@pytest.mark.parametrize(
    ("function", "limits", "outcome"),
    [
        ("loop", Limits(seconds=60, cpu_seconds=0.2), Outcome.CPU),
        ("sleep", Limits(seconds=0.3), Outcome.TIME),
        ("allocate", Limits(seconds=60, cpu_seconds=60, memory=64 << 20), Outcome.MEMORY),
        ("crash", Limits(seconds=60), Outcome.CRASH),
        ("leave", Limits(seconds=60), Outcome.CRASH),
        ("garbage", Limits(seconds=60), Outcome.CRASH),
        ("nested", Limits(seconds=60), Outcome.CRASH),
        ("hang_up", Limits(seconds=60), Outcome.CRASH),
        ("unserialisable", Limits(seconds=60), Outcome.CRASH),
    ],
)
async def test_what_misbehaves_is_killed_and_replaced(function: str, limits: Limits, outcome: Outcome) -> None:
    seen = Seen()
    async with pool_of(limits, seen=seen) as pool:
        answer = await pool.run(function)
        assert answer.outcome is outcome, answer
        assert answer.detail
        assert not pool.pids
        if limits.seconds > 1:  # a loaded machine may take longer for an honest job, too
            assert value(await pool.run("echo", b"abc"))["size"] == 3
            assert len(seen.held) == 2
    assert seen.outcomes[0] == (function, outcome)
    assert seen.gone == len(seen.held)


async def test_a_broken_file_costs_no_process() -> None:
    async with pool_of() as pool:
        answer = await pool.run("broken")
        assert answer == Answer(Outcome.ERROR, detail="ValueError: no picture")
        before = pool.pids
        assert (await pool.run("no such function")).outcome is Outcome.ERROR
        assert pool.pids == before


async def test_nothing_outside_can_be_reached(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("mine")
    tmp_path.chmod(0o777)
    target.chmod(0o666)
    seen = Seen()
    async with pool_of(seen=seen) as pool:
        tried = value(await pool.run("reach_out", b"", {"target": str(target)}))
        assert {name: how for name, how in tried.items() if not str(how).endswith("Error")} == {}
        assert value(await pool.run("echo"))["size"] == 0
    assert target.read_text() == "mine"
    assert Protection.LIMITS in seen.held[0]
    assert Protection.SECCOMP in seen.held[0]


async def test_it_has_another_user_and_none_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILGUARD_PROBE__KEY", "secret")
    seen = Seen()
    async with pool_of(seen=seen) as pool:
        identity = value(await pool.run("identity"))
    expected = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.getuid()
    assert identity["uid"] == expected
    assert identity["environment"] == ["LANG", "PATH"]
    assert (Protection.USER in seen.held[0]) == (os.geteuid() == 0)


async def test_a_process_is_replaced_after_its_jobs() -> None:
    async with pool_of(Limits(seconds=60, jobs=2)) as pool:
        pids = [value(await pool.run("echo"))["pid"] for _ in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]


async def test_one_that_died_while_it_was_idle_is_replaced() -> None:
    async with pool_of() as pool:
        pid = value(await pool.run("echo"))["pid"]
        assert isinstance(pid, int)
        os.kill(pid, 9)
        await asyncio.to_thread(wait_until, lambda: not is_there(pid), what="its end")
        assert value(await pool.run("echo"))["pid"] != pid


async def test_who_waits_too_long_is_told_so() -> None:
    async with pool_of(wait=0.2) as pool:
        value(await pool.run("echo"))
        busy = asyncio.create_task(pool.run("sleep"))
        await asyncio.sleep(0)
        answer = await pool.run("echo")
        assert answer.outcome is Outcome.BUSY
        assert "0.2 s" in answer.detail
        busy.cancel()
        with pytest.raises(asyncio.CancelledError):
            await busy
        assert value(await pool.run("echo"))["size"] == 0


async def test_a_full_queue_refuses_at_once() -> None:
    async with pool_of(queue=1) as pool:
        value(await pool.run("echo"))
        tasks = [asyncio.create_task(pool.run("sleep")) for _ in range(2)]
        for _ in range(3):
            await asyncio.sleep(0)
        answer = await pool.run("echo")
        assert answer.outcome is Outcome.BUSY
        assert answer.detail == "1 jobs wait already"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_several_work_at_a_time() -> None:
    async with pool_of(size=2) as pool:
        slow = asyncio.create_task(pool.run("sleep"))
        assert value(await pool.run("echo"))["size"] == 0
        assert not slow.done()
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def children_of(pid: int) -> list[int]:
    return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


async def test_all_are_forked_from_one_that_stands_back_too() -> None:
    async with pool_of(size=2) as pool:
        await asyncio.gather(*(pool.run("echo") for _ in range(2)))
        assert pool.server_pid is not None
        assert {parent_of(pid) for pid in pool.pids} == {pool.server_pid}
        before = os.getpriority(os.PRIO_PROCESS, 0)
        for pid in (pool.server_pid, *pool.pids):
            assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, before + NICENESS)


async def test_what_was_forked_leaves_nothing_behind() -> None:
    async with pool_of(Limits(seconds=60, jobs=1)) as pool:
        await pool.run("echo")
        server = pool.server_pid

        def open_in(pid: int | None) -> int:
            return len(list(Path(f"/proc/{pid or 'self'}/fd").iterdir()))

        before = open_in(None), open_in(server)
        for function in ("crash", "leave", "hang_up", "echo", "broken"):
            await pool.run(function)
        assert (open_in(None), open_in(server)) == before
        assert server is not None
        assert children_of(server) == []  # no zombies
        assert pool.server_pid == server


async def test_what_they_are_forked_from_is_replaced_when_it_dies_and_nothing_is_said_of_the_file() -> None:
    async with pool_of() as pool:
        await pool.run("echo")
        first, (at_work,) = pool.server_pid, pool.pids
        assert first is not None
        job = asyncio.create_task(pool.run("sleep"))
        await asyncio.sleep(0)
        os.kill(first, signal.SIGKILL)
        assert (await job).outcome is Outcome.UNABLE
        await asyncio.to_thread(wait_until, lambda: not is_there(at_work), what="the end of what it forked")
        assert value(await pool.run("echo"))["size"] == 0
        assert pool.server_pid not in (None, first)


async def test_a_job_under_way_is_not_disturbed_by_something_new() -> None:
    async with pool_of(size=2) as pool:
        await pool.run("echo")
        job = asyncio.create_task(pool.run("nap"))
        await asyncio.sleep(0)
        first = pool.server_pid
        assert first is not None
        pool.renew(options={"a": 1}, material=b"")
        assert value(await pool.run("prepared"))["with"] == [{"options": {"a": 1}, "material": ""}]
        assert pool.server_pid != first
        assert value(await job)["pid"]
        assert not is_there(first)


async def test_one_with_threads_is_not_forked_from() -> None:
    seen = Seen()
    async with pool_of(seen=seen) as pool:
        pool.renew(options={"thread": True}, material=b"")
        assert (await pool.run("echo")).outcome is Outcome.UNABLE
    assert "1 threads" in seen.reasons[0]


async def test_who_had_no_processor_in_all_its_time_tells_nothing_of_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = iter((0.0, 0.2))
    monkeypatch.setattr(Process, "_waited", lambda self: next(waited))
    async with pool_of(Limits(seconds=0.3)) as pool:
        answer = await pool.run("sleep")
        assert (answer.outcome, answer.detail) == (Outcome.BUSY, "the processor had no time for it in 0.2 s")


def test_all_end_with_the_relay() -> None:
    code = """
import asyncio, signal
from mailguard.sandbox.fork_server import Order
from mailguard.sandbox.pool import Pool

async def main():
    pool = Pool(Order("tests.unit.sandbox.misbehaving", (ROOT,)), size=2)
    await pool.run("echo")
    print(pool.server_pid, *pool.pids, flush=True)
    await pool.run("loop")

asyncio.run(main())
"""
    command = [sys.executable, "-c", f"ROOT = {ROOT!r}\n{code}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as relay:
        assert relay.stdout is not None
        pids = [*map(int, relay.stdout.readline().split())]
        assert len(pids) == 2
        relay.kill()
    wait_until(lambda: not any(map(is_there, pids)), what="the end of all")


async def test_closing_ends_a_job_under_way() -> None:
    seen = Seen()
    async with pool_of(seen=seen) as pool:
        value(await pool.run("echo"))
        job = asyncio.create_task(pool.run("sleep"))
        await asyncio.sleep(0)
        (pid,) = pool.pids
        await pool.close()
        assert not is_there(pid)
        assert (await job).outcome is Outcome.CRASH
        assert (await pool.run("echo")).outcome is Outcome.UNABLE
    assert seen.gone == 1


async def test_what_cannot_start_is_told_and_not_tried_at_once_again() -> None:
    seen = Seen()
    async with pool_of(seen=seen, registry="tests.unit.sandbox.nothing_here") as pool:
        answers = [await pool.run("echo") for _ in range(2)]
    assert [answer.outcome for answer in answers] == [Outcome.UNABLE] * 2
    assert "nothing_here" in answers[0].detail
    assert len(seen.reasons) == 1


async def test_octets_beyond_the_limit_are_not_sent() -> None:
    async with pool_of() as pool:
        assert (await pool.run("echo", bytes((64 << 20) + 1))).outcome is Outcome.MEMORY
        assert not pool.pids
