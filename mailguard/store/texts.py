"""Text and JSON on their way into columns: what mail says may hold NUL, lone surrogates, or more than a column does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from mailguard.core.edits import Edit
from mailguard.core.envelope import MailOptions, RcptOptions

_MAIL_OPTIONS = tuple(field.name for field in fields(MailOptions))
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def clean(text: str, limit: int | None = None) -> str:
    """`text` as both databases take it: NUL and lone surrogates become U+FFFD; at most `limit` characters."""
    return (_UNSTORABLE.sub("\ufffd", text) if not text.isascii() or "\0" in text else text)[:limit]


def to_json(value: object) -> str:
    """`value` as compact ASCII JSON; dataclasses become objects without the fields that are empty."""
    return _ENCODER.encode(value)


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def mail_options_from_json(text: str) -> MailOptions:
    """The MailOptions that `to_json` wrote; what a later release added is left out."""
    value = json.loads(text)
    return MailOptions(**{name: value[name] for name in _MAIL_OPTIONS if name in value})


def rcpt_options_from_json(text: str) -> RcptOptions:
    """The RcptOptions that `to_json` wrote."""
    value = json.loads(text)
    return RcptOptions(notify=tuple(value.get("notify", ())), orcpt=value.get("orcpt", ""))


def edits_to_json(edits: Iterable[Edit]) -> str:
    """The JSON that `edits_from_json` reads."""
    return to_json([[edit.start, edit.end, edit.text] for edit in edits])


def edits_from_json(text: str) -> tuple[Edit, ...]:
    """The edits that were written."""
    return tuple(Edit(start, end, instead) for start, end, instead in json.loads(text)) if text != "[]" else ()


def _plain(value: Any) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        pairs = [(name, getattr(value, name)) for name in _names(type(value))]
        return {name: item for name, item in pairs if item is not None and item != "" and item != ()}  # noqa: PLR1714
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no place in a JSON column")


_ENCODER = json.JSONEncoder(default=_plain, separators=(",", ":"))
