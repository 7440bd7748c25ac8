"""Takes files apart in this process, for the tests of the formats; what a tree holds, in a form that asserts read well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from mailguard.sandbox.unpack.kinds import kind_of
from mailguard.sandbox.unpack.openers import prepare
from mailguard.sandbox.unpack.tree import take_apart, walk
from mailguard.sandbox.unpack.work import Bounds, File, Work


def apart(
    raw: bytes,
    name: str = "",
    *,
    declared: str = "",
    passwords: Sequence[str] = (),
    bounds: Bounds | None = None,
) -> File:
    """The root of the tree of `raw`, taken apart as in the sandbox."""
    _prepared()
    work = Work(File(name, raw, kind_of(raw, name, declared), declared=declared), bounds=bounds, passwords=passwords)
    take_apart(work)
    return work.root


@cache
def _prepared() -> None:
    prepare()  # once, as in a process of the sandbox


def symbols(root: File) -> dict[str, list[str]]:
    """Evidence by symbol, over the whole tree."""
    found: dict[str, list[str]] = {}
    for file in walk(root):
        for symbol, evidence in file.found:
            found.setdefault(symbol, []).append(evidence)
    return found


def paths(root: File) -> list[str]:
    """The path of each file below the root: `a.zip/b.exe` below one without a name."""

    def below(file: File, prefix: str) -> Iterator[str]:
        for child in file.children:
            yield prefix + child.name
            yield from below(child, f"{prefix}{child.name}/")

    return list(below(root, ""))


def contents(root: File) -> dict[str, bytes]:
    """What is in each file below the root, by its own name."""
    return {file.name: file.raw for file in walk(root) if file is not root}
