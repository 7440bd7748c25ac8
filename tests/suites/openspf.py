"""Reads the OpenSPF suites (YAML) into cases over a Zone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mailguard.net.dns import Zone


@dataclass(frozen=True, slots=True)
class Case:
    """One test: who connects, the results allowed, the explanation expected (None: any), and the DNS it happens in."""

    section: str
    name: str
    ip: str
    helo: str
    mail_from: str
    results: tuple[str, ...]
    explanation: str | None
    zone: Zone

    def __str__(self) -> str:
        return f"{self.section}/{self.name}"


def cases(path: Path) -> Iterator[Case]:
    """Every case of a suite file."""
    for section in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        if not section:
            continue
        zone = _zone(section.get("zonedata") or {})
        for name, test in section["tests"].items():
            results = test["result"]
            yield Case(
                section=section.get("description") or section.get("comment", "").strip(),
                name=name,
                ip=str(test["host"]),
                helo=test.get("helo", ""),
                mail_from=test.get("mailfrom", ""),
                results=tuple(results) if isinstance(results, list) else (results,),
                explanation=test.get("explanation"),
                zone=zone,
            )


def _zone(zonedata: dict[str, list[Any]]) -> Zone:
    """The suite's form into ours: SPF records (type 99) count as TXT too unless the name has TXT records of its own."""
    zone: dict[str, dict[str, Any]] = {}
    for name, records in zonedata.items():
        types: dict[str, Any] = {}
        for record in records:
            if record in ("TIMEOUT", {"TIMEOUT": True}):
                types["*"] = "TIMEOUT"
                continue
            for rdtype, value in record.items():
                if value == "TIMEOUT":
                    types[rdtype] = "TIMEOUT"
                elif value != "NONE":
                    types.setdefault(rdtype, []).append(value)
                else:
                    types.setdefault(rdtype, [])
        if "SPF" in types and "TXT" not in types:
            types["TXT"] = types["SPF"]
        types.pop("SPF", None)
        if "*" in types:  # whatever the name does not have times out
            types = {rdtype: value for rdtype, value in types.items() if value}
        zone[str(name)] = types
    return zone
