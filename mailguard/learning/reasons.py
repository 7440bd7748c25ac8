"""Which lessons speak for what was learned of a mail: those of the same sender, then those whose content is most like it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mailguard.core.clock import to_datetime
from mailguard.learning.delta import Example
from mailguard.learning.sketch import hashes_of, similarity, sketch
from mailguard.store.lessons import Source, StoredLesson

ALIKE = 0.2
"""Similarity of content from which a lesson is named as a reason."""
MOST = 3
"""Reasons that are named one by one."""


@dataclass(frozen=True, slots=True)
class Reasons:
    """Lessons, the oldest first, and where to find those that are like a mail: by traits, and by the hashes of their sketches."""

    lessons: Sequence[StoredLesson] = ()
    by_trait: Mapping[tuple[str, int], Sequence[int]] = field(default_factory=dict)
    by_hash: Mapping[int, Sequence[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, lessons: Sequence[StoredLesson]) -> Reasons:
        """These lessons, made ready to be searched."""
        by_trait: dict[tuple[str, int], list[int]] = {}
        by_hash: dict[int, list[int]] = {}
        for place, lesson in enumerate(lessons):
            for trait in lesson.traits:
                by_trait.setdefault(trait, []).append(place)
            for value in hashes_of(lesson.sketch):
                by_hash.setdefault(value, []).append(place)
        return cls(tuple(lessons), by_trait, by_hash)

    def told(self, example: Example, *, spam: bool) -> tuple[str, ...]:
        """Those that say spam (or ham) of a mail, as evidence: `2 mails of news@b.example released, 2026-11-03 by ann`."""
        ranked = sorted(self._alike(example, spam=spam), key=lambda pair: (-pair[0], -pair[1].id))
        groups: dict[tuple[str, str, str], list[StoredLesson]] = {}
        for _, lesson in ranked:
            groups.setdefault((lesson.header_from, lesson.source, lesson.teacher), []).append(lesson)
        each = list(groups.values())
        said = [_reason(group) for group in each[:MOST]]
        if len(each) > MOST:
            said.append(f"{sum(map(len, each[MOST:]))} more lessons")
        return tuple(said) or (f"no single lesson: {len(self.lessons)} in all",)

    def _alike(self, example: Example, *, spam: bool) -> list[tuple[float, StoredLesson]]:
        """Lessons with how alike they are: 1 and more for the same sender, else what of the contents is of both."""
        ours = sketch(example.content)
        shared: dict[int, int] = {}
        for trait in example.traits:
            for place in self.by_trait.get((trait.kind.value, trait.key), ()):
                shared[place] = shared.get(place, 0) + 1
        common: dict[int, int] = {}
        for value in hashes_of(ours):
            for place in self.by_hash.get(value, ()):
                common[place] = common.get(place, 0) + 1
        likely = [place for place, count in common.items() if count >= ALIKE * len(ours) / 4 / 2]
        found = []
        for place in {*shared, *likely}:
            lesson = self.lessons[place]
            if lesson.spam is spam and lesson.step:
                likeness = shared.get(place, 0) + similarity(lesson.sketch, ours)
                if likeness >= ALIKE:
                    found.append((likeness, lesson))
        return found


_SAID = {
    (Source.RELEASE, False): "released",
    (Source.USER, False): "reported as wanted by their recipient",
    (Source.USER, True): "reported as spam by their recipient",
    (Source.REPORT, True): "reported as spam",
}


def _reason(group: Sequence[StoredLesson]) -> str:
    newest = max(group, key=lambda lesson: lesson.at)
    said = _SAID.get((newest.source, newest.spam), f"taught as {'spam' if newest.spam else 'wanted'}")
    mails = f"{len(group)} mails" if len(group) > 1 else "a mail"
    sender = f" of {newest.header_from}" if newest.header_from else ""
    return f"{mails}{sender} {said}, {to_datetime(newest.at):%Y-%m-%d} by {newest.teacher}"
