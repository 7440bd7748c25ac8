"""How the tree of a mail's files is shown."""

from __future__ import annotations

import pytest

from mailguard.cli.files_shown import SHOWN, file_json, print_files, tree_lines
from mailguard.core.verdict import Attachment

DIGEST = "0123456789abcdef" * 4
OUTER = Attachment("a.zip", "application/zip", "application/zip", 1234, DIGEST, 0, ("ARCHIVE_PASSWORD",))
INNER = Attachment("a.zip/b/c.zip", "", "application/zip", 500, DIGEST, 1)
DEEP = Attachment("a.zip/b/c.zip/x.exe", "", "application/x-dosexec", 60, DIGEST, 2, ("A", "B"))
LOCKED = Attachment("a.zip/secret", "", "", 7, "", 1)


def test_files_stand_below_what_they_lie_in() -> None:
    assert [*tree_lines([OUTER, INNER, DEEP, LOCKED])] == [
        "a.zip: application/zip, 1,234 octets, SHA-256 0123456789ab; ARCHIVE_PASSWORD",
        "  b/c.zip: application/zip, 500 octets, SHA-256 0123456789ab",
        "    x.exe: application/x-dosexec, 60 octets, SHA-256 0123456789ab; A, B",
        "  secret: type unknown, 7 octets, content not seen",
    ]


def test_hashes_in_full() -> None:
    (line,) = tree_lines([OUTER], whole=True)
    assert f"SHA-256 {DIGEST};" in line
    assert file_json(DEEP) == {
        "name": "a.zip/b/c.zip/x.exe",
        "declared_type": "",
        "true_type": "application/x-dosexec",
        "size": 60,
        "sha256": DIGEST,
        "depth": 2,
        "found": ["A", "B"],
    }


def test_names_are_hostile(capsys: pytest.CaptureFixture[str]) -> None:
    print_files([Attachment("\x1b[2J\nevil\u202e" + "n" * 500, "\x07", "", 1, DIGEST)])
    (_, line) = capsys.readouterr().out.splitlines()
    assert line.startswith("    [2J evilnnn")
    assert len(line) < 200
    assert line.isprintable()


def test_many_are_cut_unless_all_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    print_files([OUTER] * (SHOWN + 3))
    assert capsys.readouterr().out.splitlines()[-1] == "    and 3 more"
    print_files([OUTER] * (SHOWN + 3), whole=True)
    assert len(capsys.readouterr().out.splitlines()) == SHOWN + 4


def test_what_an_older_release_recorded_is_shown_by_its_path() -> None:
    assert [line.partition(":")[0] for line in tree_lines([OUTER, Attachment("a.zip/b", "", "", 1, "")])] == [
        "a.zip",
        "a.zip/b",
    ]
    assert [line.partition(":")[0] for line in tree_lines([DEEP])] == ["    a.zip/b/c.zip/x.exe"]
