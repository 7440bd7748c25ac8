"""The tree of a mail's files as it was unpacked: type, size, SHA-256 and findings of each, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mailguard.cli.terminal import safe, say

if TYPE_CHECKING:
    from mailguard.core.verdict import Attachment

SHORT = 12
"""Digits of a hash that are shown, unless it is shown whole."""
SHOWN = 60
"""Files that are shown, unless all are asked for."""
NAME = 80
"""Characters of a name that are shown."""


def print_files(files: Sequence[Attachment], *, whole: bool = False) -> None:
    """A line for each file, those within others indented. `whole`: all of them, with their hashes in full."""
    if files:
        say("  files")
    for line in tree_lines(files if whole else files[:SHOWN], whole=whole):
        say(f"    {line}")
    if not whole and len(files) > SHOWN:
        say(f"    and {len(files) - SHOWN} more")


def tree_lines(files: Sequence[Attachment], *, whole: bool = False) -> Iterator[str]:
    """`a.zip: application/zip, 1,234 octets, SHA-256 0123456789ab; SYMBOL`, two spaces further in at each depth."""
    path: list[str] = []
    for file in files:
        # Of files that are no longer told of, an upper one may be missing: its place in the path stays empty.
        path = [*path[: file.depth], *[""] * (file.depth - len(path))]
        above = "/".join(path)
        name = file.name[len(above) + 1 :] if above and file.name.startswith(f"{above}/") else file.name
        path.append(name)
        digest = file.sha256 if whole else file.sha256[:SHORT]
        facts = (
            file.true_type or file.declared_type or "type unknown",
            f"{file.size:,} octets",
            f"SHA-256 {digest}" if digest else "content not seen",
        )
        found = f"; {', '.join(file.found)}" if file.found else ""
        yield f"{'  ' * file.depth}{safe(name, limit=NAME) or 'unnamed'}: {safe(', '.join(facts))}{safe(found)}"


def file_json(file: Attachment) -> dict[str, object]:
    """A file for `--json`: `name` is its path, `depth` 0 the attachment itself."""
    return {
        "name": file.name,
        "declared_type": file.declared_type,
        "true_type": file.true_type,
        "size": file.size,
        "sha256": file.sha256,
        "depth": file.depth,
        "found": list(file.found),
    }
