"""Notes on availability that is promised and not probed: time without a probe counts as down, and gives credits by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mailguard.core.clock import MINUTE, to_iso

if TYPE_CHECKING:
    from datetime import date

    from sqlalchemy.engine import Connection

    from mailguard.billing.availability import Availability
    from mailguard.billing.contract import Contract
    from mailguard.billing.months import Month
    from mailguard.billing.plans import ServiceLevels
    from mailguard.billing.run import Outcome
    from mailguard.billing.sla import SlaRules

STALE = 15 * MINUTE
"""Milliseconds after which a tenant counts as not probed; the alert MailGuardProbeMissing has the same."""


def contract_notes(conn: Connection, name: str, contract: Contract, *, today: date, now: int) -> list[str]:
    """Of a contract that promises availability today or later: whether somebody probes its tenant. `now` in ms UTC."""
    from mailguard.billing.plans import CommitmentName
    from mailguard.watch.probe_results import latest

    if contract.ends_on is not None and contract.ends_on <= max(today, contract.start):
        return []
    held = contract.terms_on(max(today, contract.start))
    ahead = [one for one in contract.terms if one is held or one.start > today]
    if not any(promised.name is CommitmentName.AVAILABILITY for one in ahead for promised in one.plan.sla.commitments):
        return []
    last = next((one.at for one in latest(conn) if one.tenant == name), None)
    if last is not None and now - last <= STALE:
        return []
    seen = f"{name} has never been probed" if last is None else f"{name} was last probed at {to_iso(last)}"
    return [
        f"availability is promised, but {seen}: what is not probed counts as down, and is credited on the invoice by itself. "
        f"Run `mailguard probe --tenant {name} --record` from a timer, as docs/probe.md says."
    ]


def level_notes(door: Availability, levels: ServiceLevels, rules: SlaRules) -> list[str]:
    """Of a measured month: what counts as down for want of probes alone, and what that credits."""
    from mailguard.billing.sla import unprobed

    found = unprobed(door, levels)
    if found is None:
        return []
    credit = (
        f": the credit for availability is {found.percent.normalize():f} % rather than "
        f"{found.probed_percent.normalize():f} % of the month's fee"
        if found.percent > found.probed_percent
        else ""
    )
    return [
        f"nobody probed in {found.missing:,} of {found.counted:,} slots of {rules.probe_minutes} minutes, which count as down"
        f"{credit}. docs/probe.md tells how to probe all the time."
    ]


def bill_notes(
    conn: Connection, outcomes: Sequence[Outcome], period: Month, rules: SlaRules
) -> Mapping[int, list[str]]:
    """Of a run's invoices and drafts, by contract: credits that are there for want of probes alone."""
    found = {one.contract: _notes_of(conn, one, period, rules) for one in outcomes if _credits_availability(one)}
    return {contract: notes for contract, notes in found.items() if notes}


def _notes_of(conn: Connection, outcome: Outcome, period: Month, rules: SlaRules) -> list[str]:
    from mailguard.billing.agreements import contract_of
    from mailguard.billing.contract import first_of, month_after
    from mailguard.billing.sla import door_of, unprobed
    from mailguard.store.contracts import contract_by_id

    contract, month = contract_of(contract_by_id(conn, outcome.contract)), first_of(period.name)
    terms = contract.last_terms_within(month, month_after(month))
    if terms is None:
        return []
    door = door_of(conn, contract.tenant, period, rules=rules)
    gap = unprobed(door, terms.plan.sla)
    return level_notes(door, terms.plan.sla, rules) if gap is not None and gap.percent > gap.probed_percent else []


def _credits_availability(outcome: Outcome) -> bool:
    from mailguard.billing.frozen import document_of
    from mailguard.billing.plans import CommitmentName
    from mailguard.billing.sla import TITLES

    document = document_of(outcome.invoice) if outcome.invoice is not None else outcome.draft
    title = TITLES[CommitmentName.AVAILABILITY]
    return document is not None and any(
        level.commitment == title and level.credit_percent for level in document.service_levels
    )
