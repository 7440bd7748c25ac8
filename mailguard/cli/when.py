"""Times as admins type and read them: `7d` ago, `2026-11-01`, `2026-11-01T10:00`; all in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from mailguard.core.clock import DAY, HOUR, MINUTE, SECOND, to_datetime
from mailguard.core.errors import ConfigError, Problem

_SPAN = re.compile(r"^(\d{1,6})\s*([smhdw])$")
_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}


def span(text: str, *, option: str) -> int:
    """A length of time such as `30m`, `12h`, `7d` or `2w` in milliseconds. Raises ConfigError."""
    match = _SPAN.match(text.strip().lower())
    if match is None:
        raise ConfigError([Problem(option, f"{text!r} is not a time span such as 30m, 12h, 7d or 2w")])
    return int(match[1]) * _UNITS[match[2]]


def point(text: str, *, option: str, now: int, ahead: bool = False) -> int:
    """A point in time in milliseconds UTC: an ISO date or date and time (UTC unless it says otherwise), or a span.

    A span counts back from now, or on from now when `ahead`. Raises ConfigError.
    """
    if _SPAN.match(text.strip().lower()):
        length = span(text, option=option)
        return now + length if ahead else max(0, now - length)
    try:
        parsed = datetime.fromisoformat(text.strip())
        if parsed.tzinfo is None:
            parsed = parsed.replace(tzinfo=UTC)
        return max(0, int(parsed.timestamp() * 1000))
    except (ValueError, OverflowError):
        raise ConfigError(
            [
                Problem(
                    option, f"{text!r} is neither a date (2026-11-01, 2026-11-01T10:00) nor a span (30m, 12h, 7d, 2w)"
                )
            ]
        ) from None


def shown(milliseconds: int) -> str:
    """A stored time for people: `2026-11-24 04:19:51Z`, empty for 0."""
    return to_datetime(milliseconds).strftime("%Y-%m-%d %H:%M:%SZ") if milliseconds else ""


def shown_span(milliseconds: int) -> str:
    """A length of time for people, to two units: `3d 4h`, `5m 2s`, `40s`."""
    rest = max(0, milliseconds) // SECOND
    parts: list[str] = []
    for name, seconds in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        if rest >= seconds or (name == "s" and not parts):
            parts.append(f"{rest // seconds}{name}")
            rest %= seconds
    return " ".join(parts[:2])
