"""Every sample document that carries macros, DDE, programs, objects or encryption gets its symbols, in a real sandbox.

The table here is that of docs/checks/unpack.md (`what the known samples get`).
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailguard.checks.unpack_symbols import SYMBOLS
from mailguard.sandbox.pool import Pool
from mailguard.sandbox.process import Order
from mailguard.sandbox.values import Limits, Outcome

pytestmark = pytest.mark.corpora

PASSWORD = "infected-test"
"""With which oletools keeps some of its samples from virus scanners."""
GRAVE = 2.0
"""Points from which on a symbol must not be had by a sample without harm."""

EXPECTED: dict[str, tuple[str, ...]] = {
    "basic/encrypted.docx": ("OFFICE_ENCRYPTED",),
    "encrypted/encrypted.*": ("OFFICE_ENCRYPTED",),
    "encrypted/autostart-encrypt-standardpassword.*": ("OFFICE_PASSWORD", "OFFICE_MACRO", "OFFICE_MACRO_AUTOEXEC"),
    "encrypted/dde-test-encrypt-standardpassword.*": ("OFFICE_PASSWORD", "OFFICE_DDE_RUNS"),
    "excel4-macros/*": ("OFFICE_XLM", "OFFICE_MACRO_AUTOEXEC"),
    "msodde/dde-*": ("OFFICE_DDE_RUNS",),
    "ooxml/dde-*": ("OFFICE_DDE_RUNS",),
    "oleform/*": ("OFFICE_MACRO",),
    "olevba/*": ("OFFICE_MACRO",),
    "oleobj/embedded-*": ("OFFICE_EMBEDDED",),
    "oleobj/external_link/*": ("OFFICE_REMOTE_OBJECT",),
    "oleobj/sample_with_calc_embedded.doc": ("OFFICE_EMBEDDED_PROGRAM",),
    "oleobj/sample_with_lnk_file.*": ("OFFICE_EMBEDDED_PROGRAM", "SHORTCUT"),
    "oleobj/sample_with_lnk_to_calc.doc": ("OFFICE_LINKED_PROGRAM",),
    "rtfobj/issue_185.rtf.zip": ("RTF_OBFUSCATED", "RTF_OBJECT_UPDATE"),
    "rtfobj/issue_251.rtf": ("RTF_EXPLOIT_SHAPE", "RTF_OBFUSCATED", "RTF_OBJECT_UPDATE"),
    "clamav-testfiles/clam.exe.rtf": ("OFFICE_EMBEDDED_PROGRAM",),
    "clamav-testfiles/clam.ole.doc": ("OFFICE_EMBEDDED_PROGRAM",),
    "clamav-testfiles/clam.ppt": ("OFFICE_EMBEDDED_PROGRAM",),
}
"""By folder and name: the symbols that each must get, at the least."""
HARMLESS = ("msodde/harmless-*", "ooxml/harmless-*", "msodde/RTF-Spec-1.7.rtf", "other/*", "basic/text")


def _content(path: Path) -> tuple[str, bytes]:
    """What a sample is, without the archive that keeps it from virus scanners."""
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            name = archive.namelist()[0]
            return name, archive.read(name, PASSWORD.encode())
    return path.name, path.read_bytes()


def _samples(root: Path, pattern: str) -> Iterator[Path]:
    base = root if pattern.startswith("clamav") else root / "oletools" / "tests" / "test-data"
    paths = [path for path in sorted(base.glob(pattern)) if path.is_file()]
    assert paths, pattern
    yield from paths


async def _symbols(pool: Pool, path: Path) -> set[str]:
    name, raw = _content(path)
    answer = await pool.run("unpack.tree", raw, {"name": name, "declared": "", "passwords": [PASSWORD]})
    assert answer.outcome is Outcome.OK, (path, answer)
    assert isinstance(answer.value, dict)
    files = answer.value["files"]
    assert isinstance(files, list)
    found = {str(one[0]) for file in files for one in file["found"]}  # type: ignore[index, union-attr, call-overload]
    assert found <= SYMBOLS.keys(), path
    return found


async def test_each_sample_gets_its_symbols(corpora: Callable[[str], Path]) -> None:
    root = corpora("attach_samples")
    pool = Pool(Order(limits=Limits(seconds=60, cpu_seconds=20)), size=1, wait=60.0)
    missing = []
    count = 0
    try:
        for pattern, expected in EXPECTED.items():
            for path in _samples(root, pattern):
                count += 1
                found = await _symbols(pool, path)
                if lacking := set(expected) - found:
                    missing.append((path.name, lacking, found))
        for pattern in HARMLESS:
            for path in _samples(root, pattern):
                grave = {name for name in await _symbols(pool, path) if SYMBOLS[name][0] >= GRAVE}
                assert not grave, path
    finally:
        await pool.close()
    assert not missing
    assert count > 90
