"""Encrypted RAR 5: the same archive without its encryption, for libarchive to read (which cannot decrypt). RAR 5.0 archive format.

AES-256 in CBC; the key by PBKDF2 with HMAC-SHA-256, with a value by which wrong passwords are told.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

MAGIC = b"Rar!\x1a\x07\x01\x00"
BLOCKS = 20_000
"""Blocks of an archive that are read."""
DEAREST = 18
"""Rounds of hashing that an archive may ask for, as a power of two; RAR writes 15."""
HEADER = 2 * 1024 * 1024
"""Octets that a header has at most, by the format."""
_MAIN, _FILE, _ENCRYPTION, _END = 1, 2, 4, 5
_CHECKED = 1


class WrongPasswordError(ValueError):
    """The archive itself says so."""


@dataclass(frozen=True, slots=True)
class _Lock:
    """What a key is made from; `check`: by which a wrong password is told, empty when nothing is."""

    power: int
    salt: bytes
    check: bytes
    vector: bytes = b""
    tweaked: bool = False
    """Whether the file's checksum is one that tells nothing of its content."""

    def key(self, password: str) -> bytes:
        """The key. Raises WrongPasswordError."""
        if self.power > DEAREST:
            raise WrongPasswordError(f"2**{self.power} rounds")
        if self.check and _folded(_derived(password, self.salt, (1 << self.power) + 32)) != self.check[:8]:
            raise WrongPasswordError
        return _derived(password, self.salt, 1 << self.power)


@lru_cache(maxsize=8)
def _derived(password: str, salt: bytes, rounds: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode("utf-8", "replace"), salt, rounds)


def _folded(value: bytes) -> bytes:
    out = bytearray(8)
    for place, octet in enumerate(value):
        out[place & 7] ^= octet
    return bytes(out)


class _Reader:
    """Takes a header's fields off its front."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.at = 0

    def number(self) -> int:
        """A number of up to ten octets, seven bits of it in each, the lowest first."""
        value = 0
        for place in range(10):
            octet = self.raw[self.at] if self.at < len(self.raw) else 0
            self.at += 1
            value |= (octet & 127) << 7 * place
            if not octet & 128:
                break
        return value

    def octets(self, count: int) -> bytes:
        """The next ones."""
        self.at += count
        return self.raw[self.at - count : self.at]


def _number(value: int) -> bytes:
    out = bytearray()
    while True:
        value, low = value >> 7, value & 127
        out.append(low | (128 if value else 0))
        if not value:
            return bytes(out)


def locked_places(raw: bytes, tick: Callable[[], None]) -> frozenset[int]:
    """Which of its files are encrypted; the place -1 when its headers are as well."""
    places = set()
    count = 0
    try:
        for head, _ in _blocks(raw, None, tick):
            reader = _Reader(head)
            kind, flags = reader.number(), reader.number()
            extra = reader.number() if flags & 1 else 0
            if kind == _FILE:
                if _lock_of(head[len(head) - extra :] if extra else b"") is not None:
                    places.add(count)
                count += 1
    except WrongPasswordError:
        places.add(-1)
    return frozenset(places)


def unlocked(raw: bytes, password: str, tick: Callable[[], None]) -> tuple[bytes, list[int]] | None:
    """The archive as it would be without the password, and the CRC-32 of each of its files, -1 where it is not known.

    None when the password is wrong, as far as the archive tells.
    """
    out = [MAGIC]
    checksums: list[int] = []
    try:
        for head, data in _blocks(raw, password, tick):
            reader = _Reader(head)
            kind, flags = reader.number(), reader.number()
            extra = reader.number() if flags & 1 else 0
            if flags & 2:
                reader.number()
            end = len(head) - extra
            if kind == _MAIN:
                archive = reader.number()
                out.append(_block(_MAIN, _number(archive & 4)))  # 4: solid
            elif kind == _FILE and end >= reader.at:
                block, checksum = _file(head[reader.at : end], head[end:], data, password)
                out.append(block)
                checksums.append(checksum)
    except WrongPasswordError:
        return None
    out.append(_block(_END, b"\0"))
    return b"".join(out), checksums


def _blocks(raw: bytes, password: str | None, tick: Callable[[], None]) -> Iterator[tuple[bytes, bytes]]:
    """Headers, from their type on, with the data behind each."""
    at = len(MAGIC)
    key = b""
    for _ in range(BLOCKS):
        tick()
        if key:
            vector, at = raw[at : at + 16], at + 16
            if len(raw) < at + 16:
                return
            first = _Reader(_decrypted(raw[at : at + 16], key, vector)[4:])
            size = min(first.number(), HEADER)
            whole = 4 + first.at + size
            plain = _decrypted(raw[at : at + -(-whole // 16) * 16], key, vector)
            head = plain[4 + first.at : whole]
            if zlib.crc32(plain[4:whole]) != int.from_bytes(plain[:4], "little"):
                raise WrongPasswordError
            at += -(-whole // 16) * 16
        else:
            first = _Reader(raw[at + 4 : at + 14])
            size = min(first.number(), HEADER)
            head = raw[at + 4 + first.at : at + 4 + first.at + size]
            at += 4 + first.at + size
        if not size or len(head) < size:
            return
        reader = _Reader(head)
        kind, flags = reader.number(), reader.number()
        if flags & 1:
            reader.number()
        length = reader.number() if flags & 2 else 0
        if kind == _ENCRYPTION:
            if password is None:
                raise WrongPasswordError
            reader.number()
            checked, power = reader.number(), reader.octets(1)
            salt = reader.octets(16)
            key = _Lock(power[0] if power else 99, salt, reader.octets(12) if checked & _CHECKED else b"").key(password)
            continue
        yield head, raw[at : at + length]
        at += length
        if kind == _END:
            return


def _file(head: bytes, extra: bytes, data: bytes, password: str) -> tuple[bytes, int]:
    """A file's block, decrypted, and its checksum; without it, since that of an encrypted one may be another."""
    reader = _Reader(head)
    flags, unpacked, attributes = reader.number(), reader.number(), reader.number()
    time = reader.octets(4) if flags & 2 else b""
    checksum = int.from_bytes(reader.octets(4), "little") if flags & 4 else -1
    packing = reader.number()
    rest = head[reader.at :]
    if (lock := _lock_of(extra)) is not None:
        data = _decrypted(data, lock.key(password), lock.vector)
        data = data[: _end_of_blocks(data) if packing >> 7 & 7 else unpacked]  # 0: stored
        checksum = -1 if lock.tweaked else checksum
    fields = _number(flags & ~4) + _number(unpacked) + _number(attributes) + time + _number(packing) + rest
    return _block(_FILE, fields, data), checksum


def _end_of_blocks(data: bytes) -> int:
    """Where packed data ends, before what fills it up for encryption: libarchive takes that for a further block."""
    at = 0
    while at + 2 < len(data):
        flags = data[at]
        width = (flags >> 3 & 3) + 1
        at += 2 + width + int.from_bytes(data[at + 2 : at + 2 + width], "little")
        if flags & 0x40:  # the last one
            return at
    return len(data)


def _lock_of(extra: bytes) -> _Lock | None:
    """How a file is locked: its record of type 1."""
    reader = _Reader(extra)
    while reader.at < len(extra):
        size = reader.number()
        end = reader.at + size
        if reader.number() == 1:
            reader.number()
            flags, power = reader.number(), reader.octets(1)
            salt, vector = reader.octets(16), reader.octets(16)
            if len(vector) < 16:
                return None
            check = reader.octets(12) if flags & _CHECKED else b""
            return _Lock(power[0], salt, check, vector, bool(flags & 2))
        if end <= reader.at - 2:
            return None
        reader.at = end
    return None


def _block(kind: int, fields: bytes, data: bytes = b"") -> bytes:
    head = _number(kind) + _number(2 if data else 0) + (_number(len(data)) if data else b"") + fields
    head = _number(len(head)) + head
    return zlib.crc32(head).to_bytes(4, "little") + head + data


def _decrypted(data: bytes, key: bytes, vector: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).decryptor()
    return decryptor.update(data[: len(data) // 16 * 16]) + decryptor.finalize()
