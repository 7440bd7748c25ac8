"""Octets to a Message in one walk: linear time, flat memory, never an error whatever was sent.

The walk keeps a stack of the multiparts it is in and looks at each line that begins with `--` once (RFC 2046 §5.1.1). Where
a message can be read in two ways it is read as Postfix and the standard library do, and the defect is named.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mailguard.message import transfer
from mailguard.message.charset import is_known
from mailguard.message.fields import VALUE_LIMIT, Parameterised, parse_parameterised, unfold
from mailguard.message.message import Defect, Header, Message, Part

__all__ = ["Defect", "Header", "Limits", "Message", "Part", "header_section_end", "parse"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the walk, far above what honest mail needs. What lies beyond is not looked into, and the defect says so."""

    parts: int = 1_000
    depth: int = 64
    """Multiparts and messages within each other."""
    headers: int = 2_000
    """Fields of the message, and of each part."""
    boundary: int = 512
    """Octets of a boundary; RFC 2046 §5.1.1 allows 70."""
    dashed_lines: int = 500_000
    """Lines that begin with `--` and are no delimiter."""
    decoded: int = 16 * 1024 * 1024
    """Octets, in all, of messages within that had to be decoded first although they may not be encoded."""


DEFAULT_LIMITS = Limits()

_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)\n?")
_MBOX_LINE = re.compile(rb">?From [^\n]*\n")
_EMPTY_LINE = re.compile(rb"\r?\n")
_HEADERS_END = re.compile(rb"\n\r?\n")
_UU_BEGIN = re.compile(rb"(?<=\n)begin [0-7]{3,4} ([^\r\n]{1,255})\r?\n")
_MESSAGES = frozenset({"message/rfc822", "message/global", "message/news"})
_LONG_HEADER = 100 * 1024
_UU_LIMIT = 100


def parse(raw: bytes, *, limits: Limits = DEFAULT_LIMITS) -> Message:
    """The Message that these octets are. Lines may end in CRLF or LF."""
    walk = _Walk(limits)
    walk.buffer(raw, depth=0, parent=-1)
    walk.encoded_messages()
    walk.uuencoded_files()
    walk.content_defects()
    parts = tuple(entity.part() for entity in walk.entities)
    if not parts[0].headers:
        walk.defects[Defect.NO_HEADERS] = None
    return Message(raw, parts[0].headers, parts[0].body, parts, tuple(walk.defects))


def header_section_end(raw: bytes) -> int:
    """The offset of the empty line that ends the header section, or the length when there is none."""
    if _EMPTY_LINE.match(raw):
        return 0
    end = raw.find(b"\n\r\n")
    bare = raw.find(b"\n\n", 0, end if end >= 0 else len(raw))
    end = bare if bare >= 0 else end
    return end + 1 if end >= 0 else len(raw)


@dataclass(slots=True, eq=False)
class _Entity:
    """A Part in the making: the walk learns its end last."""

    buffer: bytes
    start: int
    body: int
    end: int
    depth: int
    parent: int
    headers: tuple[Header, ...]
    content: Parameterised
    encoding: str
    container: bool = False
    children: int = 0

    def part(self) -> Part:
        return Part(
            self.buffer,
            self.start,
            self.body,
            self.end,
            self.depth,
            self.parent,
            self.headers,
            self.content,
            self.encoding,
            self.container,
        )


@dataclass(slots=True, eq=False)
class _Multipart:
    """A multipart that the walk is in. `hidden` is an outer one with the same boundary."""

    index: int
    entity: _Entity
    boundary: bytes
    hidden: _Multipart | None


@dataclass(frozen=True, slots=True)
class _Delimiter:
    """A line that is a boundary of a multipart the walk is in."""

    multipart: _Multipart
    start: int
    after: int
    closing: bool


@dataclass(slots=True)
class _Walk:
    """The state of one parse."""

    limits: Limits
    entities: list[_Entity] = field(default_factory=list)
    defects: dict[Defect, None] = field(default_factory=dict)
    open: dict[bytes, _Multipart] = field(default_factory=dict)
    path: list[_Entity] = field(default_factory=list)
    """The entities around the place where the walk is."""
    dashed_lines: int = 0

    def buffer(self, raw: bytes, *, depth: int, parent: int) -> None:
        """Walk the message, or what an encoded message within it decoded to."""
        self.open, self.path = {}, []
        multiparts: list[_Multipart] = []
        at = 0
        while True:
            index = len(self.entities)
            entity = self._entity(raw, at, depth=depth, parent=parent)
            if entity.content.value in _MESSAGES and entity.container:
                if index + 1 < self.limits.parts:
                    at, depth, parent = entity.body, entity.depth + 1, index
                    continue
            elif entity.container:
                self._enter(raw, index, entity, multiparts)
            delimiter = self._next_part(raw, entity.body, multiparts)
            if delimiter is None or len(self.entities) >= self.limits.parts:
                break
            at = delimiter.after
            parent = delimiter.multipart.index
            depth = delimiter.multipart.entity.depth + 1
        if delimiter is not None:
            self.defects[Defect.TOO_MANY_PARTS] = None
        elif multiparts:
            self.defects[Defect.UNCLOSED_BOUNDARY] = None

    def _entity(self, raw: bytes, at: int, *, depth: int, parent: int) -> _Entity:
        """Read the header of one entity and note it. Its end is the buffer's until a delimiter comes."""
        outermost = parent < 0 or self.entities[parent].content.value in _MESSAGES
        headers, body = self._headers(raw, at, first=outermost)
        content, encoding = self._mime(headers, parent)
        entity = _Entity(raw, at, body, len(raw), depth, parent, headers, content, encoding)
        kind = content.value
        if kind.startswith("multipart/") or kind in _MESSAGES:
            entity.container = depth < self.limits.depth
            if not entity.container:
                self.defects[Defect.TOO_DEEP] = None
            if encoding != transfer.IDENTITY:
                self.defects[Defect.ENCODED_MULTIPART] = None
                entity.container = entity.container and kind not in _MESSAGES
        if parent >= 0:
            self.entities[parent].children += 1
        self.entities.append(entity)
        self.path.append(entity)
        return entity

    def _headers(self, raw: bytes, at: int, *, first: bool) -> tuple[tuple[Header, ...], int]:
        """The header fields that begin at an offset, and where the body begins."""
        headers: list[Header] = []
        if first and (mbox := _MBOX_LINE.match(raw, at)):
            at = mbox.end()
        while match := _FIELD.match(raw, at):
            if self.open and raw.startswith(b"--", at) and self._delimiter(raw, at):
                return tuple(headers), at
            start, end = match.span(2)
            if end - start > _LONG_HEADER:
                self.defects[Defect.LONG_HEADER] = None
            value = raw[start : min(end, start + VALUE_LIMIT)]
            headers.append(Header(match[1].decode("ascii"), value.removesuffix(b"\r"), at, match.end()))
            at = match.end()
            if len(headers) >= self.limits.headers and not _EMPTY_LINE.match(raw, at):
                self.defects[Defect.TOO_MANY_HEADERS] = None
                rest = _HEADERS_END.search(raw, at - 1)
                return tuple(headers), rest.end() if rest else len(raw)
        empty = _EMPTY_LINE.match(raw, at)
        if empty:
            return tuple(headers), empty.end()
        if at < len(raw):
            self.defects[Defect.MISSING_SEPARATOR] = None
        return tuple(headers), at

    def _mime(self, headers: tuple[Header, ...], parent: int) -> tuple[Parameterised, str]:
        """Type and encoding, by the first field of each kind."""
        content_field: bytes | None = None
        encoding_field: bytes | None = None
        for header in headers:
            name = header.name
            if len(name) not in (12, 25):  # Content-Type and Content-Transfer-Encoding: most fields are neither
                continue
            name = name.lower()
            if name == "content-type":
                if content_field is not None:
                    self.defects[Defect.DUPLICATE_MIME_HEADER] = None
                else:
                    content_field = header.value
            elif name == "content-transfer-encoding":
                if encoding_field is not None:
                    self.defects[Defect.DUPLICATE_MIME_HEADER] = None
                else:
                    encoding_field = header.value
        content = parse_parameterised(content_field) if content_field is not None else Parameterised()
        if content.value.count("/") != 1:
            in_digest = parent >= 0 and self.entities[parent].content.value == "multipart/digest"
            default = "message/rfc822" if in_digest and content_field is None else "text/plain"
            content = Parameterised(default, content.parameters)
        encoding = transfer.canonical(unfold(encoding_field)) if encoding_field is not None else transfer.IDENTITY
        if encoding is None:
            self.defects[Defect.UNKNOWN_ENCODING] = None
            encoding = transfer.IDENTITY
        return content, encoding

    def _enter(self, raw: bytes, index: int, entity: _Entity, multiparts: list[_Multipart]) -> None:
        """Begin to look for the boundary of a multipart; without a usable one, its first line with `--` is taken for it."""
        boundary = entity.content.get("boundary").encode("utf-8", "replace").rstrip()
        if not boundary or len(boundary) > self.limits.boundary:
            self.defects[Defect.NO_BOUNDARY] = None
            boundary = self._guess(raw, entity.body)
            if not boundary:
                return
        multipart = _Multipart(index, entity, boundary, self.open.get(boundary))
        self.open[boundary] = multipart
        multiparts.append(multipart)

    def _guess(self, raw: bytes, body: int) -> bytes:
        start = body if raw.startswith(b"--", body) else raw.find(b"\n--", body) + 1
        if start < body or self._delimiter(raw, start):
            return b""
        end = raw.find(b"\n", start, start + self.limits.boundary)
        return raw[start + 2 : end].rstrip() if end >= 0 else b""

    def _delimiter(self, raw: bytes, at: int) -> _Delimiter | None:
        """The line at an offset, which begins with `--`, as a delimiter of a multipart we are in."""
        reach = at + self.limits.boundary + 80  # white space may follow the boundary
        newline = raw.find(b"\n", at, reach)
        if newline < 0 and len(raw) > reach:
            return None
        end = newline if newline >= 0 else len(raw)
        line = raw[at + 2 : end].rstrip(b" \t\r")
        multipart, closing = self.open.get(line), False
        if multipart is None and line.endswith(b"--"):
            multipart, closing = self.open.get(line[:-2]), True
        return _Delimiter(multipart, at, min(end + 1, len(raw)), closing) if multipart else None

    def _next_part(self, raw: bytes, at: int, multiparts: list[_Multipart]) -> _Delimiter | None:
        """Go on from an offset to the delimiter that begins the next part, and end what ends on the way."""
        at -= at > 0  # the line end before counts as the delimiter's
        while multiparts:
            newline = raw.find(b"\n--", at)
            if newline < 0:
                return None
            delimiter = self._delimiter(raw, newline + 1)
            if delimiter is None:
                at = newline + 3
                self.dashed_lines += 1
                if self.dashed_lines > self.limits.dashed_lines:
                    self.defects[Defect.TOO_MANY_PARTS] = None
                    return None
                continue
            end = newline - (newline > 0 and raw[newline - 1] == 13)
            while self.path[-1] is not delimiter.multipart.entity:
                entity = self.path.pop()
                entity.end = max(entity.body, end)
            while multiparts[-1] is not delimiter.multipart:
                self._leave(multiparts.pop())
                self.defects[Defect.UNCLOSED_BOUNDARY] = None
            if not delimiter.closing:
                return delimiter
            self._leave(multiparts.pop())
            at = max(delimiter.after - 1, newline + 3)
        return None

    def _leave(self, multipart: _Multipart) -> None:
        if multipart.hidden:
            self.open[multipart.boundary] = multipart.hidden
        else:
            del self.open[multipart.boundary]

    def encoded_messages(self) -> None:
        """Walk the messages that stand encoded within others (RFC 2045 §6.4 forbids it; some mail programs open them)."""
        room = self.limits.decoded
        index = 0
        while index < len(self.entities):
            entity = self.entities[index]
            if (
                entity.content.value in _MESSAGES
                and entity.encoding != transfer.IDENTITY
                and entity.depth < self.limits.depth
            ):
                inner = entity.part().decoded(room)
                room -= len(inner)
                if not inner or room <= 0 or len(self.entities) >= self.limits.parts:
                    break
                entity.container = True
                self.buffer(inner, depth=entity.depth + 1, parent=index)
            index += 1

    def uuencoded_files(self) -> None:
        """Note files that stand uuencoded in texts, as parts of the text's part."""
        for index, entity in enumerate(self.entities[:]):
            text = not entity.container and entity.content.value.startswith("text/")
            if not text or entity.encoding != transfer.IDENTITY:
                continue
            at = max(entity.body - 1, 0)
            for _ in range(_UU_LIMIT):
                newline = entity.buffer.find(b"\nbegin ", at, entity.end)
                if newline < 0 or len(self.entities) >= self.limits.parts:
                    break
                at = newline + 1
                begin = _UU_BEGIN.match(entity.buffer, at)
                if begin is None:
                    continue
                end = entity.buffer.find(b"\nend", begin.end() - 1, entity.end)
                at = end = end + 1 if end >= 0 else entity.end
                name = begin[1].decode("utf-8", "replace").strip()
                content = Parameterised("application/octet-stream", {"name": [name]})
                inner = _Entity(
                    entity.buffer,
                    begin.start(),
                    begin.end(),
                    end,
                    entity.depth + 1,
                    index,
                    (),
                    content,
                    transfer.UUENCODE,
                )
                self.entities.append(inner)

    def content_defects(self) -> None:
        """Note multiparts without parts, which are texts then, and what is odd in texts."""
        for index, entity in enumerate(self.entities):
            kind = entity.content.value
            if entity.container and kind.startswith("multipart/") and not entity.children:
                entity.container = False
                self.defects[Defect.BOUNDARY_NOT_FOUND] = None
            text = not entity.container and kind.startswith(("text/", "multipart/"))
            if text and not is_known(entity.content.get("charset")):
                self.defects[Defect.UNKNOWN_CHARSET] = None
            header_end = entity.body if not index else entity.start
            if entity.buffer.find(b"\0", entity.start, entity.end if text else header_end) >= 0:
                self.defects[Defect.NUL_OCTET] = None
