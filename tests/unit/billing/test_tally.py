"""Counting: a mail that was delivered stripped and its original in quarantine are one."""

from __future__ import annotations

from mailguard.billing.tally import Step, tally
from mailguard.store.metered import Count

MONTH = "2026-11"
MAIL, KEPT = "01JDF00000000000000000000X-1", "01JDF00000000000000000000X-50001"


def step(number: int, before: str | None, after: str, *, original: bool = False) -> Step:
    """A step of the delivered unit, or of the one that keeps the original."""
    return Step(number, number, KEPT if original else MAIL, 2, before, after, 100, 7, MAIL if original else "")


ARRIVES = [step(1, None, "forwarding"), step(2, None, "quarantined", original=True)]
DELIVERED = step(3, "forwarding", "delivered")
RELEASED = step(4, "spooled", "released", original=True)


def test_it_is_received_delivered_and_billed_once() -> None:
    found = tally([*ARRIVES, DELIVERED], [], lambda at, number: MONTH)
    one = Count(1, 1, 100)
    assert found.counts == {(MONTH, 2, "received"): one, (MONTH, 2, "delivered"): one}
    assert found.recipients[MONTH, 2, 7].units == 1


def test_its_release_is_no_second_mail_to_the_bill() -> None:
    whole = tally([*ARRIVES, DELIVERED, RELEASED], [], lambda at, number: MONTH)
    assert whole.counts[MONTH, 2, "released"].units == 1
    assert whole.recipients[MONTH, 2, 7].units == 1
    later = tally([RELEASED], [*ARRIVES, DELIVERED], lambda at, number: MONTH)
    assert not later.recipients


def test_what_was_never_delivered_is_billed_when_its_original_is() -> None:
    found = tally([*ARRIVES, step(3, "forwarding", "undeliverable"), RELEASED], [], lambda at, number: MONTH)
    assert (found.recipients[MONTH, 2, 7].units, found.recipients[MONTH, 2, 7].first_unit) == (1, MAIL)
