"""A frozen dataclass for values of which each mail makes dozens: what freezes it is the type checker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """As `dataclass(frozen=True, slots=True)`, but for assigning, which mypy refuses and nothing else.

    Python's own frozen dataclass sets each field by a call of `object.__setattr__`: a Symbol takes 0.97 µs instead of 0.13, all
    the symbols and results of a mail 0.1 ms. It compares and hashes by its fields, as a frozen one does.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)
