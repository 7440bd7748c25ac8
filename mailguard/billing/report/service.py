"""The service level that a report shows: as the month's invoice froze it, else as it is measured now."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from mailguard.billing import sla
from mailguard.billing.agreements import contracts_of
from mailguard.billing.contract import first_of, month_after
from mailguard.billing.invoice import InvoiceKind, ServiceLevel
from mailguard.billing.months import Month
from mailguard.billing.plans import ServiceLevels
from mailguard.billing.render.json import invoice_from_json
from mailguard.billing.report.facts import Delays, ServiceFacts
from mailguard.billing.sla import SlaRules
from mailguard.core.clock import SECOND
from mailguard.store import invoices


def service_of(conn: Connection, tenant: int, period: Month, *, rules: SlaRules) -> ServiceFacts:
    """What was measured and promised of a tenant's month. Without a contract nothing was promised."""
    measured = sla.measure(conn, tenant, period, rules=rules)
    frozen = _frozen(conn, tenant, period)
    delay = measured.delay
    delays = Delays(delay.p50 / SECOND, delay.p95 / SECOND, delay.p99 / SECOND) if delay is not None else None
    if frozen is None:
        frozen = sla.credits(measured, _promised(conn, tenant, period))
    return ServiceFacts(delays, frozen)


def _frozen(conn: Connection, tenant: int, period: Month) -> tuple[ServiceLevel, ...] | None:
    """What the invoices of the month say; None: there is none yet."""
    rows = invoices.list_invoices(conn, tenant=tenant, month=period.name)
    documents = [invoice_from_json(row.document) for row in rows if row.kind == InvoiceKind.INVOICE]
    if not documents:
        return None
    return next((document.service_levels for document in documents if document.service_levels), ())


def _promised(conn: Connection, tenant: int, period: Month) -> ServiceLevels:
    """By the terms of the last day of the month that a contract covers."""
    month = first_of(period.name)
    held = (contract.last_terms_within(month, month_after(month)) for contract in contracts_of(conn, tenant))
    terms = [found for found in held if found is not None]
    return max(terms, key=lambda found: found.start).plan.sla if terms else ServiceLevels()
