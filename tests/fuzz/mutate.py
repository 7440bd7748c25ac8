"""Inputs near a target's seeds, the same ones each time: a taste of what a coverage-guided run does, without its tools."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from tests.fuzz.target import Target


def inputs(target: Target, count: int) -> Iterator[bytes]:
    """`count` inputs made of the seeds and the tokens of a target."""
    chance = Random(target.name)
    for _ in range(count):
        data = bytearray(chance.choice(target.seeds))
        for _ in range(chance.randint(1, 4)):
            _change(data, target, chance)
        yield bytes(data[: target.max_length])


def _change(data: bytearray, target: Target, chance: Random) -> None:
    at = chance.randint(0, len(data))
    how = chance.randrange(5)
    if how == 0 and data:
        data[min(at, len(data) - 1)] = chance.randrange(256)
    elif how == 1 and target.tokens:
        data[at:at] = chance.choice(target.tokens)
    elif how == 2:
        del data[at : at + chance.randint(1, 8)]
    elif how == 3:
        other = chance.choice(target.seeds)
        start = chance.randint(0, len(other))
        data[at:at] = other[start : start + chance.randint(1, 40)]
    else:
        data[at:at] = chance.randbytes(chance.randint(1, 4))
