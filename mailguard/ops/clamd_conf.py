"""clamd's configuration file: whether it says what we rely on. clamd answers OK past its own limits unless it is told not to."""

from __future__ import annotations

import re
from pathlib import Path

from mailguard.core.errors import Problem

_SIZE = re.compile(r"^(\d+)([kKmMgG]?)$")
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}

RELIED_ON = {
    "AlertExceedsMax": "else clamd answers OK for what it did not scan to the end",
    "AlertEncrypted": "else clamd answers OK for encrypted archives, which it cannot look into",
}
"""Switches that must be on, and why."""

SIZES = ("StreamMaxLength", "MaxScanSize", "MaxFileSize")
"""Limits that must not be below the largest message that we take; 0 is no limit."""


def clamd_problems(path: Path, *, size_limit: int) -> list[Problem]:
    """What in a clamd.conf does not fit a relay that takes messages of `size_limit` octets; empty when all is well."""
    try:
        text = path.read_text("utf-8", "replace")
    except OSError as error:
        return [Problem(str(path), f"cannot be read: {error.strerror or error}")]
    settings: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        name, _, value = line.partition("#")[0].strip().partition(" ")
        if name:
            settings[name] = (number, value.strip().strip('"'))
    problems: list[Problem] = []
    for name, why in RELIED_ON.items():
        number, value = settings.get(name, (0, ""))
        if value.lower() not in ("yes", "true", "1"):
            problems.append(_problem(path, number, name, f"{_said(value)}, must be yes: {why}"))
    for name in SIZES:
        number, value = settings.get(name, (0, ""))
        size = _octets(value)
        if size is None or 0 < size < size_limit:
            problems.append(
                _problem(
                    path, number, name, f"{_said(value)}, must be at least server.size_limit ({size_limit} octets)"
                )
            )
    return problems


def _octets(value: str) -> int | None:
    match = _SIZE.match(value)
    return int(match[1]) * _UNITS[match[2].lower()] if match else None


def _said(value: str) -> str:
    return f"is {value!r}" if value else "is not set"


def _problem(path: Path, line: int, name: str, message: str) -> Problem:
    return Problem(f"{path}:{line} {name}" if line else f"{path} {name}", message)
