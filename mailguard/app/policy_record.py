"""Tells the audit log which profiles and rules are in force: at the start, and after each change that was taken."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from mailguard.app.filter import Filter
from mailguard.store.db import Database
from mailguard.store.policies_in_force import RULES, record_policies_in

ACTOR = "relay"
"""Who takes a change of the files; who made it is known where the files are kept."""


class PolicyRecord:
    """One worker's. `keep` costs nothing while nothing changes."""

    def __init__(self, db: Database, filter_: Filter, *, node: str) -> None:
        self._db = db
        self._filter = filter_
        self._node = node
        self._kept: Mapping[str, str] = {}

    async def keep(self) -> None:
        """Record what is in force, if it is not what was recorded. Raises UnavailableError: it is tried again the next time."""
        profiles = self._filter.policies.hashes
        hashes = {
            **{f"profile {name}": found for name, found in profiles.items()},
            RULES: self._filter.rules.current.hash,
        }
        if hashes != self._kept:
            await self._db.write(partial(record_policies_in, hashes=hashes, actor=ACTOR, node=self._node))
            self._kept = hashes
