"""Values of header fields: unfolding, encoded words (RFC 2047), parameters (RFC 2045 §5.1, RFC 2231) and mailboxes (RFC 5322 §3.4).

Every function takes what a sender wrote and returns the likeliest meaning; none raises, and all take linear time.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from mailguard.message.charset import decode_text
from mailguard.message.transfer import base64_lenient

VALUE_LIMIT = 64 * 1024
"""Octets of a field's value that are read; the rest of a longer one is ignored."""
MAILBOX_LIMIT = 1_000
"""Mailboxes that are read from one field."""
PARAMETER_LIMIT = 200
"""Parameters that are read from one field."""

_FOLD = re.compile(rb"\r?\n(?=[ \t])|[\r\n\0]")
_WORD = re.compile(r"=\?([^?*\s]{1,40})(?:\*[^?\s]{0,40})?\?([bBqQ])\?([^?]*)\?=")
_SEPARATORS = re.compile(r"[;\s]*")
_PARAMETER = re.compile(r'([^\s=;"()<>,]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*)(?:"|\\?\Z)|([^;]*))', re.DOTALL)
_CONTINUED = re.compile(r"^(.+?)(?:\*(\d{1,3}))?(\*)?$", re.DOTALL)
_UNESCAPE = re.compile(r'\\([\\"])')
_QUOTED = r'(?P<quoted>"(?:[^"\\]|\\.)*(?P<open>"|\\?\Z))|(?P<angle><(?:"(?:[^"\\]|\\.)*"|[^<>"])*>?)'
_REST = r"|(?P<mark>[,:;()])|(?P<space>\s+)|(?P<atom>[^\s\"<,:;()]+"
_ADDRESS_TOKEN = re.compile(_QUOTED + _REST + ")", re.DOTALL)
_UNQUOTED_TOKEN = re.compile(r"(?P<angle><[^<>]*>?)" + _REST.replace(r"\"", "") + ")", re.DOTALL)
_COMMENT_MARK = re.compile(r"\\.|[()]", re.DOTALL)
_SOURCE_ROUTE = re.compile(r"^@[^:]*:")


def unfold(raw: bytes) -> str:
    """A raw value as one line of text without outer white space: as UTF-8 (RFC 6532) when it is, else Windows-1252."""
    value = raw[:VALUE_LIMIT]
    if b"\n" in value or b"\r" in value or b"\0" in value:
        value = _FOLD.sub(b"", value)
    return decode_text(value).strip(" \t")


def decode_words(text: str) -> str:
    """`text` with its encoded words decoded (RFC 2047), also where they stand against the rules, as mail programs show them."""
    if "=?" not in text:
        return text
    out: list[str] = []
    pending, charset, at = b"", "", 0
    for match in _WORD.finditer(text):
        between = text[at : match.start()]
        word_charset = match[1].lower()
        adjacent = pending and not between.strip()
        # A character may be split over adjacent words of one charset: join the octets before decoding them.
        if not adjacent or word_charset != charset:
            out.append(decode_text(pending, charset))
            pending = b""
        if not adjacent:
            out.append(between)
        charset = word_charset
        pending += _decode_word(match[2], match[3])
        at = match.end()
    out.append(decode_text(pending, charset))
    out.append(text[at:])
    return "".join(out)


def _decode_word(encoding: str, payload: str) -> bytes:
    data = payload.encode("utf-8", "replace")
    if encoding in "bB":
        return base64_lenient(data)
    return binascii.a2b_qp(data, header=True)


@dataclass(frozen=True, slots=True)
class Parameterised:
    """A value with parameters, such as of Content-Type: `value` in lower case, all values of each name in their order."""

    value: str = ""
    parameters: dict[str, list[str]] = field(default_factory=dict)

    def get(self, name: str) -> str:
        """The first value of a parameter, empty when there is none. RFC 2231 forms come first."""
        values = self.parameters.get(name)
        return values[0] if values else ""


def parse_parameterised(raw: bytes) -> Parameterised:
    """`value; name=value; …`, with RFC 2231 continuations and charsets, and encoded words where they should not be."""
    text = unfold(raw)
    head, semicolon, rest = text.partition(";")
    value = head.partition("(")[0].strip(" \t\"'").lower()
    if not semicolon:
        return Parameterised(value)
    plain: dict[str, list[str]] = {}
    extended: dict[str, dict[int, tuple[str, bool]]] = {}
    for name, content in _parameters(rest):
        match = _CONTINUED.match(name)
        if "*" in name and match and (match[2] or match[3]):
            extended.setdefault(match[1], {}).setdefault(int(match[2] or 0), (content, bool(match[3])))
        else:
            plain.setdefault(name, []).append(decode_words(content))
    for name, pieces in extended.items():
        plain.setdefault(name, []).insert(0, _join_pieces(pieces))
    return Parameterised(value, plain)


def _parameters(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    for _ in range(PARAMETER_LIMIT):
        separators = _SEPARATORS.match(text, at)
        at = separators.end() if separators else at
        match = _PARAMETER.match(text, at)
        if match:
            quoted = match[2]
            yield match[1].lower(), _UNESCAPE.sub(r"\1", quoted) if quoted is not None else match[3].strip(" \t'")
            at = match.end()
        semicolon = text.find(";", at)
        if semicolon < 0:
            return
        at = semicolon + 1


def _join_pieces(pieces: dict[int, tuple[str, bool]]) -> str:
    """RFC 2231 §4.1: the charset stands in the first piece alone; pieces without `*` are literal."""
    charset, joined = "", b""
    for i, number in enumerate(sorted(pieces)):
        content, encoded = pieces[number]
        if encoded and i == 0 and content.count("'") >= 2:
            charset, _, content = content.split("'", 2)
        octets = content.encode("utf-8", "replace")
        joined += unquote_to_bytes(octets) if encoded else octets
    return decode_words(decode_text(joined, charset))


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One mailbox of an address field: the display name, decoded, and the address as written (perhaps no address at all)."""

    name: str
    address: str


def parse_mailboxes(raw: bytes) -> list[Mailbox]:
    """The mailboxes of From, To and the like; groups are flattened, comments dropped. Those without an `@` are left out."""
    boxes: list[Mailbox] = []
    for name, address in _mailboxes(unfold(raw)):
        if "@" in address:
            boxes.append(Mailbox(decode_words(name).strip(), address))
            if len(boxes) >= MAILBOX_LIMIT:
                break
    return boxes


def _mailboxes(text: str) -> Iterator[tuple[str, str]]:
    """(display name, address) in order. Encoded words are decoded after this, so that none can smuggle in an address."""
    words: list[str] = []
    angle: str | None = None
    at = 0
    tokens = _ADDRESS_TOKEN
    while match := tokens.match(text, at):
        if match.lastgroup == "quoted" and match["open"] != '"':
            tokens = _UNQUOTED_TOKEN  # a quote that is never closed: from here on it means nothing
            continue
        at = match.end()
        kind, token = match.lastgroup, match[0]
        if kind == "angle":
            if angle is not None:  # `<a@b> <c@d>`: two, however they are separated
                yield _display(words), angle
                words = []
            angle = _SOURCE_ROUTE.sub("", token[1:].removesuffix(">").strip())
        elif token == "(":
            at = _after_comment(text, at)
        elif token == ":" and angle is None:
            words = []  # the name of a group
        elif kind == "mark" and token in ",;":
            yield _finish(words, angle)
            words, angle = [], None
        elif kind != "mark":
            words.append(token)
    yield _finish(words, angle)


def _finish(words: list[str], angle: str | None) -> tuple[str, str]:
    if angle is not None:
        return _display(words), angle
    written = "".join(words).strip()
    if " " not in written or written.startswith('"'):
        return "", written
    parts = written.split()
    if "@" in parts:  # `joe @ example.com` (obsolete, RFC 5322 §4.4)
        return "", "".join(parts)
    with_at = [part for part in parts if "@" in part]
    return ("", with_at[-1]) if with_at else ("", "")


def _display(words: list[str]) -> str:
    return "".join(_UNESCAPE.sub(r"\1", w[1:].removesuffix('"')) if w.startswith('"') else w for w in words).strip()


def _after_comment(text: str, at: int) -> int:
    """The offset after a comment whose opening parenthesis ends at `at`; the end of the text when it is not closed."""
    depth = 1
    for match in _COMMENT_MARK.finditer(text, at):
        if match[0] == "(":
            depth += 1
        elif match[0] == ")":
            depth -= 1
            if not depth:
                return match.end()
    return len(text)
