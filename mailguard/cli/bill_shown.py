"""Runs of the bill, invoices and explanations as the command line shows them: tables for people, or JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from mailguard.cli.billing_values import list_text, money
from mailguard.cli.plan import plan_json
from mailguard.cli.terminal import Cell, print_facts, print_table, say
from mailguard.cli.when import shown
from mailguard.core.clock import to_iso

if TYPE_CHECKING:
    from decimal import Decimal

    from mailguard.billing.draft import Charge
    from mailguard.billing.explain import Explanation
    from mailguard.billing.invoice import Invoice, Line
    from mailguard.billing.run import Outcome
    from mailguard.store.invoices import InvoiceRow

_ONE_DAY = timedelta(days=1)
_STYLES = {"refused": "red", "no_contract": "yellow", "made": "green"}


def print_outcomes(month: str, outcomes: Sequence[Outcome], notes: Mapping[int, Sequence[str]]) -> None:
    """Print what a run came to. `notes`: more to know, by contract."""
    print_table(
        ("TENANT", "CONTRACT", "RESULT", "INVOICE", "TOTAL", "NOTE"),
        (
            (
                one.tenant,
                str(one.contract or ""),
                Cell(one.state.value.replace("_", " "), _STYLES.get(one.state.value, "")),
                one.invoice.number if one.invoice else "",
                _total(one),
                _note(one),
            )
            for one in outcomes
        ),
        right=("TOTAL",),
        title=f"Bill of {month}",
        empty=f"no tenant in {month}",
    )
    for one in outcomes:
        for note in notes.get(one.contract, ()):
            say(f"note: {one.tenant}: {note}", style="yellow")


def _total(outcome: Outcome) -> str:
    found = outcome.invoice or outcome.draft
    return money(found.total, found.currency) if found else ""


def _note(outcome: Outcome) -> str:
    if outcome.contract:
        return outcome.reason
    used = (
        f"{_counted(outcome.mailboxes, 'mailbox')} and {_counted(outcome.messages, 'mail')} not billed; "
        if outcome.messages
        else ""
    )
    return f"{used}{outcome.reason}"


def run_json(
    month: str, outcomes: Sequence[Outcome], zone: str, notes: Mapping[int, Sequence[str]]
) -> dict[str, object]:
    """A run as `--json` prints it. Money as text, exact. `notes`: more to know, by contract."""
    return {
        "month": month,
        "time_zone": zone,
        "invoices": [
            {**_outcome_json(one), "notes": list(notes.get(one.contract, ()))} for one in outcomes if one.contract
        ],
        "without_contract": [
            {
                "tenant": one.tenant,
                "mailboxes": one.mailboxes,
                "messages": one.messages,
                "reason": one.reason,
            }
            for one in outcomes
            if not one.contract
        ],
    }


def _outcome_json(outcome: Outcome) -> dict[str, object]:
    found: dict[str, object] = {
        "tenant": outcome.tenant,
        "contract": outcome.contract,
        "state": outcome.state.value,
        "reason": outcome.reason,
    }
    if outcome.invoice is not None:
        found["invoice"] = invoice_json(outcome.invoice, outcome.tenant)
    elif outcome.draft is not None:
        found["draft"] = document_json(outcome.draft)
    return found


def document_json(document: Invoice) -> object:
    """A document as it would be frozen."""
    import json

    from mailguard.billing.render import json as rendered

    return json.loads(rendered.invoice_json(document))


def invoice_json(row: InvoiceRow, tenant: str) -> dict[str, object]:
    """The head of a frozen document."""
    return {
        "number": row.number,
        "kind": row.kind,
        "tenant": tenant,
        "contract": row.contract,
        "month": row.month,
        "issued": row.issued,
        "currency": row.currency,
        "net": f"{row.net:f}",
        "tax": f"{row.tax:f}",
        "total": f"{row.total:f}",
        "corrects": row.corrects or None,
        "sha256": row.sha256,
        "created_at": to_iso(row.created_at),
        "created_by": row.created_by,
    }


def print_invoices(rows: Sequence[InvoiceRow], names: Mapping[int, str]) -> None:
    """Print documents as a table."""
    print_table(
        ("NUMBER", "KIND", "TENANT", "MONTH", "DATE", "NET", "TAX", "TOTAL", "CORRECTS"),
        (
            (
                row.number,
                row.kind.replace("_", " "),
                names.get(row.tenant, str(row.tenant)),
                row.month,
                row.issued.isoformat(),
                money(row.net),
                money(row.tax),
                money(row.total, row.currency),
                row.corrects,
            )
            for row in rows
        ),
        right=("NET", "TAX", "TOTAL"),
        empty="no invoices yet; `mailguard bill run --month YYYY-MM` makes them",
    )


def print_invoice(document: Invoice) -> None:
    """Print a document for people."""
    buyer = document.buyer
    print_facts(
        {
            document.kind.value.replace("_", " "): document.number,
            "tenant": document.tenant,
            "buyer": list_text((buyer.name, *buyer.address, buyer.country)),
            "month": document.month,
            "date": document.issued.isoformat(),
            "payable by": document.due.isoformat() if document.total > 0 else "",
            "plan": document.plan,
            "corrects": document.corrects,
            "why": document.why,
        }
    )
    print_table(
        ("LINE", "WHAT", "FROM", "UNTIL", "QUANTITY", "PRICE", "TAX", "AMOUNT", "MONTH BEFORE"),
        (_line_cells(line) for line in document.lines),
        right=("LINE", "QUANTITY", "PRICE", "TAX", "AMOUNT", "MONTH BEFORE"),
    )
    print_facts(
        {
            "net": money(document.net, document.currency),
            **{f"tax {tax.rate.normalize():f} %": money(tax.amount, document.currency) for tax in document.taxes},
            "total": money(document.total, document.currency),
        }
    )
    if document.usage is not None:
        used = document.usage
        say(
            f"Used: {_counted(used.mailboxes, 'mailbox')} of {_included(used.included_mailboxes)}, "
            f"{_counted(used.messages, 'mail')} of "
            f"{_included(used.included_messages)}."
        )


def _line_cells(line: Line) -> tuple[str, ...]:
    return (
        str(line.number),
        line.description,
        line.start.isoformat(),
        max(line.start, line.end - _ONE_DAY).isoformat(),
        f"{line.quantity:f}",
        money(line.unit_price),
        f"{line.tax_rate.normalize():f} %",
        money(line.amount),
        _optional(line.previous),
    )


def _included(count: int | None) -> str:
    return "an unlimited number" if count is None else f"{count:,} included"


def _counted(count: int, what: str) -> str:
    plural = f"{what}es" if what.endswith("x") else f"{what}s"
    return f"{count:,} {what if count == 1 else plural}"


def _optional(value: Decimal | None) -> str:
    return "" if value is None else money(value)


def print_explanation(found: Explanation) -> None:
    """Print what is behind a line for people."""
    line, currency = found.line, found.invoice.currency
    difference = found.difference
    plan = found.terms.plan
    print_facts(
        {
            "line": f"{line.number} of {found.invoice.number}: {line.description}",
            "amount": f"{line.quantity:f} × {money(line.unit_price)} = {money(line.amount, currency)}",
            "days": f"{line.start} to {max(line.start, line.end - _ONE_DAY)}",
            "terms": f"plan {plan.name}, {money(plan.monthly_fee, currency)} a month, agreed from {found.terms.start} on",
            "month before": "" if line.previous is None else money(line.previous, currency),
            "difference": "" if difference is None else f"{difference:+,f} {currency}",
            "gives back": list_text([_charge_text(one) for one in found.against]),
            "given back": list_text([_charge_text(one) for one in found.credits]),
            "service level": ""
            if found.level is None
            else f"{found.level.commitment}: {found.level.measured}, promised {found.level.target}",
        }
    )
    if found.mailboxes:
        new = set(found.new or ())
        print_table(
            ("MAILBOX", "MAILS", "OCTETS", "FIRST MAIL", "AT", "ADDRESSES", ""),
            (
                (
                    row.mailbox,
                    f"{row.messages:,}",
                    f"{row.octets:,}",
                    row.unit,
                    shown(row.first_at),
                    str(row.addresses),
                    "new" if row.mailbox in new else "",
                )
                for row in found.mailboxes
            ),
            right=("MAILS", "OCTETS", "ADDRESSES"),
            title=f"{_counted(len(found.mailboxes), 'mailbox')} that mail was delivered to in {found.invoice.month}",
        )
    if found.new is not None:
        say(f"Compared with the month before: {len(found.new):,} new, {len(found.gone or ()):,} without mail now.")
        for mailbox in found.gone or ():
            say(f"  no longer: {mailbox}")
    if found.mails:
        print_table(
            ("MAIL", "AT", "TO", "OCTETS"),
            ((one.unit, shown(one.at), one.recipient, f"{one.octets:,}") for one in found.mails),
            right=("OCTETS",),
        )


def _charge_text(charge: Charge) -> str:
    return f"{charge.kind.value} {charge.amount:f} ({charge.invoice} line {charge.line})"


def explanation_json(found: Explanation) -> dict[str, object]:
    """An explanation as `--json` prints it."""
    line, difference = found.line, found.difference
    return {
        "invoice": found.invoice.number,
        "month": found.invoice.month,
        "line": line.number,
        "kind": line.kind.value,
        "description": line.description,
        "from": line.start,
        "until": line.end - _ONE_DAY if line.end > line.start else line.start,
        "quantity": f"{line.quantity:f}",
        "unit_price": f"{line.unit_price:f}",
        "amount": f"{line.amount:f}",
        "month_before": None if line.previous is None else f"{line.previous:f}",
        "difference": None if difference is None else f"{difference:f}",
        "terms": {"from": found.terms.start, "plan": plan_json(found.terms.plan)},
        "gives_back": [_charge_json(one) for one in found.against],
        "given_back": [_charge_json(one) for one in found.credits],
        "service_level": None
        if found.level is None
        else {
            "commitment": found.level.commitment,
            "target": found.level.target,
            "measured": found.level.measured,
            "met": found.level.met,
            "credit_percent": f"{found.level.credit_percent:f}",
        },
        "mailboxes": [
            {
                "mailbox": row.mailbox,
                "messages": row.messages,
                "octets": row.octets,
                "first_mail": row.unit,
                "first_at": to_iso(row.first_at),
                "addresses": row.addresses,
            }
            for row in found.mailboxes
        ],
        "new_mailboxes": None if found.new is None else list(found.new),
        "gone_mailboxes": None if found.gone is None else list(found.gone),
        "mails": [
            {"id": one.unit, "at": to_iso(one.at), "recipient": one.recipient, "octets": one.octets}
            for one in found.mails
        ],
    }


def _charge_json(charge: Charge) -> dict[str, object]:
    return {
        "invoice": charge.invoice,
        "line": charge.line,
        "kind": charge.kind.value,
        "amount": f"{charge.amount:f}",
    }
