"""What the layers agree on about attached files: which findings mean that a file was not looked into to its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mailguard.core.verdict import Attachment

UNINSPECTABLE = frozenset(
    {
        "ARCHIVE_ENCRYPTED",
        "ARCHIVE_UNOPENED",
        "OFFICE_ENCRYPTED",
        "PDF_ENCRYPTED",
        "SANDBOX_CRASH",
        "SANDBOX_LIMIT",
        "UNPACK_BOMB",
        "UNPACK_BROKEN",
        "UNPACK_TOO_DEEP",
        "UNPACK_TOO_LARGE",
        "UNPACK_TOO_MANY",
    }
)
"""Symbols which say that something in an attachment could not be looked into: encrypted and no password fits, over a limit,
broken, of a kind that nobody opens, or its parser crashed. They stand in `Attachment.found` of the file that they are about."""


def merged(listed: Sequence[Attachment], unpacked: Sequence[Attachment]) -> tuple[Attachment, ...]:
    """The facts of files that one check read from names and directories, with those of a check that took them apart.

    A file that was taken apart is replaced by what came out of it; what only a directory tells stays.
    """
    if not unpacked:
        return tuple(listed)
    trees: dict[tuple[str, str], list[Attachment]] = {}
    tree: list[Attachment] = []
    for one in unpacked:
        if one.depth == 0:
            tree = trees.setdefault((one.name, one.sha256), [])
            tree.clear()
        tree.append(one)
    files: list[Attachment] = []
    inside: set[str] = set()
    for one in listed:
        if one.depth == 0:
            known = trees.pop((one.name, one.sha256), None)
            inside = {other.name for other in known or ()}
            files += _with_facts_of(one, known) if known else [one]
        elif one.name not in inside:
            files.append(one)
    return (*files, *(one for rest in trees.values() for one in rest))


def _with_facts_of(listed: Attachment, tree: Sequence[Attachment]) -> list[Attachment]:
    root, *inside = tree
    return [replace(root, declared_type=listed.declared_type, true_type=root.true_type or listed.true_type), *inside]
