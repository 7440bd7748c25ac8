"""The section of the settings that is about what people teach."""

from __future__ import annotations

from pydantic import Field, ValidationInfo, field_validator

from mailguard.config.section import Section
from mailguard.config.values import OptionalMailbox


class LearningSection(Section):
    """What tenants' people teach of single mails (docs/learning.md)."""

    enabled: bool = Field(True, description="Count in each mail's score what its tenant taught of mail like it.")
    spam_address: OptionalMailbox = Field(
        "",
        description="Address in a domain of the provider's own to which users of all tenants forward spam that they got, as "
        "attachments. Its mail goes no further. Tenants may have one of their own.",
    )
    ham_address: OptionalMailbox = Field(
        "", description="The same for mail that was marked as spam, and is none.", validate_default=True
    )

    @field_validator("ham_address")
    @classmethod
    def _another(cls, address: str, info: ValidationInfo) -> str:
        if address and address.lower() == info.data.get("spam_address", "").lower():
            raise ValueError("must be another address than learning.spam_address")
        return address
