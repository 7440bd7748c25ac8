"""Tables of contracts and invoices. As store/schema.py; no queries live here."""

from __future__ import annotations

from mailguard.store.schema import metadata

__all__ = ["metadata"]
