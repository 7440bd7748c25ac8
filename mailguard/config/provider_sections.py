"""What the provider owes and is owed: the bill, the service level, and the probe that sees whether it holds."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from mailguard.config.section import Section
from mailguard.config.values import OptionalMailbox, OptionalPeer, TimeZone

_SERIES = re.compile(r"(?=.{0,32}$)[A-Za-z0-9._-]*(\{year\}[A-Za-z0-9._-]*)?")


def _series(text: str) -> str:
    if not _SERIES.fullmatch(text):
        raise ValueError("must be at most 32 of A-Z, a-z, 0-9, '.', '-' and '_', with {year} once if at all")
    return text


class BillingSection(Section):
    """What the monthly usage is counted by, and who sends the bill."""

    time_zone: TimeZone = Field("UTC", description="IANA name of the time zone whose midnight begins a month.")
    seller_name: str = Field("", max_length=200, description="The provider as invoices name it. Needed for `bill run`.")
    seller_address: tuple[str, ...] = Field(
        (), max_length=6, description='Its address by lines: `["1 Mail Street", "10115 Berlin"]`.'
    )
    seller_country: Annotated[str, Field(pattern="^([A-Z]{2})?$")] = Field(
        "", description="Its country's code (ISO 3166-1), such as `DE`. Needed for `bill run`."
    )
    seller_tax_id: str = Field(
        "",
        max_length=40,
        description="Its VAT number with the country's code, or tax number. Needed where tax is charged.",
    )
    seller_email: OptionalMailbox = Field("", description="Whom clients ask about an invoice.")
    bank: tuple[str, ...] = Field((), max_length=6, description="How to pay, by lines, such as an IBAN and a BIC.")
    invoice_series: Annotated[str, AfterValidator(_series)] = Field(
        "INV-{year}-", description="What invoice numbers begin with; `{year}` is that of the invoice's date."
    )
    credit_note_series: Annotated[str, AfterValidator(_series)] = Field(
        "CN-{year}-", description="The same for credit notes, which are numbered by themselves."
    )
    number_digits: int = Field(5, ge=1, le=12, description="Digits of the number that follows, filled up with zeros.")

    @field_validator("credit_note_series")
    @classmethod
    def _two_series(cls, series: str, info: ValidationInfo) -> str:
        if series == info.data.get("invoice_series"):
            raise ValueError("must be another one than invoice_series")
        return series


class SlaSection(Section):
    """How the service level is measured; what is promised stands in the plans."""

    probe_minutes: int = Field(
        5, ge=1, le=60, description="Minutes within each of which a probe of every client is expected."
    )
    maintenance_notice_hours: int = Field(
        24, ge=0, le=720, description="Hours before its begin by which maintenance must have been announced to count."
    )
    maintenance_hours: int = Field(
        8, ge=0, le=720, description="Hours of announced maintenance in a month, at most, that do not count as down."
    )


class ProbeSection(Section):
    """Mail that `mailguard probe` sends through the door to see whether all works."""

    key: str = Field(
        "",
        repr=False,
        description="What its mail is marked with, so that it is not billed: 32 characters or more, better a secret "
        "reference; the same at the relay and wherever it is probed from. Empty: no mail counts as the probe's.",
        json_schema_extra={"secret": "whole"},
    )
    server: OptionalPeer = Field(
        "", description="The door to probe.", json_schema_extra={"default": "the first of server.listen"}
    )
    sender: OptionalMailbox = Field(
        "", description="Its sender.", json_schema_extra={"default": "probe@ and the value of outbound.from_domain"}
    )
    local_part: Annotated[str, Field(pattern=r"^[A-Za-z0-9._+-]{1,64}$")] = Field(
        "canary", description="Without `--to` it writes to this mailbox in the client's first domain."
    )
    place: str = Field(
        "",
        max_length=64,
        description="What the place that is probed from is called.",
        json_schema_extra={"default": "this machine's name"},
    )
    imap_password: str = Field(
        "",
        repr=False,
        description="Password of the mailbox that `--imap` looks into; better a secret reference.",
        json_schema_extra={"secret": "whole"},
    )

    @field_validator("key")
    @classmethod
    def _long_enough(cls, key: str) -> str:
        if 0 < len(key) < 32:
            raise ValueError("must have 32 characters or more, such as `openssl rand -hex 32` gives")
        return key
