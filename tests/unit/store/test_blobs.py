"""The blob store: all or nothing, durable, and safe against ids and disks that misbehave."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailguard.core.errors import NotFoundError, StorageError, UnavailableError
from mailguard.core.ids import new_message_id
from mailguard.store.blobs import CHUNK, FileBlobStore, FileOps

ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


class Recording(FileOps):
    """Notes each call; fails those named `fail`, the first `after` of them apart."""

    def __init__(self, fail: str = "", error: int = errno.ENOSPC, *, after: int = 0) -> None:
        self.calls: list[str] = []
        self._fail = fail
        self._error = error
        self._after = after

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call == self._fail and self.calls.count(call) > self._after:
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

    def close(self, descriptor: int) -> None:
        super().close(descriptor)
        self._note("close")

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
    written = ["create", "write", "write", "write", "sync", "close", "rename", "sync_directory"]
    assert files.calls == [*prepared, *prepared, *written]
    files.calls.clear()
    blobs.put(ID, [b"x"])
    assert files.calls == ["create", "write", "sync", "close", "rename", "sync_directory"]


FAILURES = [
    ("make_directory", errno.ENOSPC, 0),
    ("create", errno.ENOSPC, 0),
    ("create", errno.EIO, 0),
    ("write", errno.ENOSPC, 0),
    ("write", errno.ENOSPC, 2),  # some of it was written, less than asked each time
    ("write", errno.EIO, 0),
    ("sync", errno.EIO, 0),
    ("sync", errno.ENOSPC, 0),
    ("close", errno.EIO, 0),
    ("rename", errno.ENOSPC, 0),
    ("rename", errno.EIO, 0),
    ("sync_directory", errno.EIO, 0),  # while directories are prepared
    ("sync_directory", errno.EIO, 2),  # after the rename: the name may not outlast a crash
]
"""The call that fails, its error, and how many of its calls succeed before."""
IDS = [f"{call}-{errno.errorcode[error]}-after-{after}" for call, error, after in FAILURES]


@pytest.mark.parametrize(("fail", "error", "after"), FAILURES, ids=IDS)
def test_a_failing_disk_leaves_nothing_and_the_next_put_succeeds(
    tmp_path: Path, fail: str, error: int, after: int
) -> None:
    root = tmp_path / "blobs"
    with pytest.raises(StorageError, match=f"message storage unavailable: .*{os.strerror(error)}"):
        FileBlobStore(root, files=Recording(fail, error, after=after)).put(ID, [b"x" * 2500])
    assert files_in(tmp_path) == []
    blobs = FileBlobStore(root)
    blobs.put(ID, [b"x" * 2500])
    assert blobs.get(ID) == b"x" * 2500


@pytest.mark.parametrize(("fail", "error", "after"), FAILURES, ids=IDS)
def test_a_failing_disk_leaves_what_was_there(tmp_path: Path, fail: str, error: int, after: int) -> None:
    root = tmp_path / "blobs"
    message = b"x" * 2500  # the same for an id always: a second recipient of one message comes to need it
    FileBlobStore(root).put(ID, [message])
    with pytest.raises(StorageError):
        FileBlobStore(root, files=Recording(fail, error, after=after)).put(ID, [message])
    assert FileBlobStore(root).get(ID) == message
    assert len(files_in(root)) == 1


def test_one_store_goes_on_once_its_disk_works_again(tmp_path: Path) -> None:
    files = Recording("sync")
    blobs = FileBlobStore(tmp_path / "blobs", files=files)
    for _ in range(3):
        with pytest.raises(StorageError):
            blobs.put(ID, [b"x"])
    files._fail = ""
    blobs.put(ID, [b"x"])
    assert (blobs.get(ID), len(files_in(tmp_path))) == (b"x", 1)


def test_a_disk_that_takes_nothing_is_an_error_and_no_endless_loop(tmp_path: Path) -> None:
    class Deaf(FileOps):
        def write(self, descriptor: int, data: bytes | memoryview) -> int:
            return 0

    with pytest.raises(StorageError, match="takes nothing"):
        FileBlobStore(tmp_path / "blobs", files=Deaf()).put(ID, [b"x"])
    assert files_in(tmp_path) == []


def test_what_cannot_be_removed_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = FileBlobStore(tmp_path / "blobs", files=Recording("sync", errno.EIO))

    def unlink(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", unlink)
        with pytest.raises(StorageError, match=os.strerror(errno.EIO)):
            blobs.put(ID, [b"x"])
    [left] = files_in(tmp_path)
    os.utime(left, (0, 0))
    assert (list(blobs.ids()), blobs.clean_up(), files_in(tmp_path)) == ([], 1, [])


@pytest.mark.parametrize("error", [errno.EIO, errno.EMFILE])
def test_a_disk_that_cannot_be_read_is_away_not_empty(
    blobs: FileBlobStore, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    blobs.put(ID, [b"x"])

    def failing(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(Path, "read_bytes", failing)
    monkeypatch.setattr(Path, "open", failing)
    monkeypatch.setattr(Path, "unlink", failing)
    monkeypatch.setattr(os, "listdir", failing)
    for use in (blobs.get, lambda blob: next(blobs.stream(blob)), blobs.delete, lambda _: list(blobs.ids())):
        with pytest.raises(StorageError, match=os.strerror(error)):
            use(ID)


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
