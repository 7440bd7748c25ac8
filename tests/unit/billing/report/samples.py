"""A month to report on, and one full of hostile names."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

from mailguard.billing.invoice import ServiceLevel
from mailguard.billing.meter import Count, Usage
from mailguard.billing.report.facts import Day, Delays, Facts, Ranked, ServiceFacts, Threat

DAYS = tuple(
    Day(
        date(2026, 11, 1) + timedelta(days=number),
        1_000 + 37 * number % 400,
        900 + 31 * number % 380,
        60 + 7 * number % 40,
    )
    for number in range(30)
)
STOPPED = sum(day.stopped for day in DAYS)
DELIVERED = sum(day.delivered for day in DAYS)

MONTH = Facts(
    tenant="moeller",
    month="2026-11",
    time_zone="Europe/Berlin",
    usage=Usage(
        2,
        received=Count(sum(day.received for day in DAYS), 30_000, 12_300_000_000),
        delivered=Count(DELIVERED - 7, 30_000, 12_000_000_000),
        quarantined=Count(STOPPED - 900, 2_000, 1_000_000),
        rejected=Count(900, 900, 500_000),
        deferred=Count(31, 31, 31_000),
        released=Count(7, 7, 7_000),
        billed_mailboxes=57,
    ),
    before=Usage(2, received=Count(38_211, 38_000, 1)),
    days=DAYS,
    threats={Threat.MALWARE: 38, Threat.ATTACHMENT: 1, Threat.FORGED: 200, Threat.SPAM: STOPPED - 239},
    tagged=214,
    refused={"unknown_recipient": 5_211, "rate_limit": 12, "bad_syntax": 3, "mail_loop": 1},
    attacked=(Ranked("info@moeller.example", 611), Ranked("chef@moeller.example", 120)),
    spoofed=(Ranked("bank.example", 120), Ranked("北京安全邮件.example", 3)),
    service=ServiceFacts(
        Delays(0.42, 3.1, 96.0),
        (
            ServiceLevel("Availability of the mail door", "≥ 99.95 %", "99.981 %", met=True),
            ServiceLevel("Spam stopped", "≥ 99 %", "98.1 %", met=False, credit_percent=Decimal(5)),
        ),
    ),
)

EVIL = "<script>alert(1)</script>\"'&{{7*7}} #text(red)[x] \u202egpj.exe\x1b[31m\x00"
HOSTILE = replace(
    MONTH,
    tenant=EVIL,
    attacked=(Ranked(f"{EVIL}@x.test", 4), Ranked("a" * 10_000, 3), Ranked("بريد@شركة.example", 2), Ranked("😀", 1)),
    spoofed=(Ranked(EVIL, 9), Ranked("中" * 10_000, 1)),
    service=ServiceFacts(None, (ServiceLevel(EVIL, EVIL, EVIL * 50, met=True),)),
)
NOTHING = Facts(
    tenant="quiet",
    month="2026-11",
    time_zone="UTC",
    usage=Usage(2),
    before=Usage(2),
    days=tuple(Day(day.date) for day in DAYS),
    threats={},
    tagged=0,
    refused={},
    attacked=(),
    spoofed=(),
)
