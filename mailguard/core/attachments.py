"""What the layers agree on about attached files: which findings mean that a file was not looked into to its end."""

from __future__ import annotations

UNINSPECTABLE = frozenset(
    {
        "ARCHIVE_ENCRYPTED",
        "ARCHIVE_UNOPENED",
        "OFFICE_ENCRYPTED",
        "PDF_ENCRYPTED",
        "SANDBOX_CRASH",
        "SANDBOX_LIMIT",
        "UNPACK_BOMB",
        "UNPACK_BROKEN",
        "UNPACK_TOO_DEEP",
        "UNPACK_TOO_LARGE",
        "UNPACK_TOO_MANY",
    }
)
"""Symbols which say that something in an attachment could not be looked into: encrypted and no password fits, over a limit,
broken, of a kind that nobody opens, or its parser crashed. They stand in `Attachment.found` of the file that they are about."""
