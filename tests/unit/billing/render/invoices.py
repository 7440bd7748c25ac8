"""Invoices to render: an ordinary one, one of 200 lines, one in Arabic and Chinese, a credit note, and a hostile one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

from mailguard.billing.invoice import Invoice, InvoiceKind, Line, LineKind, Party, ServiceLevel, Tax, Usage

SELLER = Party(
    "Nordlicht Mail Services GmbH",
    ("Hafenstraße 12", "20457 Hamburg"),
    "DE",
    "DE123456789",
    "billing@nordlicht.example",
)
BUYER = Party("Bäckerei Möller & Söhne KG", ("Am Markt 3", "24103 Kiel"), "DE", "DE987654321", "buero@moeller.example")
NOVEMBER = (date(2026, 11, 1), date(2026, 12, 1))
DECEMBER = (date(2026, 12, 1), date(2027, 1, 1))

EVIL = (
    '#text(red)[*x*] $a$ `raw` <label> @ref \\u{41} #import "/etc/passwd" {{7*7}} <script>alert(1)</script> ]]> &amp; '
    "=cmd|' /C calc'!A0 \u202eevil\u202c \x1b[31mred\x00\x07 \u2066iso\u2069 zalgo" + "\u0338\u0321" * 30
)


def line(
    number: int,
    description: str,
    amount: str,
    *,
    kind: LineKind = LineKind.FIXED_FEE,
    period: tuple[date, date] = DECEMBER,
    quantity: str = "1",
    unit: str = "MON",
    price: str | None = None,
    previous: str | None = None,
) -> Line:
    return Line(
        number=number,
        kind=kind,
        description=description,
        start=period[0],
        end=period[1],
        quantity=Decimal(quantity),
        unit=unit,
        unit_price=Decimal(amount if price is None else price),
        amount=Decimal(amount),
        tax_rate=Decimal(19),
        previous=None if previous is None else Decimal(previous),
    )


def invoice(lines: Sequence[Line]) -> Invoice:
    net = sum((one.amount for one in lines), Decimal("0.00"))
    tax = (net * 19 / 100).quantize(Decimal("0.01"), ROUND_HALF_UP)
    return Invoice(
        number="2026-000123",
        kind=InvoiceKind.INVOICE,
        tenant="moeller",
        month="2026-11",
        issued=date(2026, 12, 3),
        due=date(2026, 12, 17),
        currency="EUR",
        seller=SELLER,
        buyer=BUYER,
        lines=tuple(lines),
        taxes=(Tax("S", Decimal(19), net, tax),),
        net=net,
        tax=tax,
        total=net + tax,
        plan="business",
        contract=17,
        usage=Usage(57, 50, 41_234, 100_000, 12_345_678_901),
        service_levels=(
            ServiceLevel("Availability of the mail door", "≥ 99.95 %", "99.981 %", met=True),
            ServiceLevel("Spam stopped", "≥ 99 %", "98.1 %", met=False, credit_percent=Decimal(5)),
        ),
        buyer_reference="PO 4711",
        bank=("Account holder: Nordlicht Mail Services GmbH", "IBAN DE89 3704 0044 0532 0130 00", "BIC COBADEFFXXX"),
    )


ORDINARY = invoice(
    [
        line(1, "Managed e-mail filtering, plan Business", "120.00", previous="120.00"),
        line(
            2,
            "Mailboxes beyond the 50 included",
            "12.60",
            kind=LineKind.MAILBOXES,
            period=NOVEMBER,
            quantity="7",
            unit="C62",
            price="1.80",
            previous="9.00",
        ),
        line(
            3,
            "Credit for a service level missed: spam stopped (5 % of the monthly fee)",
            "-6.00",
            kind=LineKind.SLA_CREDIT,
            period=NOVEMBER,
            unit="C62",
        ),
        line(4, "Managed e-mail filtering, from 14 December", "69.68", quantity="0.58", price="120.00"),
    ]
)
MANY = invoice([line(number, f"Mailboxes of site {number}", "5.40") for number in range(1, 201)])
WORLD = replace(
    invoice(
        [
            line(1, "خدمة تصفية البريد الإلكتروني، الباقة Business", "120.00"),
            line(2, "邮件安全托管服务（商务版）月费", "80.00"),
        ]
    ),
    seller=Party("北京安全邮件有限公司", ("上海市浦东新区世纪大道100号",), "CN", "91310000MA1FL0XX0X"),
    buyer=Party("شركة الأمل للتجارة (2024) ذ.م.م.", ("شارع الملك فهد ١٢", "Київ, ירושלים, กรุงเทพ, दिल्ली"), "AE"),
)
CREDIT_NOTE = replace(
    invoice(
        [line(1, "Correction of line 2", "-5.40", kind=LineKind.CORRECTION, period=NOVEMBER, unit="C62")],
    ),
    kind=InvoiceKind.CREDIT_NOTE,
    number="CN-2026-00007",
    corrects="2026-000123",
    why="Three mailboxes were counted under both of their domains.",
    usage=None,
    service_levels=(),
)
HOSTILE = replace(
    invoice(
        [
            line(1, EVIL, "120.00"),
            line(2, "A" * 10_000, "1.00"),
            line(3, "شركة" * 2_500, "1.00"),
            line(4, "中" * 10_000, "1.00"),
            line(5, "=1+1;\n\n+2\u2028-3 😀" + " x" * 5_000, "1.00"),
        ]
    ),
    number="../../etc/passwd\r\n#" + "9" * 300,
    seller=Party("S" * 10_000, ("x" * 3_000,)),
    buyer=Party(EVIL, ("W" * 10_000, *["line"] * 50), "DE<", "#" * 500, "a" * 300 + "@b"),
    bank=("=1+1",) * 50,
    tenant="@t" * 200,
)
ALL = {"ordinary": ORDINARY, "many": MANY, "world": WORLD, "credit-note": CREDIT_NOTE, "hostile": HOSTILE}
