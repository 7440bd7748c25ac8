"""Which pictures and PDFs of a mail are looked into for codes: few, the likeliest, none that is too large or too small for one."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from mailguard.message import transfer
from mailguard.message.message import Message, Part
from mailguard.message.pages import PageKind
from mailguard.message.pictures import (
    HEAD,
    LEAST,
    OCTETS,
    PDFS,
    PICTURES,
    PIXELS,
    PictureSize,
    can_hold_code,
    code_rank,
    picture_size,
)

CONSIDERED = 200
"""Files of a mail among which the likeliest are chosen."""

_DATA_URI = re.compile(r"data:image/[a-z+.\-]{2,10};base64,([A-Za-z0-9+/=%\s]{90,})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may hold a code: `part`, or `data` that stood in HTML."""

    name: str
    size: PictureSize | None
    """None: a PDF."""
    octets: int
    part: Part | None = None
    data: bytes = b""

    def read(self) -> bytes:
        """Its content."""
        return self.part.decoded(OCTETS) if self.part is not None else self.data

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """See code_rank."""
        return (False, False, 0.0) if self.size is None else code_rank(self.name, self.size, self.octets)


@dataclass(slots=True)
class Choice:
    """What is looked into, what is too large for it, and how much was left out."""

    chosen: list[Candidate] = field(default_factory=list)
    too_large: list[str] = field(default_factory=list)
    left_out: int = 0


def choose(message: Message) -> Choice:
    """The likeliest files of a mail, at most PICTURES and PDFS."""
    choice = Choice()
    pictures: list[Candidate] = []
    pdfs: list[Candidate] = []
    for candidate in _candidates(message):
        size = candidate.size
        if candidate.octets > OCTETS or (size is not None and size.pixels > PIXELS):
            shown = (
                f"{size.width}×{size.height} pixels" if size and size.pixels > PIXELS else f"{candidate.octets} octets"
            )
            choice.too_large.append(f"{candidate.name}: {shown}")
        else:
            (pdfs if size is None else pictures).append(candidate)
    pictures.sort(key=lambda one: one.rank)
    choice.chosen = pictures[:PICTURES] + pdfs[:PDFS]
    choice.left_out = len(pictures) + len(pdfs) - len(choice.chosen)
    return choice


def _candidates(message: Message) -> Iterator[Candidate]:
    count = 0
    for part in message.leaves:
        if part.encoded_size < LEAST or (part.content_type.startswith("text/") and not part.names):
            continue
        candidate = _of_part(part)
        if candidate is not None:
            yield candidate
            count += 1
            if count >= CONSIDERED:
                return
    sources = [message.html] if message.html else []
    sources += [page.source for page in message.pages if page.kind in (PageKind.HTML, PageKind.SVG)]
    for source in sources:
        if "data:image/" in source or "DATA:" in source:
            yield from _in_html(source)


def _of_part(part: Part) -> Candidate | None:
    name = part.filename or part.content_id or part.content_type
    head = _head(part, 32)
    if head.startswith(b"%PDF-") or part.content_type == "application/pdf":
        return Candidate(name, None, _octets(part), part)
    size = picture_size(head)
    if size is None:
        return None
    size = picture_size(_head(part, HEAD)) or size
    return Candidate(name, size, _octets(part), part) if can_hold_code(size) else None


def _head(part: Part, octets: int) -> bytes:
    """At least the first `octets`, when there are as many."""
    end = min(part.end, part.body + 2 * octets + 64)
    return b"".join(transfer.decode_chunks(part.buffer, part.body, end, part.encoding))


def _octets(part: Part) -> int:
    """About as many as it has when decoded."""
    return part.encoded_size * 3 // 4 if part.encoding == transfer.BASE64 else part.encoded_size


def _in_html(source: str) -> Iterator[Candidate]:
    """Pictures that stand in the HTML itself."""
    for number, match in enumerate(_DATA_URI.finditer(source), 1):
        encoded = unquote_to_bytes(match[1]) if "%" in match[1] else match[1].encode("ascii", "ignore")
        try:
            data = transfer.base64_lenient(encoded)
        except binascii.Error:
            continue
        size = picture_size(data[:HEAD])
        if size is not None and can_hold_code(size):
            yield Candidate(f"picture {number} in the HTML", size, len(data), data=data)
        if number >= CONSIDERED:
            return
