"""Kept results of slow work: handed out for their key alone, whole, and only when nobody else can have written them."""

from __future__ import annotations

import hashlib
import os
from hashlib import sha256
from pathlib import Path

import pytest

from mailguard.ops import derived
from mailguard.ops.derived import DerivedFiles, NotTrustedError

KEY, OTHER = sha256(b"key").digest(), sha256(b"other").digest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    DerivedFiles(tmp_path / "cache").put("words", KEY, b"the value")
    return tmp_path / "cache"


def test_a_value_comes_back_for_its_key_alone(folder: Path) -> None:
    files = DerivedFiles(folder)
    assert files.get("words", KEY) == b"the value"
    assert files.get("words", OTHER) is None
    assert files.get("numbers", KEY) is None
    files.put("words", OTHER, b"")
    assert files.get("words", OTHER) == b""
    assert files.get("words", KEY) is None
    assert [path.name for path in folder.iterdir()] == ["words"]


def test_nothing_is_there_before_the_first_is_kept(tmp_path: Path) -> None:
    assert DerivedFiles(tmp_path / "cache").get("words", KEY) is None
    assert not list(tmp_path.iterdir())


def test_nobody_else_may_look_in(folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "words").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("at", [0, 25, 60, 90])
def test_a_changed_octet_is_noticed_wherever_it_stands(folder: Path, at: int) -> None:
    octets = bytearray((folder / "words").read_bytes())
    octets[at] ^= 1
    (folder / "words").write_bytes(octets)
    if 20 <= at < 52:  # in the key: then it is another's
        assert DerivedFiles(folder).get("words", KEY) is None
    else:
        with pytest.raises(NotTrustedError, match="damaged"):
            DerivedFiles(folder).get("words", KEY)


@pytest.mark.parametrize("length", [0, 1, 19, 20, 84, 92])
def test_a_file_that_was_cut_short_is_noticed(folder: Path, length: int) -> None:
    os.truncate(folder / "words", length)
    with pytest.raises(NotTrustedError, match="damaged"):
        DerivedFiles(folder).get("words", KEY)


def test_a_file_that_others_may_write_is_not_used(folder: Path) -> None:
    (folder / "words").chmod(0o620)
    with pytest.raises(NotTrustedError, match="the file can be written by others"):
        DerivedFiles(folder).get("words", KEY)


def test_a_folder_that_others_may_write_is_not_used(folder: Path) -> None:
    folder.chmod(0o702)
    with pytest.raises(NotTrustedError, match="the folder can be written by others"):
        DerivedFiles(folder).get("words", KEY)
    with pytest.raises(NotTrustedError, match="the folder can be written by others"):
        DerivedFiles(folder).put("words", KEY, b"more")


def test_what_belongs_to_another_user_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derived.os, "geteuid", lambda: folder.stat().st_uid + 1)
    for use in (lambda: DerivedFiles(folder).get("words", KEY), lambda: DerivedFiles(folder).put("words", KEY, b"")):
        with pytest.raises(NotTrustedError, match=f"belongs to user {folder.stat().st_uid}, not to us"):
            use()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_in_our_folder_is_not_used_and_replaced(folder: Path) -> None:
    os.chown(folder / "words", 4711, -1)
    files = DerivedFiles(folder)
    with pytest.raises(NotTrustedError, match="the file belongs to user 4711, not to us"):
        files.get("words", KEY)
    files.put("words", KEY, b"ours")
    assert files.get("words", KEY) == b"ours"


def test_links_and_pipes_are_not_followed(folder: Path) -> None:
    (folder / "words").rename(folder / "elsewhere")
    (folder / "link").symlink_to(folder / "elsewhere")
    os.mkfifo(folder / "pipe")
    with pytest.raises(NotTrustedError, match="cannot be read"):
        DerivedFiles(folder).get("link", KEY)
    with pytest.raises(NotTrustedError, match="the file is something else"):
        DerivedFiles(folder).get("pipe", KEY)
    folder.with_name("other").symlink_to(folder)
    with pytest.raises(NotTrustedError, match="the folder is something else"):
        DerivedFiles(folder.with_name("other")).get("elsewhere", KEY)


def test_what_cannot_be_kept_leaves_the_old_and_no_scratch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derived, "SIZE_LIMIT", 10)
    with pytest.raises(OSError, match="too large"):
        DerivedFiles(folder).put("words", OTHER, b"more than ten")
    monkeypatch.setattr(derived.os, "fdopen", full_disk)
    with pytest.raises(OSError, match="No space left"):
        DerivedFiles(folder).put("words", OTHER, b"short")
    monkeypatch.undo()
    assert DerivedFiles(folder).get("words", KEY) == b"the value"
    assert [path.name for path in folder.iterdir()] == ["words"]


def full_disk(descriptor: int, mode: str) -> None:
    os.close(descriptor)
    raise OSError(28, os.strerror(28))


def test_a_lock_is_one_s_until_all_who_have_it_close_it(tmp_path: Path) -> None:
    files = DerivedFiles(tmp_path / "cache")
    lock = files.lock("words")
    assert lock is not None
    handed_on = os.dup(lock)
    assert files.lock("words") is None
    os.close(lock)
    assert files.lock("words") is None
    os.close(handed_on)
    again = files.lock("words")
    assert again is not None
    os.close(again)


def test_a_lock_that_others_may_hold_is_none(folder: Path) -> None:
    (folder / ".words-lock").touch()
    (folder / ".words-lock").chmod(0o666)
    with pytest.raises(NotTrustedError, match="the lock can be written by others"):
        DerivedFiles(folder).lock("words")
    folder.chmod(0o777)
    with pytest.raises(NotTrustedError, match="the folder can be written by others"):
        DerivedFiles(folder).lock("words")


def test_a_large_value_of_another_key_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashlib, "sha256", lambda _: pytest.fail("it was read"))
    assert DerivedFiles(folder).get("words", OTHER) is None
