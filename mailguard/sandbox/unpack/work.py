"""One job of taking a file apart: the tree of files as it grows, what was found in each, and what may still be spent.

Openers (openers.py) get a File and the Work; they report with `Work.found` and hand on what lies within with `Work.add`.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from mailguard.message.attachments import (
    EXECUTABLE_EXTENSIONS,
    EXECUTABLE_TYPES,
    extension,
    has_double_extension,
    hides_extension,
)
from mailguard.message.claims import contradicts
from mailguard.sandbox.unpack.kinds import kind_of

EVIDENCE = 200
"""Characters of evidence that are kept."""
FINDINGS = 20
"""Findings of one file that are kept."""
LINKS, URL = 200, 2_048
"""Links of one job that are handed on, and characters of each."""
PICTURES = 100
"""Pictures of documents and pages that are kept."""
NAME = 255
"""Characters of a file's name that are kept."""


SCANNED = frozenset(
    {
        "application/zip",
        "application/java-archive",
        "application/vnd.openxmlformats-officedocument",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "application/vnd.oasis.opendocument",
        "application/x-tar",
        "application/gzip",
        "application/x-bzip2",
        "application/vnd.ms-cab-compressed",
        "message/rfc822",
    }
)
"""Containers in which a virus scanner finds files by itself, as far as they are not encrypted. Of others it is given the files."""


class ExhaustedError(Exception):
    """A limit of the job is reached: whatever lies deeper or comes later is not looked into. Already reported when raised."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one job may make: `octets` in all, `files` in all, `depth` below the attachment, `ratio` of a file to its container."""

    octets: int = 64 * 1024 * 1024
    files: int = 1_000
    depth: int = 8
    seconds: float = 1.2
    """Of CPU: below what the sandbox kills for, so that what was found until then is told."""
    ratio: int = 250
    """Times as large as its container that a file may be, once it has `ratio_from` octets: more is a bomb."""
    ratio_from: int = 16 * 1024 * 1024


@dataclass(slots=True, eq=False)
class File:
    """One file of the tree. `kind` is its MIME type by content; `depth` 0 is the attachment itself."""

    name: str
    raw: bytes
    kind: str
    depth: int = 0
    declared: str = ""
    """The MIME type that its container declares, if any."""
    via: str = ""
    """How it came out of its container, if not plainly: `password`, `base64`."""
    found: list[tuple[str, str]] = field(default_factory=list)
    """(symbol, evidence)."""
    children: list[File] = field(default_factory=list)
    claimed: int = -1
    """Octets that a file claims to have which could not be taken out; -1: `raw` is its content."""
    unseen: bool = False
    """Whether a virus scanner that is given the container does not find it there."""
    odd: bool = False
    """Whether a virus scanner that is given it may see other files in it than are here."""
    links: list[tuple[str, str]] = field(default_factory=list)
    """(URL, how it was found if not plainly: `qr`)."""

    @property
    def size(self) -> int:
        """Octets that it has, or claims to have."""
        return len(self.raw) if self.claimed < 0 else self.claimed

    @property
    def sha256(self) -> str:
        """Of its content, in hexadecimal."""
        return hashlib.sha256(self.raw).hexdigest()


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture or PDF that may hold a code: `name` within `file`, which it lies in, or which it is itself."""

    file: File
    name: str
    raw: bytes

    @property
    def is_pdf(self) -> bool:
        """Whether it is a PDF, by its first octets."""
        return self.raw.startswith(b"%PDF-")


class Work:
    """The state of one job: the tree below `root`, the queue of what is still to be opened, and the room that is left."""

    def __init__(self, root: File, *, bounds: Bounds | None = None, passwords: Sequence[str] = ()) -> None:
        self.root = root
        self.bounds = bounds or Bounds()
        self.passwords: tuple[str, ...] = tuple(passwords)
        """What encrypted files are tried with, the likeliest first."""
        self.queue: deque[File] = deque([root])
        self.pictures: list[Picture] = []
        """Pictures that are no files of the tree: those of documents and pages."""
        self._octets = self.bounds.octets
        self._files = self.bounds.files
        self._links = LINKS
        self._until = time.process_time() + self.bounds.seconds
        self._opened = {root.sha256}

    @property
    def room(self) -> int:
        """Octets that may still come out of files."""
        return self._octets

    @property
    def seconds_left(self) -> float:
        """CPU time that the job may still take."""
        return max(0.0, self._until - time.process_time())

    def found(self, file: File, symbol: str, evidence: str = "") -> None:
        """Report a symbol of a file; the same twice counts once."""
        one = (symbol, evidence[:EVIDENCE])
        if one not in file.found and len(file.found) < FINDINGS:
            file.found.append(one)

    def link(self, file: File, url: str, via: str = "") -> None:
        """Hand on a link of a file, for the relay to judge; the same twice counts once."""
        one = (url[:URL], via)
        if self._links > 0 and one not in file.links:
            self._links -= 1
            file.links.append(one)

    def picture(self, file: File, name: str, raw: bytes) -> None:
        """Keep a picture of a document or page, to be looked into for codes: the first ones, while there is room."""
        if len(self.pictures) < PICTURES and len(raw) <= self._octets:
            self._octets -= len(raw)
            self.pictures.append(Picture(file, name[-NAME:], raw))

    def may_hold(self, parent: File, size: int) -> int:
        """How many octets a file within `parent` may have, which claims to have `size` (-1: nobody says).

        Raises ExhaustedError, after reporting, when nothing of the kind may come out any more.
        """
        self.tick(parent)
        most = min(self._octets, max(self.bounds.ratio * len(parent.raw), self.bounds.ratio_from))
        if most <= 0 or size > most:
            self.found(parent, "UNPACK_BOMB", f"{size if size >= 0 else 'too many'} octets out of {len(parent.raw)}")
            raise ExhaustedError
        return most

    def tick(self, file: File) -> None:
        """Go on, or raise ExhaustedError, after reporting, when the time is used up. For loops that may be long."""
        if time.process_time() > self._until:
            self.found(file, "SANDBOX_LIMIT", f"{self.bounds.seconds:g} s of CPU were not enough")
            raise ExhaustedError

    def _count(self, parent: File) -> None:
        """One file more; only here, since whoever asks `may_hold` may find none."""
        if self._files <= 0:
            self.found(parent, "UNPACK_TOO_MANY", f"more than {self.bounds.files} files")
            raise ExhaustedError
        self._files -= 1

    def mention(self, parent: File, name: str, size: int) -> File:
        """Put a file below another that is there but could not be taken out (encrypted, say)."""
        self.may_hold(parent, 0)
        self._count(parent)
        child = File(name[-NAME:], b"", "", parent.depth + 1, claimed=max(0, size))
        judge_name(child, parent, self)
        parent.children.append(child)
        return child

    def add(
        self, parent: File, name: str, raw: bytes, *, declared: str = "", via: str = "", unseen: bool = False
    ) -> File:
        """Put a file below another, to be opened later unless it lies too deep. Raises ExhaustedError as `may_hold` does.

        `unseen`: a virus scanner that is given the container would not find it; files that come out by a way (`via`) never are
        found by one. The same content is opened once.
        """
        self.may_hold(parent, len(raw))
        self._count(parent)
        self._octets -= len(raw)
        name = name[-NAME:]
        child = File(name, raw, kind_of(raw, name, declared), parent.depth + 1, declared, via)
        # A scanner that is given a part of a mail alone, without the fields of one, takes it for a text.
        partly = parent.unseen and parent.kind == "message/rfc822"
        child.unseen = unseen or bool(via) or partly or parent.odd or parent.kind not in SCANNED
        judge_name(child, parent, self)
        parent.children.append(child)
        if raw == parent.raw:
            self.found(parent, "ARCHIVE_ITSELF", name)
        elif child.depth <= self.bounds.depth:
            if (digest := child.sha256) not in self._opened:
                self._opened.add(digest)
                self.queue.append(child)
        elif child.raw:
            self.found(child, "UNPACK_TOO_DEEP", f"deeper than {self.bounds.depth}")
        return child


_PROGRAMS = frozenset(
    {
        "application/java-archive",
        "application/vnd.android.package-archive",
        "application/vnd.debian.binary-package",
        "application/vnd.ms-appx",
        "application/vnd.ms-htmlhelp",
        "application/x-dosexec",
        "application/x-msi",
        "application/x-rpm",
    }
)
"""Containers that are programs themselves: that there are programs in them says nothing more."""


_ZIPPED = frozenset({"application/java-archive", "application/vnd.android.package-archive", "application/vnd.ms-appx"})
"""Those that a zip is taken for by a name in it, which anybody can put there: they must be called so as well."""


def _is_program(file: File) -> bool:
    return file.kind in _PROGRAMS and (file.kind not in _ZIPPED or extension(file.name) in _CALLED)


_CALLED = frozenset({"jar", "war", "ear", "aar", "apk", "apks", "xapk", "appx", "msix", "appxbundle", "msixbundle"})


def judge_name(file: File, parent: File, work: Work) -> None:
    """Report of a file within another what its name and type say, as of an attached one."""
    name = file.name
    if not _is_program(parent) and (file.kind in EXECUTABLE_TYPES or extension(name) in EXECUTABLE_EXTENSIONS):
        work.found(file, "ATTACHMENT_ARCHIVED_EXECUTABLE", name)
    # Of saved sites a picture may be a page: what the site sent for one that it had not.
    if file.kind != "text/html" and contradicts(extension(name), file.kind):
        work.found(file, "ATTACHMENT_TYPE_MISMATCH", f"{name} is {file.kind}")
    if has_double_extension(name):
        work.found(file, "ATTACHMENT_DOUBLE_EXTENSION", name)
    if hides_extension(name):
        work.found(file, "ATTACHMENT_HIDDEN_EXTENSION", name)
