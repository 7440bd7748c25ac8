"""Text and JSON on their way into columns: what mail says may hold NUL, lone surrogates, or more than a column does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def clean(text: str, limit: int | None = None) -> str:
    """`text` as both databases take it: NUL and lone surrogates become U+FFFD; at most `limit` characters."""
    return (_UNSTORABLE.sub("\ufffd", text) if not text.isascii() or "\0" in text else text)[:limit]


def to_json(value: object) -> str:
    """`value` as compact ASCII JSON; dataclasses become objects without the fields that are empty."""
    return json.dumps(value, default=_plain, separators=(",", ":"))


def _plain(value: Any) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        pairs = ((field.name, getattr(value, field.name)) for field in fields(value))
        return {name: item for name, item in pairs if item is not None and item not in ("", ())}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no place in a JSON column")
