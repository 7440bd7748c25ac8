"""Token buckets in a shared file: exact over processes, bounded in size, and never in the way of mail."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mailguard.store.buckets import SharedBuckets


class Time:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_bucket_gives_its_limit_then_fills_steadily(tmp_path: Path) -> None:
    clock = Time()
    buckets = SharedBuckets(tmp_path / "limits", monotonic=clock)
    taken = [buckets.take("a", limit=3, seconds=60) for _ in range(5)]
    assert taken == [True, True, True, False, False]
    clock.now += 20
    assert [buckets.take("a", limit=3, seconds=60) for _ in range(2)] == [True, False]
    clock.now += 3600
    assert [buckets.take("a", limit=3, seconds=60) for _ in range(4)] == [True, True, True, False]


def test_keys_are_counted_apart(tmp_path: Path) -> None:
    buckets = SharedBuckets(tmp_path / "limits", monotonic=Time())
    assert [buckets.take(key, limit=1, seconds=60) for key in "abcabc"] == [True] * 3 + [False] * 3


def test_workers_share_one_count(tmp_path: Path) -> None:
    clock = Time()
    workers = [SharedBuckets(tmp_path / "limits", monotonic=clock) for _ in range(3)]
    assert sum(worker.take("a", limit=10, seconds=60) for _ in range(20) for worker in workers) == 10


def _take_many(path: Path, granted: multiprocessing.Queue[int]) -> None:
    buckets = SharedBuckets(path, monotonic=lambda: 1000.0)
    granted.put(sum(buckets.take("a", limit=500, seconds=60) for _ in range(1000)))


def test_processes_at_the_same_time_share_one_count(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    granted: multiprocessing.Queue[int] = context.Queue()
    processes = [context.Process(target=_take_many, args=(tmp_path / "limits", granted)) for _ in range(3)]
    for process in processes:
        process.start()
    counts = [granted.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(10)
    assert sum(counts) == 500


def test_row_that_is_full_forgets_who_was_quiet_longest(tmp_path: Path) -> None:
    clock = Time()
    buckets = SharedBuckets(tmp_path / "limits", rows=1, monotonic=clock)
    for number in range(8):
        clock.now += 0.001
        assert buckets.take(f"k{number}", limit=1, seconds=3600)
    assert not buckets.take("k1", limit=1, seconds=3600)
    clock.now += 0.001
    assert buckets.take("new", limit=1, seconds=3600)
    assert not buckets.take("k2", limit=1, seconds=3600)
    assert buckets.take("k0", limit=1, seconds=3600)  # forgotten: it counts anew
    assert (tmp_path / "limits").stat().st_size == 32 + 8 * 24


def test_machine_that_was_started_anew_gives_full_buckets(tmp_path: Path) -> None:
    before = SharedBuckets(tmp_path / "limits", monotonic=Time(90_000))
    assert [before.take("a", limit=1, seconds=60) for _ in range(2)] == [True, False]
    after = SharedBuckets(tmp_path / "limits", monotonic=Time(10))
    assert [after.take("a", limit=1, seconds=60) for _ in range(2)] == [True, False]


def test_file_that_is_none_of_ours_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "limits"
    path.write_bytes(b"something else")
    buckets = SharedBuckets(path, monotonic=Time())
    assert [buckets.take("a", limit=1, seconds=60) for _ in range(2)] == [True, False]


def test_what_cannot_be_counted_passes(tmp_path: Path) -> None:
    errors: list[OSError] = []
    buckets = SharedBuckets(tmp_path / "nowhere" / "limits", on_error=errors.append)
    assert buckets.take("a", limit=1, seconds=60)
    assert buckets.take("a", limit=1, seconds=60)
    assert len(errors) == 2
    (tmp_path / "nowhere").mkdir()
    assert [buckets.take("a", limit=1, seconds=60) for _ in range(2)] == [True, False]


def test_lock_that_is_never_given_back_holds_nobody_up(tmp_path: Path) -> None:
    buckets = SharedBuckets(tmp_path / "limits", monotonic=Time())
    assert buckets.take("a", limit=1, seconds=60)
    other = os.open(tmp_path / "limits", os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    started = time.monotonic()
    assert not buckets.take("a", limit=1, seconds=60)
    assert time.monotonic() - started < 1
    os.close(other)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 40)), max_size=60), st.integers(1, 5))
def test_never_more_than_the_limit_and_what_has_filled_since(takes: list[tuple[str, float]], limit: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        clock = Time()
        buckets = SharedBuckets(Path(directory, "limits"), monotonic=clock)
        granted: dict[str, int] = {}
        for key, pause in takes:
            clock.now += pause
            granted[key] = granted.get(key, 0) + buckets.take(key, limit=limit, seconds=60)
        buckets.close()
        for count in granted.values():
            assert count <= limit + (clock.now - 1000) * limit / 60 + 1e-6
