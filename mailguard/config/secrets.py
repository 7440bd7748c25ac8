"""Secrets by reference: `secret:file:PATH` or `secret:env:NAME`. What stands behind a reference is never logged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

PREFIX = "secret:"
_PASSWORD = re.compile(r"(?P<start>://[^/@:?]*:)[^/?]*(?P<end>@)|(?P<parameter>[?&]password=)[^&]*")


def is_reference(text: str) -> bool:
    """Whether `text` refers to a secret rather than being one."""
    return text.startswith(PREFIX)


def resolve_secret(reference: str, environ: Mapping[str, str]) -> str:
    """What `reference` stands for; one line break at the end of a file is dropped. Text that is no reference is returned.

    Raises ValueError when the file or variable is not there or is empty, with a text that tells no secret.
    """
    if not is_reference(reference):
        return reference
    kind, _, name = reference.removeprefix(PREFIX).partition(":")
    if kind == "env" and name:
        value = environ.get(name, "")
    elif kind == "file" and name:
        try:
            value = Path(name).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as error:
            detail = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise ValueError(f"refers to the file {name}, which cannot be read: {detail}") from None
    else:
        raise ValueError("must be secret:file:PATH or secret:env:NAME")
    if not value:
        raise ValueError(f"refers to the {'file' if kind == 'file' else 'variable'} {name}, which is empty or not set")
    return value


def redact(text: str) -> str:
    """`text` with the password of a URL in it masked, for display."""
    return _PASSWORD.sub(lambda found: f"{found['start'] or found['parameter']}***{found['end'] or ''}", text)
