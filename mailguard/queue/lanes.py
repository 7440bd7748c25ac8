"""Who may go next: groups wait in lanes, one for each tenant's route, and lanes take turns, so that none holds up another."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from mailguard.queue.group import RESCAN, Group, LaneKey


@dataclass(slots=True)
class _Lane:
    waiting: deque[Group] = field(default_factory=deque)
    active: int = 0


class Lanes:
    """Groups that are ours, waiting or under way: `concurrency` at a time, in each lane as many as `window` says, and no
    more than fit into `memory` octets. A message over half of that counts as half: two large ones at a time, and small
    ones beside them never keep a large one waiting for ever."""

    def __init__(self, *, concurrency: int, memory: int, window: Callable[[LaneKey], int]) -> None:
        self._concurrency = concurrency
        self._memory = memory
        self._window = window
        self._lanes: OrderedDict[LaneKey, _Lane] = OrderedDict()
        self._active = 0
        self._octets = 0

    @property
    def free(self) -> int:
        """How many more groups could start now, if their lanes and their sizes allow."""
        return max(0, self._concurrency - self._active)

    @property
    def active(self) -> int:
        """How many are under way."""
        return self._active

    def full_domains(self) -> Collection[str]:
        """Domains of which no more need to be claimed now."""
        return {
            key[1]
            for key, lane in self._lanes.items()
            if key[1] != RESCAN and (lane.waiting or lane.active >= self._window(key))
        }

    def add(self, group: Group) -> bool:
        """Take a group in; False when its lane has enough waiting already, and it should be given back."""
        lane = self._lanes.setdefault(group.lane, _Lane())
        if len(lane.waiting) >= 2 * self._window(group.lane):
            return False
        lane.waiting.append(group)
        return True

    def start(self) -> Group | None:
        """The next group to start, of the lane whose turn it is; None when nothing may start now."""
        if self._active >= self._concurrency:
            return None
        for key, lane in self._lanes.items():
            if not lane.waiting or lane.active >= self._window(key):
                continue
            size = self._size(lane.waiting[0])
            if self._octets + size > self._memory:
                continue
            group = lane.waiting.popleft()
            lane.active += 1
            self._active += 1
            self._octets += size
            self._lanes.move_to_end(key)
            return group
        return None

    def ended(self, group: Group) -> None:
        """A group that was started is over."""
        lane = self._lanes[group.lane]
        lane.active -= 1
        self._active -= 1
        self._octets -= self._size(group)
        if not lane.active and not lane.waiting:
            del self._lanes[group.lane]

    def _size(self, group: Group) -> int:
        return min(group.first.size, self._memory // 2)

    def clear(self) -> list[Group]:
        """Take out all that waits."""
        waiting = [group for lane in self._lanes.values() for group in lane.waiting]
        for key, lane in list(self._lanes.items()):
            lane.waiting.clear()
            if not lane.active:
                del self._lanes[key]
        return waiting
