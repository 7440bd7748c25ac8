"""What a file is, by its content, its name and its declared type: the MIME types that openers are chosen by."""

from __future__ import annotations

from mailguard.message.attachments import HEAD, type_of


def kind_of(raw: bytes, name: str = "", declared: str = "") -> str:
    """The MIME type of a file: by its first octets, and where these say nothing, by how it looks."""
    return type_of(raw[:HEAD] if not raw.startswith(b"CD001", 32769) else raw)
