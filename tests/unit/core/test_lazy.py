"""A lazy property: worked out once, and never in the way of another object's."""

from __future__ import annotations

import threading

from mailguard.core.lazy import lazy_property


class _Text:
    def __init__(self, wait: threading.Event | None = None) -> None:
        self.wait = wait
        self.asked = threading.Event()
        self.times = 0

    @lazy_property
    def words(self) -> int:
        """How many words it has."""
        self.times += 1
        self.asked.set()
        if self.wait:
            assert self.wait.wait(60)
        return 3


def test_it_is_worked_out_once() -> None:
    text = _Text()
    assert text.words + text.words == 6
    assert text.times == 1
    assert _Text.words.__doc__ == "How many words it has."


def test_one_that_takes_long_does_not_stop_another() -> None:
    slow, quick = _Text(threading.Event()), _Text()
    thread = threading.Thread(target=lambda: slow.words)
    thread.start()
    assert slow.asked.wait(60)
    assert quick.words == 3  # functools.cached_property waits here for the other
    assert slow.wait is not None
    slow.wait.set()
    thread.join(60)
    assert slow.words == 3
    assert slow.times == 1
