"""The mark of the probe's mails: what makes one, and what the relay takes for one. It says "do not bill this", and no more.

The mark is the first field of a message: an id, the time, the kind and an HMAC-SHA256 over these, the recipient and the SHA-256
of all that follows. A stolen one is good for the very same mail to the same recipient, once, for a few minutes. Pure.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from enum import StrEnum

from mailguard.core.address import normalise
from mailguard.core.clock import MINUTE
from mailguard.core.ids import is_message_id

MAX_AGE = 15 * MINUTE
"""Milliseconds after which a mark is not believed any more; also before it was made, since clocks differ."""
SIZE_LIMIT = 65_536
"""Octets of a mail that may bear a mark: no room for real mail of any size."""
KEY_LENGTH = 32
"""Characters that a key has at least."""

_FIELD = b"X-MailGuard-Probe: "
_VALUE = re.compile(
    rb"v=1; id=(?P<id>[0-9A-Z]{26}); at=(?P<at>[0-9]{1,15}); kind=(?P<kind>[a-z]{1,10}); mac=(?P<mac>[0-9a-f]{64})\r\n"
)


class Kind(StrEnum):
    """The mails of a probe."""

    CLEAN = "clean"
    EICAR = "eicar"
    GTUBE = "gtube"


@dataclass(frozen=True, slots=True)
class Mark:
    """What a mark says: the mail's id, when it was made (ms UTC), and its kind."""

    id: str
    at: int
    kind: Kind

    def put_on(self, message: bytes, *, recipient: str, key: str) -> bytes:
        """`message` with the mark on top, for one recipient."""
        mac = _mac(self, message, recipient=recipient, key=key)
        value = f"v=1; id={self.id}; at={self.at}; kind={self.kind}; mac={mac}\r\n"
        return _FIELD + value.encode("ascii") + message


class MarkReader:
    """Recognises what was marked with `key`; without a key nothing is."""

    def __init__(self, key: str) -> None:
        self._key = key

    def read(self, content: bytes, *, recipient: str, now: int) -> Mark | None:
        """The mark of a message for a recipient at `now` (ms UTC), if it is genuine and not too old. Cheap for all else."""
        if not self._key or not content.startswith(_FIELD) or len(content) > SIZE_LIMIT:
            return None
        found = _VALUE.match(content, len(_FIELD))
        if found is None or found["kind"].decode() not in _KINDS:
            return None
        mark = Mark(found["id"].decode(), int(found["at"]), Kind(found["kind"].decode()))
        mac = _mac(mark, content[found.end() :], recipient=recipient, key=self._key)
        genuine = hmac.compare_digest(mac, found["mac"].decode())
        return mark if genuine and is_message_id(mark.id) and abs(now - mark.at) <= MAX_AGE else None


_KINDS = frozenset(kind.value for kind in Kind)


def sign(text: str, *, key: str) -> str:
    """The HMAC of a result's text, which no mark's can be."""
    return hmac.new(key.encode(), f"mailguard probe result\n{text}".encode(), hashlib.sha256).hexdigest()


def _mac(mark: Mark, message: bytes, *, recipient: str, key: str) -> str:
    digest = hashlib.sha256(message).hexdigest()
    said = "\n".join(("mailguard probe mail", mark.id, str(mark.at), mark.kind, normalise(recipient), digest))
    return hmac.new(key.encode(), said.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()
