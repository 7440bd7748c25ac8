"""Known bad hashes: lists are read with every error at its line; files on them are malware, wherever they lie."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.checks.hashes import HashesCheck, KnownFiles
from mailguard.checks.hashes_file import PROBLEMS, HashesFiles, load_hashes
from mailguard.core.errors import ConfigError
from mailguard.core.verdict import Attachment, CheckResult
from tests.servers.clamd import EICAR

HEAD = "# source: our own\n# date: 2026-11-01\n"
A, B = hashlib.sha256(b"a").hexdigest(), hashlib.sha256(b"b").hexdigest()


def known(directory: Path, **lists: str) -> KnownFiles:
    for name, text in lists.items():
        (directory / f"{name}.txt").write_text(text, encoding="utf-8", newline="")
    return load_hashes(directory)


def test_a_hash_is_found_with_name_list_source_and_date(tmp_path: Path) -> None:
    files = known(tmp_path, one=f"{HEAD}\n{A}  Trojan.A\n# between\n{B.upper()}\r\n", two=f"{HEAD}{A}  Other\n")
    assert len(files) == 2
    one, other = files.find(A), files.find(B)
    assert one and (one.name, one.list, one.source, one.date) == ("Trojan.A", "one.txt", "our own", "2026-11-01")
    assert other and other.name == "one"  # the list's name, when it gives none
    assert files.find(hashlib.sha256(b"c").hexdigest()) is None
    assert files.find("") is None
    assert files.find("no hash") is None
    assert load_hashes(tmp_path / "nowhere").find(A) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"{A}  X\n", "l.txt:1: `# source: …` must stand"),
        (f"# source: x\n# date: yesterday\n{A}  X\n", "l.txt:3: `# date: YYYY-MM-DD`"),
        (f"{HEAD}{A[:-1]}  X\n", "l.txt:3: is no line"),
        (f"{HEAD}{A}0  X\n", "l.txt:3: is no line"),
        (f"{HEAD}{A}  {'x' * 101}\n", "l.txt:3: is no line"),
        (f"{HEAD}{A}  a\x1b[2J\n", "l.txt:3: is no line"),
        (f"{HEAD}\x00\n", "l.txt:3: is no line"),
        (f"{HEAD}d41d8cd98f00b204e9800998ecf8427e  md5\n", "l.txt:3: is no line"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        known(tmp_path, l=text)
    assert str(caught.value.problems[0]).startswith(problem)


def test_a_list_of_nothing_but_errors_tells_the_first(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        known(tmp_path, l=HEAD + "nonsense\n" * 1_000)
    assert len(caught.value.problems) == PROBLEMS


def test_a_list_in_another_encoding_is_told(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_bytes(b"# source: \xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_hashes(tmp_path)


def test_a_broken_list_keeps_the_last_good_ones(tmp_path: Path) -> None:
    known(tmp_path, l=f"{HEAD}{A}\n")
    files = HashesFiles(tmp_path)
    files.load()
    (tmp_path / "l.txt").write_text("nonsense")
    assert [one.where for one in files.reload()] == ["hashes/l.txt:1"]
    assert files.current.find(A) is not None


@settings(deadline=None, max_examples=50)
@given(st.lists(st.binary(min_size=32, max_size=32), max_size=60), st.binary(min_size=32, max_size=32))
def test_what_was_listed_is_found_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, listed: list[bytes], other: bytes
) -> None:
    files = known(
        tmp_path_factory.mktemp("lists"), l=HEAD + "".join(f"{one.hex()}  n{i}\n" for i, one in enumerate(listed))
    )
    assert len(files) == len(set(listed))
    for one in listed:
        found = files.find(one.hex())
        assert found and found.name == f"n{listed.index(one)}"
    assert (files.find(other.hex()) is not None) == (other in listed)


async def test_a_listed_file_is_malware_also_within_others(tmp_path: Path) -> None:
    files = known(tmp_path, l=f"{HEAD}{A}  Trojan.A\n")
    check = HashesCheck(lambda: files)
    inner = Attachment("a.zip/b.exe", "", "", 1, A, 1)
    outer = Attachment("a.zip", "", "", 9, B)
    results = {
        "attachments": CheckResult("attachments", attachments=(outer,)),
        "unpack": CheckResult("unpack", attachments=(inner,)),
    }
    found = await check.run(None, results)  # type: ignore[arg-type]
    assert found.malware == ("KnownBad.Trojan.A",)
    assert [(one.name, one.evidence) for one in found.symbols] == [
        ("KNOWN_BAD_FILE", ("a.zip/b.exe: Trojan.A (l.txt)",))
    ]
    clean = await check.run(None, {"attachments": results["attachments"]})  # type: ignore[arg-type]
    assert not clean.malware
    assert not clean.symbols


def test_the_shipped_list_names_a_test_file_and_leaves_eicar_to_the_scanner() -> None:
    files = load_hashes(Path(__file__).parents[3] / "policies" / "hashes")
    line = b"This file is harmless. MailGuard's list of known bad files names it, so that lists can be tried."
    for ending in (b"", b"\n", b"\r\n"):
        one = files.find(hashlib.sha256(line + ending).hexdigest())
        assert one and one.name == "Test-File"
    assert files.find(hashlib.sha256(EICAR).hexdigest()) is None
