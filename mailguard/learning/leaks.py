"""Header fields that would tell the answer: verdicts of other filters, marks of mailing lists, notes of mail stores.

Accuracy is measured on messages without them, as the door sees mail that no other filter has looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import translate

VERDICTS = (
    "ARC-Authentication-Results", "Authentication-Results*", "Received-SPF", "DKIM-Filter", "DMARC-Filter", "ARC-Filter",
    "IronPort-*", "Old-X-Spam*", "X-*Anti*Spam*", "X-*Antivirus*", "X-*-Spam*", "X-*Spam-*", "X-Amavis*",     "X-ASG-*", "X-ASF-*", "X-Authenticat*-Results*", "X-Authority-Analysis", "X-Barracuda*", "X-BESS-*",
    "X-Bitdefender*", "X-Bogosity", "X-Brightmail*", "X-Cloudmark*", "X-CM-*", "X-CMAE-*", "X-Coremail*", "X-CRM114*",
    "X-CTCH*", "X-DSPAM*", "X-EOP*", "X-Exchange-Antispam*", "X-FEAS*", "X-Forefront*", "X-Fortiguard*", "X-Greylist*",
    "X-HES-*", "X-Incoming*Header*", "X-IronPort*", "X-Junk*", "X-KSE-*", "X-KSMG-*", "X-MailScanner*", "X-*-MailScanner*",
    "X-MAIL-*-SCAN*", "X-MDAV*", "X-MessageSniffer*", "X-Message-Delivery", "X-Message-Info", "X-Microsoft*",
    "X-Mimecast*", "X-Mlf-*", "X-MS-*", "X-NAI-*", "X-OriginatorOrg", "X-PerlMx*", "X-PMX*", "X-policyd*", "X-Proofpoint*",
    "X-pstn*", "X-Purgate*", "X-Rc-Spam", "X-Rc-Virus", "X-RSPAMD*", "X-Rspam*", "X-SBRS", "X-Sender-IP", "X-SID-*", "X-Scanned*",
    "X-Sophos*", "X-SpamProbe*", "X-Spam*", "X-Symantec*", "X-TM-*", "X-TMASE*", "X-VADE*", "X-Virus*",
    "X-VR-*", "X-WatchGuard*", "X-Whitelist*", "XChecker*", "XLevel", "XStatus",
)  # fmt: skip
"""What filters and receiving systems write about a mail."""
LISTS = (
    "List-*",
    "X-List-*",
    "X-Mailing-List",
    "Mailing-List",
    "X-BeenThere",
    "X-Mailman*",
    "X-Loop",
    "X-Google-Group*",
)
"""What list managers write. Bulk mail has List-Unsubscribe too: `keep` it to measure what it is worth."""
STORES = (
    "Content-Length", "Delivered-To", "Delivery-Date", "Lines", "Return-Path", "Status", "X-Account-Key", "X-bcc", "X-cc",
    "X-FileName", "X-Folder", "X-From", "X-Gmail-Labels", "X-GM-*", "X-Identity-Key", "X-Keywords", "X-Mozilla-*", "X-Origin",
    "X-Original-To", "X-Status", "X-To", "X-UID", "X-UIDL",
)  # fmt: skip
"""What is written at delivery or later, and names the collection that a message is from."""

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:[^\n]*\n?(?:[ \t][^\n]*(?:\n|\Z))*")
_BLANK = re.compile(rb"\r*\n")


@dataclass(frozen=True, slots=True)
class LeakyFields:
    """Which fields are dropped, by names with `*`; upper and lower case are the same. `keep` wins over `drop`."""

    drop: tuple[str, ...] = (*VERDICTS, *LISTS, *STORES)
    keep: tuple[str, ...] = ()
    _drop: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _keep: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_drop", _any_of(self.drop))
        object.__setattr__(self, "_keep", _any_of(self.keep))

    def leaks(self, name: str) -> bool:
        """Whether a field of that name is dropped."""
        return bool(self._drop.match(name)) and not self._keep.match(name)

    def strip(self, raw: bytes) -> bytes:
        """`raw` without those fields; all other octets as they were, whatever the line ends."""
        kept, at = [], 0
        while at < len(raw) and not _BLANK.match(raw, at):
            found = _FIELD.match(raw, at)
            if found is None:
                break  # no header field: what follows is the body, as the parser sees it
            if not self.leaks(found[1].decode("ascii")):
                kept.append(found[0])
            at = found.end()
        return b"".join((*kept, raw[at:]))


def _any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(translate(pattern) for pattern in patterns) or r"(?!)", re.IGNORECASE)


ALL_LEAKS = LeakyFields()
"""All fields that are known to tell."""
