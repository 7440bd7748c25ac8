"""What is told of a tree: facts of its files within the limits of an answer, and the octets of those that are to be scanned for viruses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mailguard.sandbox.frames import ANSWER_RAW_LIMIT, HEADER_LIMIT, Json, WithOctets
from mailguard.sandbox.unpack.work import Bounds, File, Work

SENT = 50
"""Files of one attachment that are handed back to be scanned."""
_RESERVE = 128 * 1024
"""Octets of the answer that are kept for what is told last."""


def bounds_of(arguments: Mapping[str, Json]) -> Bounds:
    """The bounds that a job gives: `octets`, `files`, `depth`, `seconds`; the usual ones for what it does not say."""
    usual = Bounds()

    def number(name: str, otherwise: int) -> int:
        value = arguments.get(name)
        return value if isinstance(value, int) and value > 0 else otherwise

    seconds = arguments.get("seconds")
    return replace(
        usual,
        octets=number("octets", usual.octets),
        files=number("files", usual.files),
        depth=number("depth", usual.depth),
        seconds=float(seconds) if isinstance(seconds, int | float) else usual.seconds,
    )


def answer_of(files: Sequence[File], links: Sequence[Json], work: Work) -> WithOctets:
    """The answer of a job. Files of one content are handed back once."""
    sent: list[bytes] = []
    places: dict[bytes, list[Json]] = {}
    octets = 0
    told: list[dict[str, Json]] = []
    room = HEADER_LIMIT - _RESERVE - sum(len(json.dumps(link)) + 2 for link in links)
    for file in files:
        one = _facts(file)
        if file.unseen and file.raw:
            if file.raw not in places and len(sent) < SENT and octets + len(file.raw) <= ANSWER_RAW_LIMIT:
                places[file.raw] = [octets, len(file.raw)]
                sent.append(file.raw)
                octets += len(file.raw)
            if file.raw in places:
                one["at"] = places[file.raw]
            else:
                work.found(work.root, "UNPACK_TOO_MANY", "more files than are scanned for viruses")
        room -= len(json.dumps(one)) + 2
        if room < 0:
            work.found(work.root, "UNPACK_TOO_MANY", "more files than can be told of")
            break
        told.append(one)
    if told:  # what was found of the whole meanwhile stands at its root
        told[0]["found"] = _found(work.root)
    return WithOctets({"files": [*told], "links": [*links]}, b"".join(sent))


def _facts(file: File) -> dict[str, Json]:
    return {
        "name": file.name,
        "kind": file.kind,
        "declared": file.declared,
        "size": file.size,
        "sha256": file.sha256 if file.claimed < 0 else "",
        "depth": file.depth,
        "via": file.via,
        "found": _found(file),
    }


def _found(file: File) -> list[Json]:
    return [[symbol, evidence] for symbol, evidence in file.found]
