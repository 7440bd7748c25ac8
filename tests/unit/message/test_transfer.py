"""Decoding in pieces gives what decoding the whole gives, wherever the pieces are cut."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.message import transfer
from mailguard.message.transfer import BASE64, base64_lenient, decode_chunks

LINES = st.one_of(
    st.binary(max_size=200).map(base64.encodebytes),
    st.binary(max_size=60).map(base64.b64encode),
    st.sampled_from(
        [b"QUJD\n", b"QQ==", b"QQ=\n", b"Q", b"=", b"\r\n", b"\n", b" ", b"--x\n", b"QUJDREVG" * 30, b"\xe9"]
    ),
)


@pytest.fixture(autouse=True, scope="module")
def small_pieces() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setattr(transfer, "CHUNK", 160)
    yield
    patch.undo()


def decoded(data: bytes) -> bytes:
    return b"".join(decode_chunks(b"head" + data + b"tail", 4, 4 + len(data), BASE64))


@given(st.lists(LINES, max_size=12).map(b"".join))
@settings(deadline=None, max_examples=300)
def test_base64_in_pieces_is_that_of_the_whole(data: bytes) -> None:
    assert decoded(data) == base64_lenient(data)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("octets", [0, 1, 2, 3, 119, 120, 121, 1_000, 1_001])
def test_honest_base64_is_decoded(octets: int, end: bytes) -> None:
    content = bytes(number % 251 for number in range(octets))
    data = b"".join(line + end for line in base64.encodebytes(content).splitlines())
    assert decoded(data) == content
