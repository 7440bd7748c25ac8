"""Whether the entities that an XML document defines swell, when a program puts in what they stand for. XML 1.0 §4.2 to 4.4; no parsing."""

from __future__ import annotations

import re

LOOK = 256 * 1024
"""Characters of a document in which definitions are looked for."""
ENTITIES = 1_000
LIMIT = 8 * 1024 * 1024
"""Characters that a document's entities may come to: honest ones define names and addresses, a few hundred."""
_DEFINED = re.compile(r"<!ENTITY\s+(?:%\s+)?([\w.:-]{1,64})\s+(?:\"([^\"]*)\"|'([^']*)')")
_USED = re.compile(r"[&%]([\w.:-]{1,64});")


def swells(source: str) -> str:
    """What of it swells beyond LIMIT, or refers to itself: the entity's name; empty when none does."""
    if "<!ENTITY" not in source[:LOOK]:
        return ""
    values: dict[str, str] = {}
    for match in _DEFINED.finditer(source[:LOOK]):
        values.setdefault(match[1], match[2] or match[3] or "")
        if len(values) >= ENTITIES:
            break
    sizes: dict[str, int] = {}
    for name in values:
        if _size(name, values, sizes) > LIMIT:
            return name
    total = 0
    for match in _USED.finditer(source):
        total += sizes.get(match[1], 0)
        if total > LIMIT:
            return match[1]
    return ""


def _size(name: str, values: dict[str, str], sizes: dict[str, int]) -> int:
    """Characters that an entity comes to, at most a little over LIMIT; without recursion: definitions may form a long chain."""
    waiting = [name]
    open_: set[str] = set()
    while waiting:
        one = waiting[-1]
        if one in sizes:
            waiting.pop()
            continue
        used = [match[1] for match in _USED.finditer(values[one]) if match[1] in values]
        missing = [other for other in dict.fromkeys(used) if other not in sizes]
        if any(other in open_ or other == one for other in missing):
            sizes[one] = LIMIT + 1  # it refers to itself
        elif missing and one not in open_:
            open_.add(one)
            waiting += missing
            continue
        else:
            sizes[one] = min(LIMIT + 1, len(values[one]) + sum(sizes.get(other, 0) for other in used))
        open_.discard(one)
        waiting.pop()
    return sizes[name]
