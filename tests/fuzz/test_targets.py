"""Every seed and every find of every fuzz target again, and a few inputs near them; `make fuzz` looks for more."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.fuzz.harness import FINDS, Find, GluttonyError, HangError, keep, kept_finds, try_input
from tests.fuzz.mutate import inputs
from tests.fuzz.registry import all_targets, module_of
from tests.fuzz.target import LENGTH_LIMIT, Input, Target, lengthen

TARGETS = all_targets()
INPUTS, SECONDS = 60, 0.1
"""Inputs that each target is given here, and when it is enough on a slow machine."""


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_seeds_and_finds(target: Target) -> None:
    finds = [path.read_bytes() for path in kept_finds(target.name)]
    assert target.seeds
    for data in (*target.seeds, *finds):
        found = try_input(target, data)
        assert found is None, f"{data!r}\n{found.trace if found else ''}"


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_inputs_near_the_seeds(target: Target) -> None:
    end = time.monotonic() + SECONDS
    for data in inputs(target, INPUTS):
        found = try_input(target, data)
        assert found is None, f"{data!r}\n{found.trace if found else ''}"
        if time.monotonic() > end:
            break


def test_names_are_unique_and_finds_have_a_target() -> None:
    names = [target.name for target in TARGETS]
    assert len(set(names)) == len(names)
    assert {path.name for path in FINDS.iterdir() if path.is_dir()} <= set(names)
    with pytest.raises(KeyError, match="smtp_session"):
        module_of("nonesuch")


def broken(data: bytes) -> None:
    """A parser with every kind of fault."""
    if data.startswith(b"bug"):
        raise ValueError("a fault")
    if data.startswith(b"hang"):
        while True:
            pass
    if data.startswith(b"eat"):
        assert len(bytearray(b"x" * (64 << 20))) > 0


BROKEN = Target("broken", broken, (b"fine",))


def test_a_fault_is_a_find() -> None:
    assert try_input(BROKEN, b"fine") is None
    found = try_input(BROKEN, b"bug")
    assert found is not None
    assert found.place.startswith("ValueError")
    assert "a fault" in found.trace


def test_a_hang_is_a_find() -> None:
    found = try_input(BROKEN, b"hang", cpu_limit=0.2)
    assert found is not None
    assert found.place == HangError.__name__


def test_gluttony_is_a_find() -> None:
    found = try_input(BROKEN, b"eat", memory_limit=8 * 1024)
    assert found is not None
    assert found.place == GluttonyError.__name__


def test_a_find_is_kept_where_it_is_found_again(tmp_path: Path) -> None:
    kept = keep(Find(b"bug", "ValueError", ""), "broken", tmp_path)
    assert kept_finds("broken", tmp_path) == [kept]
    assert kept.read_bytes() == b"bug"


def test_inputs_are_taken_apart() -> None:
    source = Input(b"\x05\x01one\0\0two\0\0\xfdab\xfe\x02!")
    assert (source.below(3), source.flag(), source.part(), source.text()) == (2, True, b"one", "two")
    assert source.long_rest() == b"ab" * 5 + b"!"
    assert (source.octet(), source.part(), source.rest()) == (0, b"", b"")


def test_repetition_is_bounded() -> None:
    long = lengthen(b"\xfdx\xfe\xf0\xfdy\xfe\xf0" * 100)
    assert LENGTH_LIMIT <= len(long) <= LENGTH_LIMIT + 800
