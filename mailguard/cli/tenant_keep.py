"""How long what is personal in a tenant's mail is kept: the option `--keep-events`, and how it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.core.errors import ConfigError, Problem

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

FOREVER = "forever"

KeepEvents = Annotated[
    str | None,
    typer.Option(
        "--keep-events",
        metavar="DAYS",
        help="Days after which addresses, subjects and findings of its mail are erased, 1 to 36500; forever: not by itself. "
        "Counts and the bill stay.",
        show_default=False,
    ),
]


def days(text: str) -> float | None:
    """The value of `--keep-events`; None: forever. Raises ConfigError."""
    from mailguard.store.retention import LEAST_DAYS, MOST_DAYS

    if text.strip().lower() == FOREVER:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not LEAST_DAYS <= value <= MOST_DAYS:
        raise ConfigError(
            [Problem("--keep-events", f"{text!r} is neither a number of days from 1 to 36500 nor {FOREVER!r}")]
        )
    return value


def set_in(conn: Connection, *, tenant: str, value: float | None) -> None:
    """Set it, for what is there already too."""
    from mailguard.store.retention import set_keep_days

    set_keep_days(conn, tenant=tenant, days=value)


def keep_text(value: float | None) -> str:
    """It for people."""
    return "until they are erased by hand" if value is None else f"{value:g} day{'' if value == 1 else 's'}"
