"""What file systems have in common: folders that are walked within a bound, and clusters that follow one another (FAT, exFAT)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from mailguard.sandbox.unpack.virtual_disks import Disk
from mailguard.sandbox.unpack.work import File, Work

ENTRIES = 4_000
"""Entries of folders that are read of a file system."""
CLUSTERS = 131_072
"""Clusters of a file that are followed."""


class Node(Protocol):
    """A file or a folder."""

    @property
    def name(self) -> str: ...
    @property
    def is_folder(self) -> bool: ...
    @property
    def place(self) -> Hashable:
        """Where it begins: a folder that begins where another does is that one."""


N = TypeVar("N", bound=Node)


def walk(root: N, entries: Callable[[N], Iterable[N]], file: File, work: Work) -> Iterator[tuple[str, N]]:
    """The path and node of all that is no folder. Each folder is read once, so one that holds itself ends there.

    Beyond ENTRIES it stops, and says so of `file`.
    """
    waiting = [("", root)]
    seen: set[Hashable] = set()
    left = ENTRIES
    while waiting:
        path, folder = waiting.pop()
        if folder.place in seen:
            continue
        seen.add(folder.place)
        for node in entries(folder):
            work.tick(file)
            left -= 1
            if left < 0:
                work.found(file, "UNPACK_TOO_MANY", f"more than {ENTRIES} entries")
                return
            if node.is_folder:
                waiting.append((f"{path}{node.name}/", node))
            else:
                yield path + node.name, node


@dataclass(frozen=True, slots=True)
class Clusters:
    """Clusters of `size` octets each, numbered from 2; the first is at `start` of the disk. Numbers from `end` on end a chain."""

    disk: Disk
    start: int
    size: int
    end: int

    def read(self, cluster: int, size: int) -> bytes:
        """`size` octets in a row from a cluster on."""
        return self.disk.read(self.start + (cluster - 2) * self.size, size) if cluster >= 2 else b""

    def chain(self, cluster: int, size: int, following: Callable[[int], int]) -> bytes:
        """Up to `size` octets of the chain that begins with `cluster`; it ends where it comes back to itself."""
        out = bytearray()
        seen: set[int] = set()
        while len(out) < size and 2 <= cluster < self.end and cluster not in seen and len(seen) < CLUSTERS:
            seen.add(cluster)
            piece = self.read(cluster, min(self.size, size - len(out)))
            if not piece:
                break
            out += piece
            cluster = following(cluster)
        return bytes(out)
