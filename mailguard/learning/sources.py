"""The collections that the classifier is trained on, and those that it is only measured on. Paths are below one folder of all.

What may not be shipped in any form (phishing_eval is CC BY-NC 4.0) is never learned from: its `learn` says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mailguard.core.errors import ConfigError, Problem


@dataclass(frozen=True, slots=True)
class Source:
    """One collection of one kind of mail. `family` is what is left out together when it is measured across sources.

    `modern`: of the last years, as clients get it. `learn`: it may be learned from. `defanged`: its links were made harmless,
    and are mended before it is read.
    """

    name: str
    path: Path
    spam: bool
    family: str
    modern: bool = False
    learn: bool = True
    defanged: bool = False

    @property
    def archive(self) -> str:
        """The collection that it came in: of one that holds both kinds, its honest mail and its spam are one."""
        return self.name.removesuffix(" ham").removesuffix(" spam")


_KNOWN = (
    Source("spamassassin ham", Path("spamassassin/ham"), False, "spamassassin"),
    Source("spamassassin spam", Path("spamassassin/spam"), True, "spamassassin"),
    Source("csdmc2010 ham", Path("csdmc2010/ham"), False, "csdmc2010"),
    Source("csdmc2010 spam", Path("csdmc2010/spam"), True, "csdmc2010"),
    Source("nazario_phishing", Path("nazario_phishing/phish"), True, "nazario"),
    Source("lists_vger ham", Path("lists_vger/ham"), False, "vger"),
    Source("lists_vger spam", Path("lists_vger/spam"), True, "vger"),
    Source("enron_maildir_skilling", Path("enron_maildir_skilling/ham"), False, "enron"),
    Source("enron_spam ham", Path("enron_spam/ham"), False, "enron"),
    Source("enron_spam spam", Path("enron_spam/spam"), True, "enron"),
    Source("lingspam ham", Path("lingspam/ham"), False, "lingspam"),
    Source("lingspam spam", Path("lingspam/spam"), True, "lingspam"),
    Source("cwl_spam_defanged", Path("cwl_spam_defanged/spam"), True, "cwl", modern=True, defanged=True),
    Source("phishing_eval", Path("phishing_eval/phish"), True, "phishing_eval", modern=True, learn=False),
)
_MODERN_HAM = Path("modern_ham")
_FANG = (
    (re.compile(rb"\bhxxp(?=s?(?:\[?:\]?)//)", re.IGNORECASE), b"http"),
    (re.compile(rb"\[:\]"), b":"),
    (re.compile(rb"\[\.\]|=5B\.=5D", re.IGNORECASE), b"."),
)
_AUTHENTICATION = re.compile(rb"^Authentication-Results:(.*(?:\r?\n[ \t].*)*)", re.IGNORECASE | re.MULTILINE)
_RESULT = re.compile(rb"\b(spf|dkim|dmarc)=([a-z]+)", re.IGNORECASE)
_MAIL_FROM = re.compile(rb"smtp\.mailfrom=\s*\"?([^\s;\"()<>]+)", re.IGNORECASE)


def find_sources(folder: Path) -> tuple[Source, ...]:
    """The collections that are below `folder`, with their whole paths. Raises ConfigError when there is none."""
    found = [replace(source, path=folder / source.path) for source in _KNOWN if (folder / source.path).is_dir()]
    for kind in ("real", "synth"):
        for place in sorted((folder / _MODERN_HAM / kind).glob("*/ham")):
            if any(place.iterdir()):
                name = place.parent.name
                found.append(Source(f"modern_ham {kind} {name}", place, False, f"{kind}_{name}", modern=True))
    if not found:
        raise ConfigError([Problem(str(folder), "holds none of the known collections; see docs/model-card.md")])
    return tuple(found)


def mended(source: Source, work: Path) -> Source:
    """A copy of a defanged source below `work` with working links, and what the receiver recorded in an envelope.jsonl."""
    place = work / source.family / "spam"
    place.mkdir(parents=True)
    with (place.parent / "envelope.jsonl").open("w", encoding="utf-8") as lines:
        for file in sorted(path for path in source.path.rglob("*") if path.is_file()):
            raw = file.read_bytes()
            for pattern, to in _FANG:
                raw = pattern.sub(to, raw)
            copy = place / file.name
            copy.write_bytes(raw)
            lines.write(json.dumps({"file": f"spam/{file.name}", **dict(_recorded(raw))}) + "\n")
    return replace(source, path=place, defanged=False)


def _recorded(raw: bytes) -> Iterator[tuple[str, str]]:
    """What the topmost Authentication-Results says."""
    field = _AUTHENTICATION.search(raw.partition(b"\n\n")[0].partition(b"\r\n\r\n")[0])
    if field is None:
        return
    results: dict[str, str] = {}
    for method, outcome in _RESULT.findall(field[1]):
        results.setdefault(method.decode().lower(), outcome.decode().lower())
    yield from results.items()
    sender = _MAIL_FROM.search(field[1])
    if sender:
        yield "mail_from", sender[1].decode("utf-8", "replace")
