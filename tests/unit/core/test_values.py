"""Values: as frozen dataclasses in all that programs see of them."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from mailguard.core.verdict import CheckResult, Symbol


def test_a_value_compares_hashes_and_is_replaced_by_its_fields() -> None:
    symbol = Symbol("A", 1.0, evidence=("x",))
    assert symbol == Symbol("A", 1.0, "", ("x",))
    assert len({symbol, replace(symbol), replace(symbol, score=2.0)}) == 2
    assert repr(symbol) == "Symbol(name='A', score=1.0, description='', evidence=('x',))"


def test_a_value_has_no_other_fields_and_can_be_pickled() -> None:
    result = CheckResult("spf", symbols=(Symbol("A"),))
    assert pickle.loads(pickle.dumps(result)) == result
    with pytest.raises(AttributeError):
        result.other = 1  # type: ignore[attr-defined]
