"""The header fields we put on top of a mail. What goes out with them, and what is taken out for them, is in `stamps`.

Values from outside are sanitised here: no CR, LF, NUL, no other control, nothing but ASCII outside SMTPUTF8 mail.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

import idna

from mailguard.core.address import is_mailbox
from mailguard.core.envelope import Session
from mailguard.core.verdict import AuthResult, ScoredSymbol
from mailguard.message.stamps import count_received, outgoing, own_stamp

__all__ = ["authentication_results", "count_received", "mailguard_headers", "outgoing", "own_stamp", "received"]

LINE_LIMIT = 78
"""Octets of a line after which a field is folded (RFC 5322 §2.1.1)."""
VALUE_LIMIT = 320
"""Characters of one foreign value that are kept."""

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_DOMAIN = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.\-]{0,251}[A-Za-z0-9_])?\.?")
_LITERAL = re.compile(r"\[[A-Za-z0-9.:]{2,60}\]")
_COMMENT_UNSAFE = re.compile(r"[()\\]")
_TOKEN = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+")
_DOT_ATOM_ADDRESS = re.compile(r"(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\-]+)?@[A-Za-z0-9_.\-]+")
_PROPERTY = re.compile(r"[a-z]+\.[a-z0-9\-]+")


def received(
    session: Session,
    *,
    hostname: str,
    message_id: str,
    at_ms: int,
    recipient: str | None = None,
    smtputf8: bool = False,
) -> bytes:
    """Our trace field (RFC 5321 §4.4). `recipient` only when there is one alone: `for` must not tell one of another.

    `with` is of RFC 3848, or RFC 6531 §3.7.3 for SMTPUTF8; the TLS cipher stands in a `tls` clause (RFC 8314 §7.4) when it
    has its registered name, else in a comment.
    """
    literal = _address_literal(session)
    helo = session.helo.strip()
    if _DOMAIN.fullmatch(helo) or (_LITERAL.fullmatch(helo) and helo.lower() != literal.lower()):
        from_clause = f"from {helo} ({literal})"
    elif helo and helo.lower() != literal.lower():
        from_clause = f"from {literal} (helo={_comment(helo)[:100]})"
    else:
        from_clause = f"from {literal}"
    protocol = session.protocol
    if smtputf8:
        protocol = protocol.replace("ESMTP", "UTF8SMTP")
    by_clause = f"by {hostname} with {protocol} id {message_id}"
    pieces = [f"Received: {from_clause}", by_clause]
    if recipient is not None and is_mailbox(recipient) and (smtputf8 or recipient.isascii()):
        pieces.append(f"for <{recipient}>")
    if session.tls:
        version, _, cipher = session.tls.partition(" ")
        registered = cipher.startswith("TLS_") and _TOKEN.fullmatch(cipher)
        pieces.append(f"tls {cipher}" if registered else f"({_comment(f'{version} {cipher}'.strip())})")
    folded = "\r\n\t".join(pieces) + f";\r\n\t{_date(at_ms // 1000)}\r\n"
    return folded.encode("utf-8" if smtputf8 else "ascii", "replace")


@lru_cache(maxsize=4)
def _date(seconds: int) -> str:
    """A time as of RFC 5322 §3.3; the mails of one second share it."""
    return format_datetime(datetime.fromtimestamp(seconds, UTC))


def _address_literal(session: Session) -> str:
    address = session.address
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"


def _comment(text: str) -> str:
    """`text` as it may stand in a comment."""
    return _COMMENT_UNSAFE.sub("?", _ascii(text))


def _ascii(text: str) -> str:
    """One line of printable ASCII: what is none becomes `?`."""
    text = text[:VALUE_LIMIT]
    if not (text.isascii() and text.isprintable()):
        text = _UNSAFE.sub(" ", text).encode("ascii", "replace").decode("ascii")
    return text.strip()


def authentication_results(authserv_id: str, auth: Sequence[AuthResult]) -> bytes:
    """One Authentication-Results field (RFC 8601 §2.2), a line for each result; `none` when there is no result."""
    if not auth:
        return f"Authentication-Results: {authserv_id}; none\r\n".encode("ascii", "replace")
    lines = []
    for result in auth:
        clause = f"{result.method}={result.outcome}"
        reason = _comment(result.reason)[:200].strip()
        pieces = [clause, f"({reason})"] if reason else [clause]
        pieces += [
            f"{name}={_pvalue(value)}" for name, value in result.properties if value and _PROPERTY.fullmatch(name)
        ]
        lines.append(_fold(pieces))
    body = ";\r\n\t".join(lines)
    return f"Authentication-Results: {authserv_id};\r\n\t{body}\r\n".encode("ascii", "replace")


def _fold(pieces: Sequence[str], separator: str = " ") -> str:
    """Pieces on lines of at most LINE_LIMIT octets where possible, the first continuing whatever went before."""
    lines = [""]
    for piece in pieces:
        joined = f"{lines[-1]}{separator}{piece}" if lines[-1] else piece
        if lines[-1] and len(joined) > LINE_LIMIT - 8:
            lines[-1] += separator.rstrip()
            lines.append(piece)
        else:
            lines[-1] = joined
    return "\r\n\t".join(lines)


def _pvalue(value: str) -> str:
    """A `pvalue` (RFC 8601 §2.2): a domain or address as it is, anything else as a quoted string."""
    local, at, domain = value[:VALUE_LIMIT].rpartition("@")
    if not domain.isascii():
        with contextlib.suppress(idna.IDNAError, UnicodeError, ValueError, IndexError):
            domain = idna.encode(domain, uts46=True).decode("ascii")
    plain = _ascii(f"{local}{at}{domain}")
    if _TOKEN.fullmatch(plain) or _DOT_ATOM_ADDRESS.fullmatch(plain):
        return plain
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def mailguard_headers(
    message_id: str,
    verdict: str | None = None,
    score: float = 0.0,
    symbols: Sequence[ScoredSymbol] = (),
    stripped: Sequence[str] = (),
) -> bytes:
    """X-MailGuard-Id, -Stripped (names of files) and, unless `verdict` is None, -Verdict (a word), -Score and -Symbols."""
    lines = [f"X-MailGuard-Id: {message_id}"]
    if stripped:
        names = [_pvalue(name[:100] or "(without a name)") for name in stripped[:20]]
        lines.append("X-MailGuard-Stripped:\r\n\t" + _fold(names, ", "))
    if verdict is not None:
        lines.append(f"X-MailGuard-Verdict: {_ascii(verdict)}")
        lines.append(f"X-MailGuard-Score: {score:.2f}")
        if symbols:
            pieces = [f"{_ascii(symbol.name)}({symbol.points:.2f})" for symbol in symbols]
            lines.append("X-MailGuard-Symbols:\r\n\t" + _fold(pieces, ", "))
    return ("\r\n".join(lines) + "\r\n").encode("ascii", "replace")
