"""The parsed mail as values: Header, Part, Message. Offsets into the octets that came; everything else is worked out when asked for.

These classes are not slotted: what is worked out lazily is kept in the instance, since every check reads the same Message.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from mailguard.core.lazy import lazy_property
from mailguard.message import transfer
from mailguard.message.charset import decode_text
from mailguard.message.fields import (
    Mailbox,
    Parameterised,
    decode_words,
    parse_mailboxes,
    parse_parameterised,
    unfold,
)
from mailguard.message.normalise import Normalised, normalise
from mailguard.message.pages import PAGE_LIMIT, PAGES_LIMIT, Page, kind_of, page_of
from mailguard.message.text import Link, Rendered, links_of_text, render_html

TEXT_LIMIT = 512 * 1024
"""Octets of one text part that are decoded for rules and links, and of all of them together."""
DECODE_LIMIT = 64 * 1024 * 1024
"""Octets that `Part.decoded` returns at most."""


class Defect(StrEnum):
    """What was wrong with a message's form, as the rules see it (`where: defect`)."""

    NO_HEADERS = "no_headers"
    MISSING_SEPARATOR = "missing_separator"
    """Headers ended at a line that is no header field, not at an empty line."""
    TOO_MANY_HEADERS = "too_many_headers"
    LONG_HEADER = "long_header"
    DUPLICATE_MIME_HEADER = "duplicate_mime_header"
    NUL_OCTET = "nul_octet"
    TOO_MANY_PARTS = "too_many_parts"
    TOO_DEEP = "too_deep"
    NO_BOUNDARY = "no_boundary"
    """A multipart without a boundary parameter."""
    BOUNDARY_NOT_FOUND = "boundary_not_found"
    UNCLOSED_BOUNDARY = "unclosed_boundary"
    UNKNOWN_ENCODING = "unknown_encoding"
    ENCODED_MULTIPART = "encoded_multipart"
    """A multipart or message with base64 or quoted-printable, which RFC 2045 §6.4 forbids."""
    UNKNOWN_CHARSET = "unknown_charset"


class Header(NamedTuple):
    """One header field: its name as written, its value as it came (folded, without the last line end), where it lies."""

    name: str
    value: bytes
    offset: int
    end: int

    @property
    def text(self) -> str:
        """The value unfolded and decoded (RFC 2047)."""
        return decode_words(unfold(self.value))


@dataclass(frozen=True, eq=False)
class Part:
    """One entity of the MIME tree, containers too, in the order of the message.

    `buffer[start:body]` are its headers, `buffer[body:end]` its body. `buffer` is the message, or what an encoded
    message within it decoded to. `parent` is the index of the part around it, -1 for the outermost.
    """

    buffer: bytes
    start: int
    body: int
    end: int
    depth: int
    parent: int
    headers: tuple[Header, ...]
    content: Parameterised
    encoding: str
    container: bool
    """Whether its parts or its message are among the parts."""

    @property
    def content_type(self) -> str:
        """`type/subtype` in lower case, as declared or by default (RFC 2045 §5.2)."""
        return self.content.value

    @property
    def charset(self) -> str:
        """The declared charset in lower case; empty when there is none."""
        return self.content.get("charset").lower()

    @lazy_property
    def _disposition(self) -> Parameterised:
        value = self.header("content-disposition")
        return parse_parameterised(value) if value is not None else Parameterised()

    @property
    def disposition(self) -> str:
        """`attachment`, `inline` or what else was declared, in lower case; empty when there is none."""
        return self._disposition.value

    @lazy_property
    def names(self) -> tuple[str, ...]:
        """Every name a mail program might show for it: all `filename` and `name` parameters, decoded, each once."""
        declared = self._disposition.parameters.get("filename", []) + self.content.parameters.get("name", [])
        return tuple(dict.fromkeys(name for name in map(str.strip, declared) if name))

    @property
    def filename(self) -> str:
        """The likeliest of `names`; empty when there is none."""
        return self.names[0] if self.names else ""

    @property
    def content_id(self) -> str:
        """The Content-ID without its angle brackets; empty when there is none."""
        value = self.header("content-id")
        return unfold(value).strip("<> ") if value is not None else ""

    @property
    def encoded_size(self) -> int:
        """Octets of the body as it came."""
        return self.end - self.body

    @property
    def is_text(self) -> bool:
        """Whether it is text that a reader sees: not a container, not an attachment. A multipart in which no boundary
        was found is shown as text."""
        text = self.content_type.startswith(("text/", "multipart/"))
        return text and not self.container and self.disposition != "attachment"

    @property
    def is_attachment(self) -> bool:
        """Whether it is a file to its reader: named, declared an attachment, or not text."""
        if self.container or self.content_type.startswith("multipart/"):
            return False
        return bool(self.disposition == "attachment" or self.names or not self.content_type.startswith("text/"))

    def header(self, name: str) -> bytes | None:
        """The raw value of the first field of this name (given in lower case)."""
        for header in self.headers:
            if header.name.lower() == name:
                return header.value
        return None

    def chunks(self) -> Iterator[bytes]:
        """The decoded body in pieces, all of it, whatever its size."""
        return transfer.decode_chunks(self.buffer, self.body, self.end, self.encoding)

    def decoded(self, limit: int = DECODE_LIMIT) -> bytes:
        """The decoded body, at most its first `limit` octets. Not kept: ask once, or use `text` for texts."""
        out: list[bytes] = []
        size = 0
        for chunk in self.chunks():
            out.append(chunk)
            size += len(chunk)
            if size >= limit:
                break
        whole = out[0] if len(out) == 1 else b"".join(out)
        return whole[:limit] if size > limit else whole

    @lazy_property
    def text(self) -> str:
        """The decoded body as text, from at most its first TEXT_LIMIT octets."""
        return decode_text(self.decoded(TEXT_LIMIT), self.charset)


@dataclass(frozen=True, eq=False)
class Message:
    """One mail, parsed once. `body` is where its header section ends; `parts[0]` is the message itself."""

    raw: bytes
    headers: tuple[Header, ...]
    body: int
    parts: tuple[Part, ...]
    defects: tuple[Defect, ...]

    @lazy_property
    def _index(self) -> dict[str, list[Header]]:
        index: dict[str, list[Header]] = {}
        for header in self.headers:
            index.setdefault(header.name.lower(), []).append(header)
        return index

    def fields(self, name: str) -> list[Header]:
        """The fields of this name, in order."""
        return self._index.get(name.lower(), [])

    def get(self, name: str) -> str:
        """The first field of this name, unfolded and decoded; empty when there is none."""
        fields = self._index.get(name.lower())
        return fields[0].text if fields else ""

    def get_all(self, name: str) -> tuple[str, ...]:
        """All fields of this name, unfolded and decoded, in order."""
        return tuple(header.text for header in self._index.get(name.lower(), ()))

    def mailboxes(self, name: str) -> list[Mailbox]:
        """The mailboxes in all address fields of this name."""
        return [box for header in self.fields(name) for box in parse_mailboxes(header.value)]

    @lazy_property
    def from_mailboxes(self) -> tuple[Mailbox, ...]:
        """The mailboxes of every From field: more than one field or mailbox is possible, and suspicious."""
        return tuple(self.mailboxes("from"))

    @property
    def from_addresses(self) -> tuple[str, ...]:
        """The addresses of every From field, as written."""
        return tuple(box.address for box in self.from_mailboxes)

    @lazy_property
    def subject(self) -> str:
        """The Subject, decoded; empty when there is none."""
        return self.get("subject")

    @lazy_property
    def message_id(self) -> str:
        """The Message-ID as written, with its angle brackets; empty when there is none."""
        return self.get("message-id")

    @property
    def leaves(self) -> Iterator[Part]:
        """The parts that hold content rather than other parts."""
        return (part for part in self.parts if not part.container)

    @property
    def attachments(self) -> Iterator[Part]:
        """The parts that are files to their reader."""
        return (part for part in self.parts if part.is_attachment)

    @lazy_property
    def pages(self) -> tuple[Page, ...]:
        """Attached files that open as something to read: HTML, SVG, calendar entries, cards; PAGES_LIMIT at most."""
        pages: list[Page] = []
        for part in self.parts:
            if part.is_attachment or part.content_type == "text/calendar":
                kind = kind_of(part.content_type, part.names)
                if kind is not None:
                    pages.append(page_of(part.filename, kind, part.decoded(PAGE_LIMIT), part.charset))
                    if len(pages) >= PAGES_LIMIT:
                        break
        return tuple(pages)

    def _texts(self, *, html: bool) -> str:
        texts: list[str] = []
        room = TEXT_LIMIT
        for part in self.parts:
            if part.is_text and (part.content_type == "text/html") is html:
                texts.append(part.text[:room])
                room -= len(texts[-1])
                if room <= 0:
                    break
        return texts[0] if len(texts) == 1 else "\n".join(texts)

    @lazy_property
    def plain(self) -> str:
        """What its text parts other than HTML say, together, within TEXT_LIMIT characters."""
        return self._texts(html=False)

    @lazy_property
    def html(self) -> str:
        """The source of its HTML parts together, within TEXT_LIMIT characters."""
        return self._texts(html=True)

    @lazy_property
    def rendered(self) -> Rendered:
        """Text and links of its HTML."""
        return render_html(self.html)

    @lazy_property
    def body_text(self) -> str:
        """What a reader may see: the plain texts, then the text of the HTML."""
        return "\n".join(text for text in (self.plain, self.rendered.text) if text)

    @lazy_property
    def shown(self) -> Normalised:
        """What a reader does see: the plain texts, then what HTML shows, without the tricks that keep programs from it."""
        plain = self.plain.replace("\r\n", "\n")
        return normalise("\n".join(text for text in (plain, self.rendered.visible) if text))

    @property
    def visible_text(self) -> str:
        """The text of `shown`."""
        return self.shown.text

    @lazy_property
    def shown_subject(self) -> Normalised:
        """The Subject likewise."""
        return normalise(self.subject)

    @lazy_property
    def shown_from(self) -> Normalised:
        """The From fields likewise, a line each."""
        return normalise("\n".join(self.get_all("from")))

    @lazy_property
    def hidden_text(self) -> str:
        """What HTML hides from its reader, a line each; previews of newsletters among it."""
        return normalise("\n".join(one.text for one in self.rendered.hidden)).text

    @lazy_property
    def links(self) -> tuple[Link, ...]:
        """Links of its HTML and of its plain texts, each URL once."""
        links = {link.url: link for link in links_of_text(self.plain)}
        links.update({link.url: link for link in self.rendered.links})
        return tuple(links.values())

    @lazy_property
    def link_hosts(self) -> tuple[str, ...]:
        """The host names and addresses that it links to, in lower case as A-labels, each once."""
        return tuple(dict.fromkeys(link.host for link in self.links if link.host))
