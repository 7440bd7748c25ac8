"""Copies of delivered mail as recipients have them: which of our mails one is of, and the mail as it came in. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailguard.core.ids import is_message_id
from mailguard.message.parse import header_section_end, parse

_OURS = re.compile(rb"^X-MailGuard-Id[ \t]*:[ \t]*([0-9A-Z]{26})[ \t]*\r?$", re.MULTILINE | re.IGNORECASE)
_BLOCK = re.compile(rb"X-MailGuard-[!-9;-~]*[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of a mail. `message` is the id that we gave it, `header_message_id` its own, `content` what came in to us.

    Where its recipient's mail program wrote it anew, `content` is that, without the fields before ours and ours.
    """

    message: str
    header_message_id: str
    subject: str
    content: bytes


def read_copy(raw: bytes) -> Copy | None:
    """What a copy is of; None when it does not bear an X-MailGuard-Id, as no mail does that we did not deliver.

    Of several the first counts: we took those out that it came with, and put ours on top.
    """
    end = header_section_end(raw)
    found = _OURS.search(raw, 0, end)
    if found is None:
        return None
    message = found[1].decode("ascii")
    if not is_message_id(message):
        return None
    at = found.start()
    while block := _BLOCK.match(raw, at, end):
        at = block.end()
    content = raw[at:]
    parsed = parse(content)
    return Copy(message, parsed.message_id, parsed.subject, content)
