"""Tables of the service level: probe results, maintenance windows, complaints. As store/schema.py; no queries live here."""

from __future__ import annotations

from mailguard.store.schema import metadata

__all__ = ["metadata"]
