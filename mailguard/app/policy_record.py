"""Tells the audit log which profiles, rules and plans are in force: at the start, and after each change that was taken."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from mailguard.app.filter import Filter
from mailguard.billing.plan_files import PlanFiles
from mailguard.ops.aside import compute_aside
from mailguard.store.db import Database
from mailguard.store.policies_in_force import PLAN, PROFILE, RULES, record_policies_in

ACTOR = "relay"
"""Who takes a change of the files; who made it is known where the files are kept."""


class PolicyRecord:
    """One worker's. `keep` costs nothing while nothing changes."""

    def __init__(self, db: Database, filter_: Filter, plans: PlanFiles, *, node: str) -> None:
        """`plans` are read here; they bill nothing by themselves, since contracts have them as they were agreed."""
        self._db = db
        self._filter = filter_
        self._plans = plans
        self._plans_are_known = False
        self._node = node
        self._kept: Mapping[str, str] = {}

    async def keep(self) -> None:
        """Record what is in force, if it is not what was recorded. Raises UnavailableError: it is tried again the next time."""
        if not self._plans_are_known or self._plans.changed:
            wrong = await compute_aside(self._plans.reload)
            self._plans_are_known = self._plans_are_known or not wrong
        hashes = {
            **{f"{PROFILE}{name}": found for name, found in self._filter.policies.hashes.items()},
            **{f"{PLAN}{name}": found for name, found in self._plans.hashes.items()},
            RULES: self._filter.rules.current.hash,
        }
        if hashes != self._kept:
            unknown = "" if self._plans_are_known else PLAN
            work = partial(record_policies_in, hashes=hashes, actor=ACTOR, node=self._node, unknown=unknown)
            await self._db.write(work)
            self._kept = hashes
