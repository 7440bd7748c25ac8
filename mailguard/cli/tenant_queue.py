"""How long a tenant's mail waits in the queue: the option `--queue-days`, and how it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.core.clock import DAY
from mailguard.core.errors import ConfigError, Problem

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.cli.context import Cli

DEFAULT = "default"

QueueDays = Annotated[
    str | None,
    typer.Option(
        "--queue-days",
        metavar="DAYS",
        help="Days that its mail waits for its next hop before it is given up, 0.01 to 30; default: queue.retention_days. "
        "What waits already waits as long, never shorter than before.",
        show_default=False,
    ),
]


def days(text: str) -> float | None:
    """The value of `--queue-days`; None: as for all. Raises ConfigError."""
    from mailguard.store.lifetimes import LEAST_DAYS, MOST_DAYS

    if text.strip().lower() == DEFAULT:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not LEAST_DAYS <= value <= MOST_DAYS:
        raise ConfigError(
            [Problem("--queue-days", f"{text!r} is neither a number of days from 0.01 to 30 nor {DEFAULT!r}")]
        )
    return value


def set_in(conn: Connection, cli: Cli, *, tenant: str, value: float | None) -> None:
    """Set it, for what waits already too."""
    from mailguard.store.lifetimes import set_queue_days

    default = round(cli.settings.queue.retention_days * DAY)
    set_queue_days(conn, tenant=tenant, days=value, default=default)


def days_text(value: float | None) -> str:
    """It for people."""
    return "as set for all" if value is None else f"{value:g} day{'' if value == 1 else 's'} at most"
