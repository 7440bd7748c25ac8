"""The attachments check: the facts of every attached file and of the files in its archives, and what is suspicious in their form.

Which files are forbidden is the profile's business (it gets the facts); the points here are for what no honest file does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from mailguard.checks.base import CheckContext
from mailguard.core.verdict import Attachment, CheckResult, Symbol
from mailguard.message.attachments import (
    EXECUTABLE_EXTENSIONS,
    EXECUTABLE_TYPES,
    HTML_EXTENSIONS,
    Inspection,
    extension,
    has_double_extension,
    hides_extension,
    inspect,
)
from mailguard.message.claims import contradicts
from mailguard.message.parse import Message
from mailguard.message.secured import secured
from mailguard.message.source_archives import sources_among

ATTACHMENT_LIMIT = 500
"""Facts of files that are kept of one mail, members of archives among them."""
EVIDENCE_LIMIT = 5

SYMBOLS: Mapping[str, tuple[float, str]] = {
    "ATTACHMENT_EXECUTABLE": (2.0, "a program or script is attached"),
    "ATTACHMENT_ARCHIVED_EXECUTABLE": (2.0, "a program or script stands in an archive"),
    "ATTACHMENT_ARCHIVED_SOURCE": (0.3, "a script stands in an archive of source code"),
    "ATTACHMENT_DOUBLE_EXTENSION": (3.0, "a program poses as a document by a double extension"),
    "ATTACHMENT_HIDDEN_EXTENSION": (3.0, "a name is made to be misread"),
    "ATTACHMENT_TYPE_MISMATCH": (2.0, "the content is not what the name says"),
    "ATTACHMENT_ENCRYPTED": (0.5, "an archive is encrypted: nobody can look into it"),
    "ATTACHMENT_BROKEN_ARCHIVE": (0.5, "an archive's directory is broken, or too long to read"),
    "ATTACHMENT_HTML": (0.5, "an HTML page is attached as a file"),
    "ATTACHMENT_MACRO": (1.0, "a document carries macros"),
    "SIGNED_SMIME": (0.0, "signed with S/MIME"),
    "SIGNED_PGP": (0.0, "signed with OpenPGP"),
    "ENCRYPTED_SMIME": (0.0, "encrypted with S/MIME for its reader"),
    "ENCRYPTED_PGP": (0.0, "encrypted with OpenPGP for its reader"),
}
"""Symbols with their default points, and what they mean."""


class AttachmentsCheck:
    """Reports ATTACHMENT_* symbols and the facts of files (`CheckResult.attachments`)."""

    name = "attachments"
    needs: tuple[str, ...] = ()
    waits = False

    async def run(self, context: CheckContext, results: Mapping[str, CheckResult]) -> CheckResult:
        """See Check."""
        return self.examine(context.message)

    def examine(self, message: Message) -> CheckResult:
        """The result for a message: pure, and as long as its attachments."""
        found: dict[str, list[str]] = {}
        facts: list[Attachment] = []
        for part in message.attachments:
            inspection = inspect(part)
            of_file: dict[str, dict[str, None]] = {}
            for path, symbol, evidence in _suspicions(inspection):
                found.setdefault(symbol, []).append(evidence)
                of_file.setdefault(path, {})[symbol] = None
            for one in (inspection.attachment, *_members(inspection)):
                names = of_file.get(one.name)
                facts.append(replace(one, found=tuple(names)) if names else one)
        for symbol, evidence in secured(message):
            found.setdefault(symbol, []).append(evidence)
        symbols = tuple(
            Symbol(name, *SYMBOLS[name], tuple(dict.fromkeys(found[name]))[:EVIDENCE_LIMIT])
            for name in SYMBOLS
            if name in found
        )
        return CheckResult(
            self.name, symbols=symbols, detail=f"{len(facts)} files", attachments=tuple(facts[:ATTACHMENT_LIMIT])
        )


def _members(inspection: Inspection) -> Iterator[Attachment]:
    """The members of an archive; of a document in a zip's form only what runs."""
    if inspection.zip is None:
        return
    outer = inspection.attachment.name
    for member in inspection.zip.members:
        if not member.name.endswith("/") and (inspection.is_archive or extension(member.name) in EXECUTABLE_EXTENSIONS):
            yield Attachment(f"{outer}/{member.name}", "", "", member.size, "", 1)


def _suspicions(inspection: Inspection) -> Iterator[tuple[str, str, str]]:
    """(path of the file that it is about, symbol, evidence) for one attached file and those in it."""
    attachment, shown = inspection.attachment, inspection.attachment.name
    kind = attachment.true_type
    extensions = {extension(name) for name in inspection.names}
    if kind in EXECUTABLE_TYPES or extensions & EXECUTABLE_EXTENSIONS:
        yield shown, "ATTACHMENT_EXECUTABLE", shown or kind
    for name in inspection.names:
        for symbol in _name_suspicions(name):
            yield shown, symbol, name
    if any(contradicts(suffix, kind) for suffix in extensions):
        yield shown, "ATTACHMENT_TYPE_MISMATCH", f"{shown} is {kind}"
    if extensions & HTML_EXTENSIONS:
        yield shown, "ATTACHMENT_HTML", shown
    if inspection.zip is None:
        return
    sources = sources_among(member.name for member in inspection.zip.members)
    for member in inspection.zip.members:
        if inspection.is_archive and extension(member.name) in EXECUTABLE_EXTENSIONS:
            path = f"{shown}/{member.name}"
            source = member.name in sources
            yield path, "ATTACHMENT_ARCHIVED_SOURCE" if source else "ATTACHMENT_ARCHIVED_EXECUTABLE", path
            for symbol in _name_suspicions(member.name):
                yield path, symbol, member.name
        elif member.name.lower().endswith("vbaproject.bin"):
            yield shown, "ATTACHMENT_MACRO", shown
    if any(member.encrypted for member in inspection.zip.members):
        yield shown, "ATTACHMENT_ENCRYPTED", shown
    if not inspection.zip.complete:
        yield shown, "ATTACHMENT_BROKEN_ARCHIVE", shown


def _name_suspicions(name: str) -> Iterator[str]:
    if has_double_extension(name):
        yield "ATTACHMENT_DOUBLE_EXTENSION"
    if hides_extension(name):
        yield "ATTACHMENT_HIDDEN_EXTENSION"
