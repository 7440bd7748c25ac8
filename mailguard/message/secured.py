"""Whether a mail is signed or encrypted from its sender to its reader: S/MIME (RFC 8551) and OpenPGP (RFC 3156). By its form alone."""

from __future__ import annotations

from collections.abc import Iterator

from mailguard.message.message import Message, Part

_HEAD = 4_096
_ENVELOPED = ("enveloped-data", "authenveloped-data", "authenvelopeddata")


def secured(message: Message) -> Iterator[tuple[str, str]]:
    """(symbol, evidence): SIGNED_SMIME, SIGNED_PGP, ENCRYPTED_SMIME, ENCRYPTED_PGP, each once."""
    told: set[str] = set()
    for part in message.parts:
        symbol = _of_part(part)
        if symbol and symbol not in told:
            told.add(symbol)
            yield symbol, part.content_type


def _of_part(part: Part) -> str:
    kind = part.content_type
    protocol = part.content.get("protocol").lower()
    if kind == "multipart/signed":
        return "SIGNED_PGP" if "pgp" in protocol else "SIGNED_SMIME" if "pkcs7" in protocol else ""
    if kind == "multipart/encrypted":
        return "ENCRYPTED_PGP" if "pgp" in protocol else ""
    if kind in ("application/pkcs7-mime", "application/x-pkcs7-mime"):
        form = part.content.get("smime-type").lower()
        return "ENCRYPTED_SMIME" if form in _ENVELOPED else "SIGNED_SMIME" if form == "signed-data" else ""
    if kind == "text/plain" and part.is_text:
        start = part.buffer[part.body : min(part.end, part.body + _HEAD)]
        if b"-----BEGIN PGP MESSAGE-----" in start:
            return "ENCRYPTED_PGP"
        if b"-----BEGIN PGP SIGNED MESSAGE-----" in start:
            return "SIGNED_PGP"
    return ""
