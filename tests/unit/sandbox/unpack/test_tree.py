"""The tree: any octets end as a tree within its limits, and say only what the relay knows."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.checks.unpack_symbols import SYMBOLS
from mailguard.core.attachments import UNINSPECTABLE
from tests.unit.sandbox.unpack.taken import apart, symbols


def test_what_is_uninspectable_is_known() -> None:
    assert UNINSPECTABLE - {"OFFICE_ENCRYPTED", "PDF_ENCRYPTED"} <= SYMBOLS.keys()


@settings(deadline=None)
@given(st.binary(max_size=300), st.text(max_size=20))
def test_any_octets_are_taken_apart(raw: bytes, name: str) -> None:
    assert symbols(apart(raw, name)).keys() <= SYMBOLS.keys()
