"""What goes out: our header block, then the original without what claims to be ours; and what the Received lines tell of loops."""

from __future__ import annotations

import re
from email.header import Header as EncodedHeader

from mailguard.core.address import normalise
from mailguard.message.parse import header_section_end

RECEIVED_LIMIT = 50
"""Received fields that a mail may carry; with more it is taken to go in a circle (RFC 5321 §6.3)."""
OWN_STAMP_LIMIT = 10
"""Stamps of ours without `for` (there were several recipients) at which it is a loop, whoever the recipient."""

HOPS_WITHIN = 256 * 1024
"""Octets of a header section in which Received fields are looked for: each hop puts its own on top, and 100 have some 50 KiB."""

_VALUE = rb"([^\n]*(?:\n[ \t][^\n]*)*)(?:\n|\Z)"
_CLAIMS = re.compile(
    rb"^(?:X-MailGuard-[!-9;-~]*|(Authentication-Results))[ \t]*:" + _VALUE, re.IGNORECASE | re.MULTILINE
)
_RECEIVED = re.compile(rb"\nreceived[ \t]*:")  # of lower case, since a pattern for both cases takes ten times as long
_RECEIVED_FIELD = re.compile(rb"^received[ \t]*:" + _VALUE, re.MULTILINE)
_SUBJECT = re.compile(rb"^Subject[ \t]*:[ \t]*", re.IGNORECASE | re.MULTILINE)
_SPACE = re.compile(rb"[ \t\r\n]*")
_ID = re.compile(rb'"((?:[^"\\]|\\.)*)"|([^\s;()"/]+)', re.DOTALL)
_COMMENT_MARK = re.compile(rb"\\.|[()]", re.DOTALL)
_COMMENT = re.compile(rb"\([^()]*\)")
_BY = re.compile(rb"(?:^|\s)by\s+([^\s;]+)", re.IGNORECASE)
_FOR = re.compile(rb"(?:^|\s)for\s+<?([^\s;<>]+)>?", re.IGNORECASE)


def outgoing(raw: bytes, block: bytes, *, authserv_id: str, subject_tag: str = "") -> list[bytes]:
    """`block` on top of `raw`, in pieces to be sent one after the other.

    Out of `raw` go X-MailGuard-* fields and Authentication-Results that bear our `authserv_id` (RFC 8601 §5), up to the
    first empty line; every other octet stays, so that DKIM still verifies. `subject_tag` is put before the Subject, which
    breaks DKIM.
    """
    end = header_section_end(raw)
    pieces = [block]
    if raw[:1] in (b" ", b"\t"):
        # It has no header; its first line would continue the last field of ours, our Authentication-Results perhaps.
        pieces.append(b"\r\n")
        end = 0
    edits = [(start, stop, b"") for start, stop in _forged(raw, end, authserv_id)]
    if subject_tag and end:
        tag = _tag(subject_tag)
        subject = _SUBJECT.search(raw, 0, end)
        if subject is None:
            pieces.append(b"Subject: " + tag.rstrip() + b"\r\n")
        elif not raw.startswith(tag, subject.end()):
            edits.append((subject.end(), subject.end(), tag))
    at = 0
    for start, stop, instead in sorted(edits):
        pieces += (raw[at:start], instead)
        at = stop
    pieces.append(raw[at:] if at else raw)
    return [piece for piece in pieces if piece]


def _tag(text: str) -> bytes:
    text = text.strip()
    return (text if text.isascii() else EncodedHeader(text, "utf-8").encode()).encode("ascii", "replace") + b" "


def _forged(raw: bytes, end: int, authserv_id: str) -> list[tuple[int, int]]:
    """Where fields lie, in the header section that ends at `end`, that only we may write."""
    lower = raw[:end].lower()
    if b"x-mailguard-" not in lower and b"authentication-results" not in lower:
        return []
    own = authserv_id.lower().encode()
    return [
        match.span()
        for match in _CLAIMS.finditer(raw, 0, end)
        if match[1] is None or authserv_id_of(match[2]).lower() == own
    ]


def authserv_id_of(value: bytes) -> bytes:
    """The authserv-id of an Authentication-Results field's value (RFC 8601 §2.2); empty when there is none."""
    at = 0
    while True:
        space = _SPACE.match(value, at)
        at = space.end() if space else at
        if value[at : at + 1] != b"(":
            break
        depth = 0
        for mark in _COMMENT_MARK.finditer(value, at):
            depth += {b"(": 1, b")": -1}.get(mark[0], 0)
            if not depth:
                at = mark.end()
                break
        else:
            return b""
    match = _ID.match(value, at)
    if match is None:
        return b""
    return match[2] if match[1] is None else re.sub(rb"\\(.)", rb"\1", match[1])


def count_received(raw: bytes) -> int:
    """How many Received fields it carries, in its first HOPS_WITHIN octets."""
    return len(_RECEIVED.findall(b"\n" + _hops(raw)))


def own_stamp(raw: bytes, hostname: str, recipient: str) -> bool:
    """Whether it has been here before on its way to `recipient`: a Received field by `hostname` for that address.

    A stamp of a mail with several recipients names none; OWN_STAMP_LIMIT of them are a loop too.
    """
    own, wanted = hostname.lower().encode(), normalise(recipient)
    section = _hops(raw)
    if own not in section:  # as in most mail
        return False
    nameless = 0
    for field in _RECEIVED_FIELD.finditer(section):
        value = _COMMENT.sub(b" ", field[1])
        by = _BY.search(value)
        if by is None or by[1] != own:
            continue
        stamped = _FOR.search(value)
        if stamped is None:
            nameless += 1
        elif normalise(stamped[1].decode("utf-8", "replace")) == wanted:
            return True
    return nameless >= OWN_STAMP_LIMIT


def _hops(raw: bytes) -> bytes:
    """Where Received fields are looked for, in lower case."""
    return raw[: min(header_section_end(raw), HOPS_WITHIN)].lower()
