"""Attachments taken out of a message: a note stands where each was, every other octet stays. Pure.

The result is Edits of the original. Whatever cannot be taken out without breaking what is around it raises CannotStripError.
"""

from __future__ import annotations

import quopri
import re
import unicodedata
from collections.abc import Iterator, Sequence

from mailguard.core.decision import Unwanted
from mailguard.core.edits import Edit, edited
from mailguard.message import transfer
from mailguard.message.attachments import inspect
from mailguard.message.message import Message, Part
from mailguard.message.parse import parse

_SEALED = frozenset({"multipart/signed", "multipart/encrypted"})
"""What any change within breaks (RFC 1847)."""
_SEALED_WHOLE = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})
_MESSAGES = frozenset({"message/rfc822", "message/global", "message/news"})
_NAME_LIMIT = 120
_HIDDEN = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})


class CannotStripError(ValueError):
    """It cannot be done soundly; the text says why, for people."""


def plan(message: Message, unwanted: Sequence[Unwanted], *, message_id: str, ask: str = "") -> tuple[Edit, ...]:
    """The edits that take `unwanted` out of `message`, each replaced by a note that names the file, why it went, and whom to ask.

    Attachments are known by name and content; of those that are alike all go. `message_id` is ours, by which the original is
    found in quarantine. Raises CannotStripError.
    """
    found = list(_found(message, unwanted))
    newline = "\r\n" if b"\r\n" in message.raw[:4096] else "\n"
    edits: list[Edit] = []
    for index, one in found:
        part = message.parts[index]
        _refuse_sealed(message, part)
        edits += _replaced(message, part, _note(part, one, message_id, ask), newline)
    # A file that stands uuencoded in a text that goes as a whole goes with it.
    outer = [edit for edit in edits if not any(_within(edit, other) for other in edits if other is not edit)]
    planned = tuple(sorted(outer, key=lambda edit: edit.start))
    _prove(message, {index for index, _ in found}, planned)
    return planned


def _found(message: Message, unwanted: Sequence[Unwanted]) -> Iterator[tuple[int, Unwanted]]:
    wanted = {(one.name, one.sha256): one for one in unwanted}
    seen: set[tuple[str, str]] = set()
    for index, part in enumerate(message.parts):
        if part.is_attachment:
            facts = inspect(part).attachment
            key = facts.name, facts.sha256
            if key in wanted:
                seen.add(key)
                yield index, wanted[key]
    if missing := wanted.keys() - seen:
        raise CannotStripError(f"{sorted(missing)[0][0] or 'a file'} is no part of the message by itself")


def _refuse_sealed(message: Message, part: Part) -> None:
    if part.buffer is not message.raw:
        raise CannotStripError("it lies in an encoded message within the mail")
    if part.parent < 0 and part.content_type in _SEALED_WHOLE:
        raise CannotStripError("the mail is signed or encrypted as a whole")
    parent = part.parent
    while parent >= 0:
        around = message.parts[parent]
        if around.content_type in _SEALED:
            raise CannotStripError(f"it is part of {around.content_type}, which a change would break")
        parent = around.parent


def _replaced(message: Message, part: Part, note: list[str], newline: str) -> Iterator[Edit]:
    around = message.parts[part.parent] if part.parent >= 0 else None
    if _is_in_text(message, part):  # whose charset may be any
        end = part.end + 3 if part.buffer.startswith(b"end", part.end) else part.end
        plain = [line.encode("ascii", "backslashreplace").decode("ascii") for line in note]
        yield Edit(part.start, end, newline.join(plain))
        return
    fields, body = _entity(note, newline)
    # A line end belongs to the delimiter after it; after an empty part there may be none.
    closed = part.end >= len(part.buffer) or part.buffer[part.end : part.end + 1] in (b"\r", b"\n")
    if around is None or around.content_type in _MESSAGES:
        yield from _of_message(part, fields, body + newline if part.end >= len(part.buffer) or not closed else body)
    else:
        yield Edit(part.start, part.end, f"{fields}{newline}{body}" + ("" if closed else newline))


def _of_message(part: Part, fields: str, body: str) -> Iterator[Edit]:
    """A message that is nothing but the attachment: its fields stay, but for those about its content."""
    newline = "\r\n" if "\r\n" in fields else "\n"
    for header in part.headers:
        if header.name.lower().startswith("content-"):
            yield Edit(header.offset, header.end, "")
    after = part.headers[-1].end if part.headers else part.start
    if part.buffer[after - 1 : after] not in (b"\n", b"") and after > part.start:
        fields = newline + fields
    between = part.buffer[after : part.body]
    if between.strip():  # fields beyond the limit: none of them is looked at
        raise CannotStripError("the mail has too many header fields")
    yield Edit(after, part.end, f"{fields}{newline}{body}")


def _entity(note: Sequence[str], newline: str) -> tuple[str, str]:
    """Fields and body of a note's own part (RFC 2045); without the last line end."""
    text = newline.join(note)
    encoding = "7bit"
    if not text.isascii():
        encoding = "quoted-printable"
        text = quopri.encodestring("\n".join(note).encode("utf-8")).decode("ascii").replace("\n", newline)
    fields = (
        f"Content-Type: text/plain; charset=utf-8{newline}"
        f"Content-Transfer-Encoding: {encoding}{newline}"
        f"Content-Disposition: inline{newline}"
    )
    return fields, text


def _note(part: Part, one: Unwanted, message_id: str, ask: str) -> list[str]:
    size = sum(map(len, part.chunks()))
    return [
        "[An attachment was removed from this message]",
        "",
        f"  File:     {shown(one.name) or '(without a name)'}",
        f"  Type:     {shown(part.content_type)}, {size:,} octets",
        f"  SHA-256:  {one.sha256}",
        f"  Why:      {shown(one.because)}",
        "",
        "The mail filter took it out before it delivered the message. The whole",
        f"message is kept in quarantine. To get it, ask {shown(ask) or 'your mail administrator'}",
        f"and name this id: {message_id}",
        "",
    ]


def shown(text: str) -> str:
    """Hostile text as it may stand in a line: what cannot be seen, or turns the direction of text, becomes `?`."""
    plain = "".join("?" if unicodedata.category(character) in _HIDDEN else character for character in text)
    plain = re.sub(r"\s+", " ", plain)
    return plain if len(plain) <= _NAME_LIMIT else f"{plain[: _NAME_LIMIT - 1]}…"


def _within(inner: Edit, outer: Edit) -> bool:
    return outer.start <= inner.start and inner.end <= outer.end and inner.end > inner.start and inner != outer


def _prove(message: Message, gone: set[int], edits: Sequence[Edit]) -> None:
    """The outcome, parsed anew, is the same tree with just these leaves replaced. Raises CannotStripError when it is not."""
    uuencoded = {index for index in gone if _is_in_text(message, message.parts[index])}
    texts = {message.parts[index].parent for index in uuencoded} - gone
    before = [
        (index, part)
        for index, part in enumerate(message.parts)
        if index not in uuencoded and not (part.parent in gone and _is_in_text(message, part))
    ]
    after = parse(edited(message.raw, edits)).parts
    if len(after) != len(before) or not all(
        _alike(old, new, replaced=index in gone, changed=index in texts)
        for (index, old), new in zip(before, after, strict=True)
    ):
        raise CannotStripError("its form is too broken to take a part out")


def _is_in_text(message: Message, part: Part) -> bool:
    """Whether it stands uuencoded in a text."""
    return part.parent >= 0 and not message.parts[part.parent].container and part.encoding == transfer.UUENCODE


def _alike(old: Part, new: Part, *, replaced: bool, changed: bool) -> bool:
    if (old.depth, old.container) != (new.depth, new.container):
        return False
    if replaced:
        return new.content_type == "text/plain" and new.buffer.startswith(b"[An attachment", new.body)
    if old.content_type != new.content_type:
        return False
    return old.container or changed or old.buffer[old.start : old.end] == new.buffer[new.start : new.end]
