"""What the sandbox says of a file that it took apart, read as the hostile text that it is: known symbols, capped strings, nothing else."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass

from mailguard.checks.unpack_symbols import SYMBOLS
from mailguard.core.verdict import Attachment
from mailguard.sandbox.values import Answer

FILES = 2_000
FOUND = 20
LINKS = 200
PATH, KIND, EVIDENCE, URL = 1_024, 100, 300, 2_048
"""Characters that are believed."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Node:
    """A file of the tree: its facts, what was found in it with its evidence, and its octets if it is to be scanned."""

    attachment: Attachment
    found: tuple[tuple[str, str], ...] = ()
    octets: slice | None = None


@dataclass(frozen=True, slots=True)
class Tree:
    """The files, each before what lies in it, and (path, URL, way) of the links in them."""

    nodes: tuple[Node, ...]
    links: tuple[tuple[str, str, str], ...] = ()


def read_answer(answer: Answer, name: str, declared: str, *, rules: Container[str] = ()) -> Tree | None:
    """The tree of the file that the mail calls `name`; None when the answer has not the form that it must have.

    `rules`: the symbols of YARA rules, which are believed beside those of SYMBOLS.
    """
    value = answer.value
    files = value.get("files") if isinstance(value, dict) else None
    links = value.get("links") if isinstance(value, dict) else None
    if not isinstance(files, list) or not files:
        return None
    nodes: list[Node] = []
    path: list[str] = []
    for file in files[:FILES]:
        if not isinstance(file, dict):
            return None
        depth = file.get("depth")
        if not isinstance(depth, int) or not 0 <= depth <= len(path) or (depth == 0) != (not nodes):
            return None
        own = name if depth == 0 else _text(file.get("name"), 255) or "unnamed"
        path[depth:] = [own]
        found = tuple(_found(file.get("found"), rules))
        size, sha256 = file.get("size"), _text(file.get("sha256"), 64)
        nodes.append(
            Node(
                Attachment(
                    "/".join(path)[:PATH],
                    declared if depth == 0 else _text(file.get("declared"), KIND),
                    _text(file.get("kind"), KIND),
                    size if isinstance(size, int) and 0 <= size < 1 << 50 else 0,
                    sha256 if _SHA256.fullmatch(sha256) else "",
                    depth,
                    tuple(dict.fromkeys(symbol for symbol, _ in found)),
                ),
                found,
                _place(file.get("at"), len(answer.raw)),
            )
        )
    return Tree(tuple(nodes), tuple(_links(links)))


def _text(value: object, limit: int) -> str:
    if not isinstance(value, str):
        return ""
    return _CONTROLS.sub(" ", value[:limit]).encode("utf-8", "replace").decode("utf-8")


def _found(value: object, rules: Container[str]) -> Iterator[tuple[str, str]]:
    for one in value[:FOUND] if isinstance(value, list) else ():
        if not isinstance(one, list) or len(one) != 2 or not isinstance(one[0], str):
            continue
        if one[0] in SYMBOLS or one[0] in rules:
            yield one[0], _text(one[1], EVIDENCE)


def _place(value: object, octets: int) -> slice | None:
    if isinstance(value, list) and len(value) == 2:
        start, length = value
        if (
            isinstance(start, int)
            and isinstance(length, int)
            and start >= 0
            and length > 0
            and start + length <= octets
        ):
            return slice(start, start + length)
    return None


def _links(value: object) -> Iterator[tuple[str, str, str]]:
    for one in value[:LINKS] if isinstance(value, list) else ():
        if isinstance(one, list) and len(one) == 3 and all(isinstance(part, str) for part in one):
            yield _text(one[0], PATH), _text(one[1], URL), _text(one[2], 20)
