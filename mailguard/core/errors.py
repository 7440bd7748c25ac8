"""The exception tree.

MailGuardError
├── ConfigError            a setting, policy or flag is wrong; lists every problem
├── NotFoundError          what was asked for by id or name is not there
├── ConflictError          it is there, but its state or an existing one forbids the change
├── UnavailableError       something of ours is away (database, disk, scanner): nothing was done, try later
│   └── StorageError       namely the disk for bodies: full, broken or not there
└── MailError              about a mail in transit; carries the Reply for the client and a private reason for the log
    ├── TemporaryError     4yz
    └── PermanentError     5yz
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mailguard.core.reply import Reply


class MailGuardError(Exception):
    """The root of all that we raise on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a file, an environment variable or a flag.

    `where` names the key or path and, where known, the line (`default.yaml:12 thresholds.reject`); `message` says what the
    value is and what is allowed.
    """

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class ConfigError(MailGuardError):
    """A setting, policy or flag is wrong. `problems` holds all of them, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class NotFoundError(MailGuardError):
    """What was asked for by id or name is not there. The text says what and how to list what is."""


class ConflictError(MailGuardError):
    """The change is forbidden by what is there already. The text says by what, and what to do."""


class UnavailableError(MailGuardError):
    """Something of ours is away (database down or locked, disk full): nothing was done. At the door this is 451 4.3.0."""


class StorageError(UnavailableError):
    """The disk that keeps bodies is full, broken or not there: nothing of what was to be written is kept."""


class MailError(MailGuardError):
    """About a mail in transit: `reply` is for the client, `reason` for the log only."""

    def __init__(self, reply: Reply, reason: str) -> None:
        self.reply = reply
        self.reason = reason
        super().__init__(f"{reply} ({reason})")


class TemporaryError(MailError):
    """May work later; the reply is 4yz."""


class PermanentError(MailError):
    """Will not work as it is; the reply is 5yz."""
