"""The addresses to which a tenant's users report: the options `--spam-address` and `--ham-address`, and how they are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.core.tenant import Tenant

NONE = "none"

SpamAddress = Annotated[
    str | None,
    typer.Option(
        "--spam-address",
        metavar="ADDRESS",
        help="Address in one of its domains to which its users forward, as attachments, spam that they got: its filter learns "
        "from it, and that mail goes no further. none: there is none.",
        show_default=False,
    ),
]
HamAddress = Annotated[
    str | None,
    typer.Option(
        "--ham-address",
        metavar="ADDRESS",
        help="The same for mail that was marked as spam, and is wanted.",
        show_default=False,
    ),
]


def set_in(conn: Connection, *, tenant: str, spam: str | None, ham: str | None) -> None:
    """Set those that are given."""
    from mailguard.store.feedback_addresses import set_feedback_addresses

    set_feedback_addresses(conn, tenant=tenant, spam=_given(spam), ham=_given(ham))


def feedback_text(tenant: Tenant) -> str:
    """Them for people; empty when there are none."""
    addresses = (("spam", tenant.spam_address), ("ham", tenant.ham_address))
    return ", ".join(f"{what} to {address}" for what, address in addresses if address)


def _given(text: str | None) -> str | None:
    return "" if text is not None and text.strip().lower() == NONE else text and text.strip()
