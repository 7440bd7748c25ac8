"""EICAR in every wrapping, in each within each, and five deep: found, or refused by a limit that is stated; never clean."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from mailguard.core.attachments import UNINSPECTABLE
from tests.dns_server import DnsServer
from tests.e2e.mails import with_attachment
from tests.further_wrappings import FURTHER
from tests.servers.clamd import EICAR, Clamd
from tests.servers.relay import Relay
from tests.wrappings import PASSWORD, WRAPPINGS, Named

Chain = tuple[str, ...]
DEEP = 60
"""Chains of three to five wrappings that are tried, chosen by a fixed seed."""
UNOPENED = UNINSPECTABLE | {"CLAMAV_ENCRYPTED", "CLAMAV_LIMIT"}
"""Symbols that say that a file was not looked into."""
ALL = {**WRAPPINGS, **FURTHER}


def deep() -> Iterator[Chain]:
    """The chains of three to five."""
    chosen = random.Random("wrappings")
    while True:
        yield tuple(chosen.choices([*WRAPPINGS], k=chosen.randint(3, 5)))


def chains() -> list[Chain]:
    """All that are tried: the innermost wrapping first."""
    every: dict[Chain, None] = dict.fromkeys((name,) for name in ALL)
    every |= dict.fromkeys(product(WRAPPINGS, repeat=2))
    for name in FURTHER:
        every |= {(name, "zip"): None, ("zip-aes", name): None, (name, "base64"): None, ("uuencode", name): None}
    count = len(every)
    for chain in deep():
        if len(every) == count + DEEP:
            break
        every[chain] = None
    return [*every]


@cache
def wrapped(chain: Chain) -> Named:
    """EICAR in the first wrapping, that in the second, and so on."""
    if not chain:
        return "eicar.com", EICAR
    name, raw = wrapped(chain[:-1])
    return ALL[chain[-1]](name[:40], raw)


@pytest.fixture(scope="module")
def scanning(tmp_path_factory: pytest.TempPathFactory, clamd: Clamd, dns_server: DnsServer) -> Relay:
    """A relay that is not started: `scan` needs none. It waits long for its sandbox, since tests share the processor."""
    patience = {"MAILGUARD_SANDBOX__WAIT": "60", "MAILGUARD_SANDBOX__TIME": "60"}
    return Relay(tmp_path_factory.mktemp("scanning"), clamd=clamd.address, dns=dns_server.address, environment=patience)


@pytest.fixture(scope="module")
def reports(scanning: Relay, tmp_path_factory: pytest.TempPathFactory) -> Mapping[Chain, dict[str, Any]]:
    """What `mailguard scan` says of a mail with each chain, which gives the password."""
    folder = tmp_path_factory.mktemp("wrapped")
    files = {}
    for number, chain in enumerate(chains()):
        name, raw = wrapped(chain)
        file = folder / f"{number}.eml"
        file.write_bytes(with_attachment(raw, name, body=f"See the file. The password is: {PASSWORD}"))
        files[str(file)] = chain
    lines = scanning.run("scan", "--json", *files).stdout.splitlines()
    return {files[report["path"]]: report for report in map(json.loads, lines)}


def symbols(report: Mapping[str, Any]) -> set[str]:
    """Their names."""
    return {symbol["name"] for symbol in report["symbols"]}


def test_no_chain_passes_as_clean(reports: Mapping[Chain, dict[str, Any]]) -> None:
    assert len(reports) == len(chains())
    missed = [
        " in ".join(chain)
        for chain, report in reports.items()
        if not report["malware"] and UNOPENED.isdisjoint(symbols(report))
    ]
    assert not missed, "passed as clean:\n" + "\n".join(missed)


def test_each_and_each_within_each_is_found(reports: Mapping[Chain, dict[str, Any]]) -> None:
    refused = {
        " in ".join(chain): symbols(report) & UNOPENED
        for chain, report in reports.items()
        if len(chain) <= 2 and not report["malware"]
    }
    assert refused == {}


def test_the_deeper_ones_are_found_too(reports: Mapping[Chain, dict[str, Any]]) -> None:
    deeper = [report for chain, report in reports.items() if len(chain) > 2]
    assert len(deeper) >= DEEP
    assert sum(bool(report["malware"]) for report in deeper) == len(deeper)


def test_a_password_that_nobody_gives_is_told(scanning: Relay, tmp_path: Path) -> None:
    files = {}
    for wrapping in ("zip-aes", "zip-classic", "7z-encrypted"):
        name, raw = wrapped((wrapping,))
        file = tmp_path / f"{wrapping}.eml"
        file.write_bytes(with_attachment(raw, name, body="See the file."))
        files[str(file)] = wrapping
    for report in map(json.loads, scanning.run("scan", "--json", *files).stdout.splitlines()):
        assert not report["malware"], files[report["path"]]
        assert "ARCHIVE_ENCRYPTED" in symbols(report)
