"""Settings of what tenants know of those who write to them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mailguard.config.section import Section

Days = Annotated[float, Field(ge=1, le=3650)]


class HistorySection(Section):
    """Whether authors are known to each tenant from earlier mail, and for how long (docs/checks/history.md)."""

    enabled: bool = Field(
        True,
        description="Count in each mail's score whether its author is known to the tenant, or passes for one of its own.",
    )
    days: Days = Field(180, description="Days after an author's last mail, after which a tenant forgets it.")
