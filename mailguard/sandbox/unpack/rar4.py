"""Encrypted RAR 2.9 to 4: the same archive without its encryption, for libarchive to read (which cannot decrypt). RAR's technote.txt of 4.x.

AES-128 in CBC; the key by 2**18 rounds of SHA-1 over password, salt and a counter.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from functools import lru_cache

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

MAGIC = b"Rar!\x1a\x07\x00"
LONGEST = 27
"""Characters of a password: from 28 on RAR hashed what its own hashing had overwritten."""
BLOCKS = 20_000
"""Blocks of an archive that are read."""
_MAIN, _FILE, _END = 0x73, 0x74, 0x7B
_HEADERS_ENCRYPTED = 0x80
_ENCRYPTED, _LARGE, _SALTED, _LONG = 0x04, 0x100, 0x400, 0x8000
_STORED = 0x30
_VERSION = 29
"""Of what unpacks it, from which on files are encrypted so."""


def locked_places(raw: bytes, tick: Callable[[], None]) -> frozenset[int]:
    """Nothing: libarchive tells which files of these are encrypted."""
    return frozenset()


def unlocked(raw: bytes, password: str, tick: Callable[[], None]) -> tuple[bytes, list[int]] | None:
    """The archive as it would be without the password, and the CRC-32 of each of its files.

    None where the password cannot be right. Otherwise only the files tell whether it is.
    """
    if not 0 < len(password) <= LONGEST:
        return None
    out = [MAGIC]
    checksums: list[int] = []
    at = len(MAGIC)
    secret = False
    for _ in range(BLOCKS):
        tick()
        if secret:
            salt, at = raw[at : at + 8], at + 8
            head = _decrypted(raw[at : at + 16], password, salt)
            size = int.from_bytes(head[5:7], "little")
            padded = -(-size // 16) * 16
            head = _decrypted(raw[at : at + padded], password, salt)[:size]
            if len(head) < size or zlib.crc32(head[2:]) & 0xFFFF != int.from_bytes(head[:2], "little"):
                return None
            at += padded
        else:
            size = int.from_bytes(raw[at + 5 : at + 7], "little")
            head = raw[at : at + size]
            at += size
        if size < 7 or len(head) < size:
            break
        kind, flags = head[2], int.from_bytes(head[3:5], "little")
        length = int.from_bytes(head[7:11], "little") if flags & _LONG or kind == _FILE else 0
        if kind == _FILE and flags & _LARGE:
            length |= int.from_bytes(head[32:36], "little") << 32
        data, at = raw[at : at + length], at + length
        if kind == _MAIN:
            secret = bool(flags & _HEADERS_ENCRYPTED)
            out.append(_block(kind, flags & ~_HEADERS_ENCRYPTED, head[7:13]))
        elif kind == _FILE and size >= 32:
            out.append(_file(head, flags, data, password))
            checksums.append(int.from_bytes(head[16:20], "little"))
        elif kind == _END:
            break
    out.append(_block(_END, 0x4000, b""))
    return b"".join(out), checksums


def _file(head: bytes, flags: int, data: bytes, password: str) -> bytes:
    """A file's block, decrypted."""
    end = 32 + (8 if flags & _LARGE else 0) + int.from_bytes(head[26:28], "little")
    salt = head[end : end + 8] if flags & _SALTED else b""
    body = bytearray(head[7:end])
    if flags & _ENCRYPTED and head[24] >= _VERSION:
        data = _decrypted(data, password, salt)
        if head[25] == _STORED:
            data = data[: int.from_bytes(head[11:15], "little")]
    body[:4] = (len(data) & 0xFFFFFFFF).to_bytes(4, "little")
    # Without the finer times, which would follow the salt.
    return _block(_FILE, flags & ~(_ENCRYPTED | _SALTED | 0x1000) | _LONG, bytes(body)) + data


def _block(kind: int, flags: int, body: bytes) -> bytes:
    rest = bytes([kind]) + flags.to_bytes(2, "little") + (7 + len(body)).to_bytes(2, "little") + body
    return (zlib.crc32(rest) & 0xFFFF).to_bytes(2, "little") + rest


def _decrypted(data: bytes, password: str, salt: bytes) -> bytes:
    key, vector = key_of(password, salt)
    decryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).decryptor()
    return decryptor.update(data[: len(data) // 16 * 16]) + decryptor.finalize()


@lru_cache(maxsize=4)
def key_of(password: str, salt: bytes) -> tuple[bytes, bytes]:
    """Key and vector. The counter's octets are put between the others by slices: one by one it would take a second."""
    seed = password.encode("utf-16-le") + salt
    width, rounds = len(seed) + 3, 0x4000
    block = bytearray((seed + b"\0\0\0") * rounds)
    block[len(seed) :: width] = bytes(range(256)) * (rounds // 256)
    total = hashlib.sha1(usedforsecurity=False)
    vector = b""
    for turn in range(16):
        high = (turn & 3) << 6
        block[len(seed) + 1 :: width] = b"".join(bytes([high | one]) * 256 for one in range(64))
        block[len(seed) + 2 :: width] = bytes([turn >> 2]) * rounds
        total.update(block[:width])
        vector += total.digest()[19:20]
        total.update(memoryview(block)[width:])
    digest = total.digest()
    return b"".join(digest[at : at + 4][::-1] for at in range(0, 16, 4)), vector
