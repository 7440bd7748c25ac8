"""Each bomb ends as a symbol, within 2 s of CPU and 300 MB in the processes that look into it; the relay's command ends with one too."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests import bombs
from tests.conftest import ROOT
from tests.e2e.mails import with_attachment
from tests.servers.clamd import Clamd
from tests.servers.relay import MAILGUARD, Relay

CPU = 2.0
"""Seconds, of all processes together."""
MEMORY = 300_000_000 // 1024
"""KiB that a process of the sandbox holds at most."""
GROWTH = 128 * 1024
"""KiB by which the process that judges may grow: what it has without mail (some 140 MiB) and this are below MEMORY."""
STALL = 0.1
"""CPU seconds for which the event loop may do nothing for other mail; twenty times less is usual."""
COMMAND_CPU = 6.0
"""Seconds that the command may take, most of which it takes to start."""

_MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)
sys.exit(code)
"""
"""Runs a command from a small process: the peak of one started by the tests' own would be theirs, which it was forked from."""

SYMBOL_OF: Mapping[str, str] = {
    "nested_zips": "UNPACK_BOMB",
    "flat_zip": "UNPACK_BOMB",
    "overlapping_zip": "ARCHIVE_OVERLAPS",
    "many_members": "UNPACK_TOO_MANY",
    "nested_gzip": "UNPACK_TOO_DEEP",
    "gzip_of_zeros": "UNPACK_BOMB",
    "billion_laughs_docx": "UNPACK_BOMB",
    "billion_laughs_svg": "SVG_SWELLS",
    "pdf_of_many_objects": "PDF_MANY_OBJECTS",
    "pdf_of_nested_arrays": "PDF_BROKEN",
    "pdf_stream_bomb": "SANDBOX_CRASH|SANDBOX_LIMIT",  # PDFium aborts when it is given no memory
    "vast_picture": "QR_PICTURE_TOO_LARGE",
    "nested_tags": "ATTACHMENT_HTML",
    "hostile_script": "PAGE_ENCODED",
    "hostile_rtf": "RTF_OBFUSCATED",
    "nested_base64": "UNPACK_TOO_DEEP",
    "nested_in_itself": "UNPACK_TOO_DEEP",
    "gzip_of_itself": "ARCHIVE_ITSELF",
    "million_entries": "ARCHIVE_OVERLAPS|SANDBOX_LIMIT",
    "hostile_patterns": "RTF_OBFUSCATED",
    "one_of_each": "UNPACK_BOMB",
    "many_bombs": "UNPACK_TOO_MANY",
    "slow_files": "SANDBOX_LIMIT",
    "many_parts": "MIME_TOO_COMPLEX",
    "many_headers": "MIME_TOO_COMPLEX",
    "nested_multiparts": "MIME_TOO_COMPLEX",
    "nested_messages": "MIME_TOO_COMPLEX",
    "nested_tags_mail": "HTML_TOO_COMPLEX",
}
"""What each is told by; the others (long lines, pictures just within the limits) are read to their end, and nothing is wrong with them."""
OF_SEVERAL = {"vast_pictures": 2, "slow_files": 2}
"""Mails of many files, and how many of these may each take CPU."""


@pytest.fixture(scope="module")
def taken(clamd: Clamd) -> Mapping[str, Mapping[str, Any]]:
    """What each bomb took, and was told by, in one process for all."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bomb_runner", clamd.address],
        check=True,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        timeout=600,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"{")]
    return {line["name"]: line for line in lines}


@pytest.mark.parametrize("name", [*bombs.FILES, *bombs.MAILS])
def test_a_bomb_ends_as_a_symbol_within_its_limits(taken: Mapping[str, Mapping[str, Any]], name: str) -> None:
    one = taken[name]
    assert one["cpu"] <= CPU * OF_SEVERAL.get(name, 1) + 0.2, one
    assert one["peak"] <= MEMORY, one
    assert one["grown"] <= GROWTH, one
    assert one["stall"] <= STALL, one
    assert one["failed"] == []
    if expected := SYMBOL_OF.get(name):
        assert set(expected.split("|")) & {*one["symbols"]}, one
    else:
        assert not [symbol for symbol in one["symbols"] if symbol.startswith(("UNPACK_", "SANDBOX_", "ARCHIVE_"))]


def test_an_ordinary_archive_is_told_from_them(taken: Mapping[str, Mapping[str, Any]]) -> None:
    of_files = ("UNPACK_", "SANDBOX_", "ARCHIVE_", "ATTACHMENT_", "MIME_", "HTML_")
    assert not [symbol for symbol in taken["small_zip"]["symbols"] if symbol.startswith(of_files)]
    assert taken["small_zip"]["cpu"] <= 0.5


def test_the_command_ends_too(shared_relay: Relay, tmp_path: Path) -> None:
    file = tmp_path / "bomb.eml"
    title, raw = bombs.nested_zips()
    file.write_bytes(with_attachment(raw, title))
    command = [str(MAILGUARD), "--config", str(shared_relay.config), "scan", "--json", str(file)]
    done = subprocess.run([sys.executable, "-c", _MEASURED, *command], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert "UNPACK_BOMB" in {symbol["name"] for symbol in json.loads(done.stdout)["symbols"]}
    cpu, peak = done.stderr.split()[-2:]
    assert float(cpu) <= COMMAND_CPU
    assert int(peak) <= MEMORY
