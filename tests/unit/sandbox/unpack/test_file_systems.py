"""Folders are walked within a bound and each once; chains of clusters end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mailguard.sandbox.unpack.file_systems import ENTRIES, Clusters, walk
from mailguard.sandbox.unpack.virtual_disks import Disk
from mailguard.sandbox.unpack.work import File, Work
from tests.unit.sandbox.unpack.taken import symbols


@dataclass(frozen=True)
class Entry:
    name: str
    is_folder: bool
    place: int


ROOT = Entry("", is_folder=True, place=0)


def walked(tree: dict[int, list[Entry]]) -> tuple[list[str], set[str]]:
    work = Work(File("a.img", b"", "application/x-vhd"))

    def entries(folder: Entry) -> Iterator[Entry]:
        return iter(tree[folder.place])

    paths = [path for path, _ in walk(ROOT, entries, work.root, work)]
    return paths, set(symbols(work.root))


def test_files_have_their_paths() -> None:
    tree = {0: [Entry("a", is_folder=True, place=1), Entry("b.txt", is_folder=False, place=2)]}
    tree[1] = [Entry("c.txt", is_folder=False, place=3)]
    assert walked(tree) == (["b.txt", "a/c.txt"], set())


def test_a_folder_that_holds_itself_or_the_root_is_read_once() -> None:
    tree = {0: [Entry("a", is_folder=True, place=1), Entry("again", is_folder=True, place=1)]}
    tree[1] = [Entry("a", is_folder=True, place=1), Entry("root", is_folder=True, place=0)]
    tree[1].append(Entry("file", is_folder=False, place=2))
    paths, found = walked(tree)
    assert [path.rpartition("/")[2] for path in paths] == ["file"]
    assert not found


def test_more_entries_than_the_bound_are_told() -> None:
    paths, found = walked({0: [Entry(f"{number}", is_folder=False, place=0) for number in range(ENTRIES + 1)]})
    assert len(paths) == ENTRIES
    assert found == {"UNPACK_TOO_MANY"}


def test_a_chain_follows_its_clusters_and_ends_where_it_comes_back() -> None:
    clusters = Clusters(Disk(b"....aabbccdd"), 4, 2, end=100)
    follows = {2: 5, 5: 3, 3: 100}
    assert clusters.chain(2, 100, follows.__getitem__) == b"aaddbb"
    assert clusters.chain(2, 3, follows.__getitem__) == b"aad"
    assert clusters.chain(2, 100, {2: 4, 4: 2}.__getitem__) == b"aacc"
    assert clusters.chain(1, 100, follows.__getitem__) == clusters.chain(100, 9, follows.__getitem__) == b""
    assert clusters.chain(50, 100, follows.__getitem__) == b"", "it lies beyond the end of the disk"
