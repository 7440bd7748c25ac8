"""docs/policies.md names every key, condition and action."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from mailguard.core.decision import Action
from mailguard.policy.conditions import CONDITIONS
from mailguard.policy.profile import SYMBOL_RULES
from mailguard.policy.shape import ProfileTable

TEXT = (Path(__file__).parents[3] / "docs" / "policies.md").read_text()


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, info in model.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from keys(inner, f"{prefix}{name}.")
        else:
            yield prefix + name


@pytest.mark.parametrize("key", list(keys(ProfileTable)))
def test_every_key_is_documented(key: str) -> None:
    rows = re.findall(r"^\| (`.*?) \|", TEXT, re.MULTILINE)
    assert any(f"`{key}`" in row for row in rows)


def test_every_condition_is_documented_in_its_order() -> None:
    order = re.findall(r"^\| .* \| `(\w+)` \| `[\w.]+` \|$", TEXT, re.MULTILINE)
    assert order == [row.reason.value for row in CONDITIONS]


@pytest.mark.parametrize("action", Action)
def test_every_action_is_documented(action: Action) -> None:
    assert re.search(rf"^\| .*`{action}`.* \| .* \| (250|451|550)", TEXT, re.MULTILINE)


@pytest.mark.parametrize("symbol", SYMBOL_RULES)
def test_every_symbol_with_an_action_is_documented(symbol: str) -> None:
    assert f"| `{symbol}` | `{SYMBOL_RULES[symbol].action}` |" in TEXT
