"""The blob store: all or nothing, durable, and safe against ids and disks that misbehave."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailguard.core.errors import NotFoundError, UnavailableError
from mailguard.core.ids import new_message_id
from mailguard.store.blobs import CHUNK, FileBlobStore, FileOps

ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


class Recording(FileOps):
    """Notes each call; fails the one named `fail`."""

    def __init__(self, fail: str = "", error: int = errno.ENOSPC) -> None:
        self.calls: list[str] = []
        self._fail = fail
        self._error = error

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call == self._fail:
            raise OSError(self._error, os.strerror(self._error))

    def create(self, path: Path) -> int:
        self._note("create")
        return super().create(path)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        self._note("write")
        return super().write(descriptor, data[:1000])

    def sync(self, descriptor: int) -> None:
        self._note("sync")
        super().sync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        self._note("rename")
        super().rename(source, target)

    def sync_directory(self, path: Path) -> None:
        self._note("sync_directory")
        super().sync_directory(path)

    def make_directory(self, path: Path) -> None:
        self._note("make_directory")
        super().make_directory(path)


def files_in(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_what_was_put_is_got(blobs: FileBlobStore) -> None:
    content = os.urandom(CHUNK + 100)
    blobs.put(ID, [content[:10], b"", content[10:]])
    assert blobs.get(ID) == content
    assert [len(chunk) for chunk in blobs.stream(ID)] == [CHUNK, 100]
    assert blobs.size(ID) == len(content)
    assert blobs.exists(ID)
    assert list(blobs.ids()) == [ID]


def test_put_again_replaces_and_delete_removes(blobs: FileBlobStore) -> None:
    blobs.put(ID, [b"one"])
    blobs.put(ID, [b"two"])
    assert blobs.get(ID) == b"two"
    assert blobs.delete(ID)
    assert not blobs.delete(ID)
    assert not blobs.exists(ID)
    assert list(blobs.ids()) == []


def test_what_is_not_there(blobs: FileBlobStore) -> None:
    assert list(blobs.ids()) == []
    for read in (blobs.get, blobs.size, lambda blob: next(blobs.stream(blob))):
        with pytest.raises(NotFoundError, match="not kept"):
            read(ID)


@pytest.mark.parametrize("blob_id", ["../../etc/passwd", "", "a/b", ID.lower(), ID + "-1", "\0" * 26])
def test_an_id_is_never_a_path(blobs: FileBlobStore, tmp_path: Path, blob_id: str) -> None:
    with pytest.raises(NotFoundError):
        blobs.put(blob_id, [b"x"])
    with pytest.raises(NotFoundError):
        blobs.get(blob_id)
    with pytest.raises(NotFoundError):
        blobs.delete(blob_id)
    assert not blobs.exists(blob_id)
    assert files_in(tmp_path) == []


def test_the_order_that_makes_it_durable(tmp_path: Path) -> None:
    files = Recording()
    blobs = FileBlobStore(tmp_path / "blobs", files=files)
    blobs.put(ID, [b"x" * 2500])
    prepared = ["make_directory", "sync_directory"]
    written = ["create", "write", "write", "write", "sync", "rename", "sync_directory"]
    assert files.calls == [*prepared, *prepared, *written]
    files.calls.clear()
    blobs.put(ID, [b"x"])
    assert files.calls == ["create", "write", "sync", "rename", "sync_directory"]


@pytest.mark.parametrize("fail", ["make_directory", "create", "write", "sync", "rename"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_failing_disk_leaves_what_was_there(tmp_path: Path, fail: str, error: int) -> None:
    root = tmp_path / "blobs"
    FileBlobStore(root).put(ID, [b"before"])
    with pytest.raises(UnavailableError, match="message storage unavailable"):
        FileBlobStore(root, files=Recording(fail, error)).put(ID, [b"after"])
    assert FileBlobStore(root).get(ID) == b"before"
    assert len(files_in(root)) == 1


def test_a_directory_that_cannot_be_synced_is_not_durable(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError):
        FileBlobStore(tmp_path / "blobs", files=Recording("sync_directory")).put(ID, [b"x"])


def test_a_source_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError("the source")

    with pytest.raises(RuntimeError, match="the source"):
        FileBlobStore(tmp_path / "blobs").put(ID, chunks())
    assert files_in(tmp_path) == []


def test_only_our_user_can_read_them(blobs: FileBlobStore, tmp_path: Path) -> None:
    blobs.put(ID, [b"x"])
    [path] = files_in(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_directories_that_were_removed_meanwhile_are_made_again(tmp_path: Path) -> None:
    blobs = FileBlobStore(tmp_path / "blobs")
    blobs.put(ID, [b"x"])
    [path] = files_in(tmp_path)
    path.unlink()
    path.parent.rmdir()
    with pytest.raises(UnavailableError):
        blobs.put(ID, [b"x"])
    blobs.put(ID, [b"x"])
    assert blobs.get(ID) == b"x"


def test_what_a_crash_left_half_written_is_cleaned_up(blobs: FileBlobStore, tmp_path: Path) -> None:
    blobs.put(ID, [b"x"])
    old, new = (tmp_path / "blobs" / "tmp" / f"{new_message_id()}.{end}" for end in ("old", "new"))
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    hour_ago = time.time() - 3601
    os.utime(old, (hour_ago, hour_ago))
    assert blobs.clean_up() == 1
    assert not old.exists()
    assert new.exists()
    assert list(blobs.ids()) == [ID]
