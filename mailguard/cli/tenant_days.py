"""Days that are set per tenant: how long its mail waits (`--queue-days`), and how long what is personal in it is kept (`--keep-events`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.core.clock import DAY
from mailguard.core.errors import ConfigError, Problem

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.cli.context import Cli

DEFAULT, FOREVER = "default", "forever"

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


def queue_days(text: str) -> float | None:
    """The value of `--queue-days`; None: as for all. Raises ConfigError."""
    from mailguard.store.lifetimes import LEAST_DAYS, MOST_DAYS

    return _days(text, option="--queue-days", least=LEAST_DAYS, most=MOST_DAYS, word=DEFAULT)


def keep_days(text: str) -> float | None:
    """The value of `--keep-events`; None: forever. Raises ConfigError."""
    from mailguard.store.retention import LEAST_DAYS, MOST_DAYS

    return _days(text, option="--keep-events", least=LEAST_DAYS, most=MOST_DAYS, word=FOREVER)


def _days(text: str, *, option: str, least: float, most: float, word: str) -> float | None:
    """A number of days within bounds; None for the word that stands for none."""
    if text.strip().lower() == word:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not least <= value <= most:
        raise ConfigError(
            [Problem(option, f"{text!r} is neither a number of days from {least:g} to {most:g} nor {word!r}")]
        )
    return value


def set_queue_days(conn: Connection, cli: Cli, *, tenant: str, value: float | None) -> None:
    """Set how long mail waits, for what waits already too."""
    from mailguard.store import lifetimes

    default = round(cli.settings.queue.retention_days * DAY)
    lifetimes.set_queue_days(conn, tenant=tenant, days=value, default=default)


def set_keep_days(conn: Connection, *, tenant: str, value: float | None) -> None:
    """Set how long what is personal is kept, for what is there already too."""
    from mailguard.store import retention

    retention.set_keep_days(conn, tenant=tenant, days=value)


def queue_text(value: float | None) -> str:
    """How long mail waits, for people."""
    return "as set for all" if value is None else f"{_shown(value)} at most"


def keep_text(value: float | None) -> str:
    """How long what is personal is kept, for people."""
    return "until they are erased by hand" if value is None else _shown(value)


def _shown(value: float) -> str:
    return f"{value:g} day{'' if value == 1 else 's'}"
