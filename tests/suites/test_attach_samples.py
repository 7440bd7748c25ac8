"""Every sample file that carries macros, DDE, programs, objects, encryption or EICAR gets its symbols, from the checks that look into
files as the relay runs them.

The table here is that of docs/checks/unpack.md (`what the known samples get`).
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailguard.app.filter import Filter
from mailguard.core.verdict import CheckStatus, Symbol
from tests.conftest import ROOT
from tests.e2e.mails import with_attachment
from tests.looking import build, judged
from tests.servers.clamd import installed, private_clamd

PASSWORD = "infected-test"
"""With which oletools keeps some of its samples from virus scanners."""
GRAVE = 2.0
"""Points from which on a symbol must not be had by a sample without harm."""

EXPECTED: dict[str, tuple[str, ...]] = {
    "basic/encrypted.docx": ("OFFICE_ENCRYPTED",),
    "encrypted/encrypted.*": ("OFFICE_PASSWORD",),
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
    **{
        f"clamav-testfiles/{name}": ("ATTACHMENT_ARCHIVED_EXECUTABLE", "OFFICE_EMBEDDED_PROGRAM")
        for name in ("clam.exe.rtf", "clam.ole.doc", "clam.ppt")
    },
    "clamav-testfiles/*.exe": ("ATTACHMENT_EXECUTABLE",),
    "clamav-testfiles/clam_IScab_*.exe": ("ATTACHMENT_ARCHIVED_EXECUTABLE",),
    "clamav-testfiles/clam.exe.mbox.*": ("ATTACHMENT_EXECUTABLE",),
    "clamav-testfiles/clam.mail": ("ATTACHMENT_EXECUTABLE",),
    "clamav-testfiles/clam.exe.b*": ("ATTACHMENT_ARCHIVED_EXECUTABLE",),
    "clamav-testfiles/clam.exe.binhex": ("UNPACK_ENCODED_EXECUTABLE",),
    "clamav-testfiles/clam.exe.html": ("ATTACHMENT_ARCHIVED_EXECUTABLE", "PAGE_HIDES_FILE"),
    "clamav-testfiles/*.cpio": ("ATTACHMENT_ARCHIVED_EXECUTABLE", "ARCHIVE_UNUSUAL"),
    "clamav-testfiles/*.zip": ("ATTACHMENT_ARCHIVED_EXECUTABLE",),
    "clamav-testfiles/clam.impl.zip": ("ARCHIVE_UNOPENED",),
    **{
        f"clamav-testfiles/clam.{suffix}": ("ATTACHMENT_ARCHIVED_EXECUTABLE",)
        for suffix in ("7z", "arj", "cab", "pdf", "tar.gz", "tnef")
    },
    **{f"clamav-testfiles/clam.{suffix}": ("ARCHIVE_UNOPENED",) for suffix in ("chm", "exe.szdd", "sis")},
    "clamav-testfiles/clam_cache_emax.tgz": ("UNPACK_TOO_DEEP",),
    "eicar/eicar*": ("CLAMAV_FOUND",),
    "eicar/eicar_nested10.zip": ("UNPACK_TOO_DEEP",),
    "eicar/mail_0*.eml": ("CLAMAV_FOUND",),
    "eicar/mail_1[012]*.eml": ("CLAMAV_FOUND",),
    "eicar/mail_13_inline_body.eml": ("CLAMAV_FOUND",),
    "mimedefang/t/data/exe.eml": ("ATTACHMENT_EXECUTABLE",),
    "mimedefang/t/data/t*.eml": ("ATTACHMENT_ARCHIVED_EXECUTABLE",),
}
"""By folder and name: the symbols that each must get, at the least. A sample gets those of all rows that fit."""
HARMLESS = (
    *("msodde/harmless-*", "ooxml/harmless-*", "msodde/RTF-Spec-1.7.rtf", "other/*", "basic/text"),
    "eicar/mail_99_clean.eml",
    *(f"mimedefang/t/data/{name}.eml" for name in ("arc*", "dkim*", "multipart", "spf1", "uri*", "zip")),
)
OWN = ("clamav-testfiles/", "eicar/", "mimedefang/")
"""Folders beside those of oletools."""


def _base(root: Path, pattern: str) -> Path:
    return root if pattern.startswith(OWN) else root / "oletools" / "tests" / "test-data"


def _samples(root: Path, pattern: str) -> Iterator[Path]:
    paths = [path for path in sorted(_base(root, pattern).glob(pattern)) if path.is_file()]
    assert paths, pattern
    yield from paths


def _mail(path: Path) -> bytes:
    """A mail with the sample, without the archive that keeps it from virus scanners; or the sample, if it is one."""
    if path.suffix in (".eml", ".mail") or ".mbox." in path.name:
        return path.read_bytes()
    name, raw = path.name, path.read_bytes()
    if path.suffix == ".zip" and "oletools" in path.parts:
        with zipfile.ZipFile(path) as archive:
            name = archive.namelist()[0]
            raw = archive.read(name, PASSWORD.encode())
    return with_attachment(raw, name, body=f"See the file. The password is: {PASSWORD}")


async def _symbols(made: Filter, path: Path) -> dict[str, Symbol]:
    results = await judged(made, _mail(path))
    assert all(one.status is CheckStatus.OK for one in results.values()), (path, results)
    return {symbol.name: symbol for one in results.values() for symbol in one.symbols}


@pytest.mark.corpora
async def test_each_sample_gets_its_symbols(corpora: Callable[[str], Path], tmp_path: Path) -> None:
    root = corpora("attach_samples")
    if not installed():
        pytest.fail("clamd is not installed: `make test` installs what the tests need")
    expected: dict[Path, set[str]] = {}
    for pattern, names in EXPECTED.items():
        for path in _samples(root, pattern):
            expected.setdefault(path, set()).update(names)
    wrong: dict[str, object] = {}
    with private_clamd(tmp_path) as clamd:
        made = build(clamd)
        try:
            for path, names in expected.items():
                found = await _symbols(made, path)
                if lacking := names - found.keys():
                    wrong[path.name] = f"lacks {', '.join(lacking)}; has {', '.join(found)}"
            for path in (path for pattern in HARMLESS for path in _samples(root, pattern)):
                grave = [name for name, one in (await _symbols(made, path)).items() if one.score >= GRAVE]
                if grave:
                    wrong[path.name] = f"has {', '.join(grave)}"
        finally:
            await made.close()
    assert not wrong, "\n".join(f"{name}: {what}" for name, what in wrong.items())
    assert len(expected) > 150
    every = {path for folder in OWN[:2] for path in (root / folder).iterdir()}
    assert every - expected.keys() == {root / "eicar" / "mail_99_clean.eml"}


def test_the_documentation_has_this_table() -> None:
    text = (ROOT / "docs" / "checks" / "unpack.md").read_text()
    section = text.partition("## What the known samples get\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`|]+)` \| (.+?) \|$", section, re.MULTILINE)
    assert {pattern: tuple(re.findall(r"`(\w+)`", symbols)) for pattern, symbols in rows} == EXPECTED
