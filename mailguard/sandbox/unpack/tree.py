"""The function of the sandbox that takes one attachment apart, and the form of its answer.

What it returns: {"files": [{"name", "kind", "declared", "size", "sha256", "depth", "via", "found": [[symbol, evidence], ...]}, ...],
"links": [[path, url, via], ...]}, the files in the order of a walk through the tree, each before what lies in it; `path` is a file's
name with those of its containers (`a.zip/b.pdf`), `via` is empty or `qr`. A file that
a virus scanner is to be given, since it would not find it by itself, has "at": [offset, octets] in the answer's octets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from mailguard.message.attachments import EXECUTABLE_TYPES
from mailguard.message.source_archives import sources_among
from mailguard.sandbox.frames import Json, WithOctets
from mailguard.sandbox.unpack import pictured
from mailguard.sandbox.unpack.answer import answer_of, bounds_of
from mailguard.sandbox.unpack.kinds import kind_of
from mailguard.sandbox.unpack.openers import OF_ANY, OPENERS
from mailguard.sandbox.unpack.work import ExhaustedError, File, Work
from mailguard.sandbox.unpack.yara import RULES

SPARED = MappingProxyType({"ATTACHMENT_ARCHIVED_EXECUTABLE": "ATTACHMENT_ARCHIVED_SOURCE"})
"""What a script is said to be alone, and among source code."""
_OBJECT = re.compile(r"<[\w.]+ object at 0x[0-9a-f]+>:? ?")
"""What libraries say for a file that they have no name of: it tells a place in memory, another one each time."""


def tree(raw: bytes, arguments: Mapping[str, Json]) -> WithOctets:
    """Take a file apart. `name`, `declared`: as the mail calls it; `passwords`: what encrypted files are tried with."""
    name, declared = str(arguments.get("name") or ""), str(arguments.get("declared") or "")
    passwords = arguments.get("passwords")
    work = Work(
        File(name, raw, kind_of(raw, name, declared), declared=declared),
        bounds=bounds_of(arguments),
        passwords=[one for one in passwords if isinstance(one, str)] if isinstance(passwords, list) else [],
    )
    take_apart(work)
    files = [*walk(work.root)]
    pictured.look(files, work)
    RULES.look(files, work)
    links: list[Json] = [[path, url, via] for path, file in _paths(work.root) for url, via in file.links]
    return answer_of(files, links, work)


def _tell(work: Work, file: File, error: Exception) -> None:
    work.found(file, "UNPACK_BROKEN", f"{type(error).__name__}: {_OBJECT.sub('', str(error))}")


def take_apart(work: Work, on_broken: Callable[[Work, File, Exception], None] = _tell) -> None:
    """Open all that is queued, until nothing is left or a limit is reached. `on_broken` hears what an opener raises."""
    _open_all(work, on_broken)
    for file in walk(work.root):
        _spare_sources(file)


def _spare_sources(archive: File) -> None:
    """Call scripts in an archive of source code what they are: told only once all its files are known."""
    sources = sources_among(child.name for child in archive.children)
    for child in archive.children:
        if child.name in sources and child.kind not in EXECUTABLE_TYPES:
            child.found = [(SPARED.get(symbol, symbol), evidence) for symbol, evidence in child.found]


def _open_all(work: Work, on_broken: Callable[[Work, File, Exception], None]) -> None:
    while work.queue:
        file = work.queue.popleft()
        for opener in (*OF_ANY, *OPENERS.get(file.kind, ())):
            try:
                opener(file, work)
            except ExhaustedError:
                return
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever a parser raises for a broken file is a fact about it
                on_broken(work, file, error)


def walk(file: File) -> Iterator[File]:
    """A file and all below it, each before what lies in it."""
    waiting = [file]
    while waiting:
        one = waiting.pop()
        yield one
        waiting.extend(reversed(one.children))


def _paths(file: File) -> Iterator[tuple[str, File]]:
    """As `walk`, each with its name behind those of its containers."""
    waiting = [(file.name, file)]
    while waiting:
        path, one = waiting.pop()
        yield path, one
        waiting.extend((f"{path}/{child.name}", child) for child in reversed(one.children))
