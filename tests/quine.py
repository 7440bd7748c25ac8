"""A gzip file that unpacks to itself, after R. Cox, "Zip Files All The Way Down" (2010): a program of two commands.

The commands are blocks of RFC 1951: `literal` prints what follows (§3.2.4), `repeat` prints the last so many octets once more
(§3.2.6). Each is five octets long, so that both can print commands. The checksum, which the file holds twice, is the solution
of 32 linear equations.
"""

from __future__ import annotations

import struct
import zlib

_NAME = b"loop\0"
_CHECKSUM = 4
_LENGTHS = {10: (264, 0, 0), 12: (265, 1, 1)}
"""By length of a copy: its code, extra bits, and their value (RFC 1951 §3.2.5)."""
_DISTANCES = {20: (8, 3, 3), 12: (6, 2, 3)}


def gzip_quine() -> bytes:
    """The file, 194 octets; the same each time."""
    for minute in range(1_000):
        head = b"\x1f\x8b\x08\x08" + struct.pack("<I", minute) + b"\x00\xff" + _NAME
        made = _with_checksum(head)
        if made is not None:
            return made
    raise AssertionError("no time gives equations that have a solution")


def _with_checksum(head: bytes) -> bytes | None:
    plain = zlib.crc32(_file(head, 0))
    columns = [zlib.crc32(_file(head, 1 << bit)) ^ plain ^ (1 << bit) for bit in range(32)]
    checksum = _solved(columns, plain)
    return None if checksum is None else _file(head, checksum)


def _solved(columns: list[int], wanted: int) -> int | None:
    """The bits of which the columns add up to `wanted`, modulo 2; None when no such bits are."""
    basis: dict[int, tuple[int, int]] = {}
    for bit, column in enumerate(columns):
        left, chosen = _reduced(basis, column, 1 << bit)
        if left:
            basis[left.bit_length()] = (left, chosen)
    rest, chosen = _reduced(basis, wanted, 0)
    return None if rest else chosen


def _reduced(basis: dict[int, tuple[int, int]], value: int, chosen: int) -> tuple[int, int]:
    while value and value.bit_length() in basis:
        other, with_it = basis[value.bit_length()]
        value, chosen = value ^ other, chosen ^ with_it
    return value, chosen


def _file(head: bytes, checksum: int) -> bytes:
    """The program, between head and trailer, with a checksum that need not be right."""
    assert len(head) == 15
    last = _repeat(12, [12], final=True)
    one, four, nothing, end = _literal(5), _literal(20), _literal(0), _literal(12)
    again = _repeat(20, [10, 10])
    size = 0
    for _ in range(2):  # the second time its length is known
        tail = last + struct.pack("<II", checksum, size)
        made = b"".join(
            [
                *(head, four, head, four, again, one, again, one, one),
                *(four, again, one, one, four, again),
                *(four, again, four, again, four, again),
                *(four, again, nothing, nothing, end, again),
                *(nothing, nothing, end, tail, tail),
            ]
        )
        size = len(made)
    return made


def _literal(octets: int) -> bytes:
    return b"\0" + struct.pack("<HH", octets, octets ^ 0xFFFF)


def _repeat(distance: int, lengths: list[int], *, final: bool = False) -> bytes:
    bits = [int(final), 1, 0]
    for length in lengths:
        code, extra, value = _LENGTHS[length]
        bits += _from_the_top(code - 256, 7) + _from_the_bottom(value, extra)
        code, extra, value = _DISTANCES[distance]
        bits += _from_the_top(code, 5) + _from_the_bottom(value, extra)
    bits += [0] * 7  # the end of the block
    bits += [0] * (-len(bits) % 8)
    return bytes(sum(bit << at for at, bit in enumerate(bits[start : start + 8])) for start in range(0, len(bits), 8))


def _from_the_top(value: int, width: int) -> list[int]:
    return [value >> at & 1 for at in reversed(range(width))]


def _from_the_bottom(value: int, width: int) -> list[int]:
    return [value >> at & 1 for at in range(width)]
