"""Encrypted RARs of both forms, made for tests: stored, since packing them needs a program that is not free. 7-Zip opens what is made here."""

from __future__ import annotations

import hashlib
import struct
import zlib

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_POWER = 15
"""Of RAR 5's rounds, as RAR writes it."""


def _encrypted(raw: bytes, key: bytes, vector: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    return encryptor.update(raw + bytes(-len(raw) % 16)) + encryptor.finalize()


def rar4(name: str, raw: bytes, password: str, *, headers: bool = False) -> bytes:
    """RAR 4 with one file; its `headers` encrypted as well, or not."""
    salt = b"saltsalt"
    key, vector = _slow_key(password, salt)
    data = _encrypted(raw, key, vector)
    encoded = name.encode("utf-8", "replace")
    fields = (len(data), len(raw), 2, zlib.crc32(raw), 0x5A217A7B, 29, 0x30, len(encoded), 0x20)
    file = _block4(0x74, 0x8404, struct.pack("<IIBIIBBHI", *fields) + encoded + salt)
    end = _block4(0x7B, 0x4000, b"")
    if headers:
        file, end = (salt + _encrypted(one, key, vector) for one in (file, end))
    return b"Rar!\x1a\x07\0" + _block4(0x73, 0x80 if headers else 0, bytes(6)) + file + data + end


def _block4(kind: int, flags: int, body: bytes) -> bytes:
    rest = struct.pack("<BHH", kind, flags, 7 + len(body)) + body
    return struct.pack("<H", zlib.crc32(rest) & 0xFFFF) + rest


def _slow_key(password: str, salt: bytes) -> tuple[bytes, bytes]:
    """Round by round, as it is described."""
    seed = password.encode("utf-16-le") + salt
    total, vector = hashlib.sha1(usedforsecurity=False), b""
    for count in range(1 << 18):
        total.update(seed + count.to_bytes(3, "little"))
        if not count % (1 << 14):
            vector += total.digest()[-1:]
    return b"".join(struct.pack("<I", one) for one in struct.unpack(">4I", total.digest()[:16])), vector


def rar5(name: str, raw: bytes, password: str, *, headers: bool = False, power: int = _POWER) -> bytes:
    """RAR 5 with one file; its `headers` encrypted as well, or not; `power`: of the rounds that it asks for."""
    salt, vector = b"salt" * 4, b"vectorvectorvect"
    key, check = (_pbkdf2(password, salt, (1 << power) + more) for more in (0, 32))
    folded = bytes(a ^ b ^ c ^ d for a, b, c, d in zip(*(check[at : at + 8] for at in range(0, 32, 8)), strict=True))
    lock = bytes([power]) + salt + vector + folded + hashlib.sha256(folded).digest()[:4]
    record = _number(1) + _number(0) + _number(1) + lock
    extra = _number(len(record)) + record
    data = _encrypted(raw, key, vector)
    encoded = name.encode("utf-8", "replace")
    fields = _number(4) + _number(len(raw)) + _number(0x20) + struct.pack("<I", zlib.crc32(raw))
    fields += _number(0) + _number(0) + _number(len(encoded)) + encoded
    file = _block5(_number(2) + _number(3) + _number(len(extra)) + _number(len(data)) + fields + extra)
    main, end = _block5(_number(1) + _number(0) + _number(0)), _block5(_number(5) + _number(0) + _number(0))
    magic = b"Rar!\x1a\x07\1\0"
    if not headers:
        return magic + main + file + data + end
    first = _number(4) + _number(0) + _number(0) + _number(1) + bytes([power]) + salt
    first += folded + hashlib.sha256(folded).digest()[:4]
    main, file, end = (vector + _encrypted(one, key, vector) for one in (main, file, end))
    return magic + _block5(first) + main + file + data + end


def _pbkdf2(password: str, salt: bytes, rounds: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)


def _block5(body: bytes) -> bytes:
    body = _number(len(body)) + body
    return struct.pack("<I", zlib.crc32(body)) + body


def _number(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])
