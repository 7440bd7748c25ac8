"""Frames: what is packed is unpacked again, and whatever else comes is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.sandbox.frames import HEAD, HEADER_LIMIT, RAW_LIMIT, FrameError, Json, lengths, pack, unpack

values: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(), values, max_size=5), st.binary(max_size=300))
def test_what_is_packed_is_unpacked(header: dict[str, Json], raw: bytes) -> None:
    frame = pack(header, raw)
    size, rest = lengths(frame[: HEAD.size])
    assert unpack(frame[HEAD.size : HEAD.size + size]) == header
    assert frame[HEAD.size + size :] == raw
    assert rest == len(raw)


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_any_octets_are_an_object_or_refused(octets: bytes) -> None:
    try:
        value = unpack(octets)
    except FrameError:
        return
    assert isinstance(value, dict)


@settings(deadline=None)
@given(st.binary(max_size=16))
def test_any_lengths_are_within_the_limits_or_refused(head: bytes) -> None:
    try:
        header, raw = lengths(head, raw_limit=0)
    except FrameError:
        return
    assert len(head) == HEAD.size
    assert header <= HEADER_LIMIT
    assert raw == 0


@pytest.mark.parametrize(
    "octets", [b"", b"null", b"[1]", b"{", b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000, b"\xff"]
)
def test_what_is_no_object_is_refused(octets: bytes) -> None:
    with pytest.raises(FrameError):
        unpack(octets)


def test_what_is_too_large_is_not_sent() -> None:
    with pytest.raises(FrameError):
        pack({"a": "x" * HEADER_LIMIT})
    with pytest.raises(FrameError):
        lengths(HEAD.pack(1, RAW_LIMIT + 1))
