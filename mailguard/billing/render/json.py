"""An Invoice as canonical JSON, and back: names in order, Decimals as strings, ASCII, one line. What is frozen and hashed."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from functools import cache

from pydantic import TypeAdapter, ValidationError

from mailguard.billing.invoice import Invoice

FORMAT = 1
"""Grows when a document can no longer be read as before."""


def invoice_json(invoice: Invoice) -> str:
    """The document. The same values give the same text, on every machine."""
    document = {"format": FORMAT, **_adapter().dump_python(invoice)}
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=_text)


def invoice_from_json(text: str) -> Invoice:
    """The Invoice that `invoice_json` wrote, in this release or an older one. Raises ValueError when it is not one."""
    try:
        document = json.loads(text)
        if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
            raise ValueError(f"the document is no invoice of format {FORMAT}, or a newer release wrote it")
        return _adapter().validate_python(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"the document is no invoice: {where}: {first['msg']}") from error
    except RecursionError as error:
        raise ValueError("the document is no invoice: it is nested too deeply") from error


def _text(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in an invoice")


@cache
def _adapter() -> TypeAdapter[Invoice]:
    return TypeAdapter(Invoice)
