"""What a fuzz target is, and how an input of octets becomes what it wants: choices, texts, and texts made long by repetition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

REPEAT = 0xFE
"""In an input's text: repeat what came since the last START as often as the next octet says, squared."""
START = 0xFD
LENGTH_LIMIT = 48 * 1024
"""Octets that a text grows to by repetition: enough for quadratic time to show, little enough for linear time to pass."""
SHORT_LIMIT = 4 * 1024
"""The same where the octet that says how often is no multiple of 16: most inputs are to be quick."""


@dataclass(frozen=True)
class Target:
    """One parser, or a few of a kind, with what must hold for any input.

    `run` raises whatever is wrong: AssertionError for what does not hold, anything else for what nobody foresaw. `seeds`
    are inputs that reach far; `tokens` are words of the language, for whoever makes inputs.
    """

    name: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    tokens: tuple[bytes, ...] = ()
    max_length: int = 4096
    """Octets of an input, before any repetition."""


class Input:
    """Takes an input apart, from its front. What is missing at the end is 0 or empty."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def octet(self) -> int:
        """The next octet."""
        at, self._at = self._at, self._at + 1
        return self._data[at] if at < len(self._data) else 0

    def below(self, limit: int) -> int:
        """A number from 0 to `limit` - 1 (256 at most)."""
        return self.octet() % limit

    def flag(self) -> bool:
        """The next octet's lowest bit."""
        return bool(self.octet() & 1)

    def part(self) -> bytes:
        """All up to the next NUL NUL, which is dropped."""
        end = self._data.find(b"\0\0", self._at)
        end = len(self._data) if end < 0 else end
        part, self._at = self._data[self._at : end], end + 2
        return part

    def text(self) -> str:
        """The next part as text, with what is no UTF-8 as surrogates replaced."""
        return self.part().decode("utf-8", "replace")

    def rest(self) -> bytes:
        """All that is left."""
        rest, self._at = self._data[self._at :], len(self._data)
        return rest

    def long_rest(self) -> bytes:
        """All that is left, its repetitions carried out."""
        return lengthen(self.rest())


def lengthen(data: bytes, limit: int = LENGTH_LIMIT) -> bytes:
    """`data` with its repetitions carried out, to at most `limit` octets more than it had."""
    if REPEAT not in data:
        return data
    out = bytearray()
    start = at = 0
    room = limit
    while at < len(data):
        octet = data[at]
        if octet == START:
            start = len(out)
        elif octet == REPEAT:
            at += 1
            number = data[at] if at < len(data) else 0
            piece = bytes(out[start:])
            reach = room if number % 16 == 0 else min(room, SHORT_LIMIT)
            times = min(number**2, reach // len(piece)) if piece else 0
            out += piece * times
            room -= len(piece) * times
            start = len(out)
        else:
            out.append(octet)
        at += 1
    return bytes(out)
