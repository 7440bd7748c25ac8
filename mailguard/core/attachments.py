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

    A file that was taken apart is replaced by what came out of it; what only a directory tells stays. What both found of one
    file stands at it.
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
    inside: dict[str, int] = {}
    """Where in `files` stands what came out of the last one."""
    for one in listed:
        if one.depth == 0:
            known = trees.pop((one.name, one.sha256), None)
            inside = {other.name: len(files) + at for at, other in enumerate(known or ()) if at}
            files += _with_facts_of(one, known) if known else [one]
        elif (at := inside.get(one.name)) is None:
            files.append(one)
        elif one.found:
            files[at] = replace(files[at], found=_both(files[at], one))
    return (*files, *(one for rest in trees.values() for one in rest))


def _with_facts_of(listed: Attachment, tree: Sequence[Attachment]) -> list[Attachment]:
    root, *inside = tree
    kind = root.true_type or listed.true_type
    return [replace(root, declared_type=listed.declared_type, true_type=kind, found=_both(root, listed)), *inside]


def _both(one: Attachment, other: Attachment) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*one.found, *other.found)))
