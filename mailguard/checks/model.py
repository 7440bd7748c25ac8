"""The classifier's weights as they are shipped: a linear model over hashed features, a few hundred kilobytes, read once a process."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.resources import files
from io import BytesIO
from itertools import groupby
from operator import itemgetter
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mailguard.checks import features
from mailguard.checks.features import Features, Kind, Words

SHIPPED = "classifier.npz"
"""The model's file in the package."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """From a logit to points, within bounds, and the points that every mail begins with: fitted with those of all symbols."""

    slope: float = 1.0
    baseline: float = 0.0
    least: float = -6.0
    most: float = 6.0

    def points(self, logit: float) -> float:
        """What a logit adds to the score."""
        return round(max(self.least, min(self.most, self.slope * logit)), 2)


@dataclass(frozen=True, slots=True)
class Word:
    """A word or pair of words that counted: where it stood, and its share of the logit."""

    place: str
    text: str
    share: float


@dataclass(frozen=True)
class Model:
    """Weights per feature id: `weights` times the `scales` of its kind, and the `bias`. `about` says what it was trained on.

    A kind's features together have the length that `lengths` says, however many they are; only where there are fewer than
    `fewest` says, each weighs as one of so many: a single word says little, however often spam has it.
    """

    weights: NDArray[np.int8]
    scales: tuple[float, ...]
    lengths: tuple[float, ...]
    bias: float
    calibration: Calibration = Calibration()
    about: Mapping[str, Any] = field(default_factory=dict)
    fewest: tuple[int, ...] = (1,) * len(Kind)

    @cached_property
    def name(self) -> str:
        """What identifies it: the beginning of a hash of all that it computes with, but the calibration."""
        digest = hashlib.sha256(self.weights.tobytes())
        digest.update(json.dumps([features.VERSION, self.scales, self.lengths, self.fewest, self.bias]).encode())
        return digest.hexdigest()[:16]

    def logit(self, found: Features) -> float:
        """The log-odds (natural) that a mail with these features is spam."""
        bounds = features.spans(found.ids)
        sums = np.zeros(found.ids.size + 1, dtype=np.int32)
        np.cumsum(self.weights[found.ids], dtype=np.int32, out=sums[1:])
        at = sums[bounds].tolist()
        total = self.bias
        for kind, (before, after, count) in enumerate(zip(at, at[1:], _counts(bounds), strict=False)):
            if count:
                total += float(after - before) * self._factor(kind, count)
        return total

    def _factor(self, kind: int, count: int) -> float:
        return self.scales[kind] * self.lengths[kind] / math.sqrt(max(count, self.fewest[kind]))

    def words(self, found: Features, logit: float, *, most: int = 4) -> tuple[Word, ...]:
        """The words and pairs that moved the logit most, each at its first place; those on the side of the outcome."""
        side = 1.0 if logit >= 0 else -1.0
        counts = _counts(features.spans(found.ids))
        candidates: list[_Candidate] = []
        for place, words, kind, some, width in (
            ("subject", found.subject, Kind.SUBJECT, found.subject_ids[0], 1),
            ("subject", found.subject, Kind.SUBJECT, found.subject_ids[1], 2),
            ("text", found.body, Kind.WORD, found.body_ids[0], 1),
            ("text", found.body, Kind.PAIR, found.body_ids[1], 2),
        ):
            if some.size == 0:
                continue
            shares = self.weights[some].astype(np.float32)
            shares *= side
            best = shares.argsort()[: -4 * most - 1 : -1]
            factor = self._factor(kind, counts[kind])
            candidates += [
                (share * factor, place, words, at, width)
                for at, share in zip(best.tolist(), shares[best].tolist(), strict=True)
                if share > 0
            ]
        return _distinct(candidates, side, most)

    def to_bytes(self) -> bytes:
        """As a file that `from_bytes` reads: NumPy's archive, without pickled objects."""
        about = {
            "version": features.VERSION,
            "scales": self.scales,
            "lengths": self.lengths,
            "fewest": self.fewest,
            "bias": self.bias,
            "calibration": [getattr(self.calibration, name) for name in ("slope", "baseline", "least", "most")],
            "about": dict(self.about),
        }
        out = BytesIO()
        text = np.frombuffer(json.dumps(about, sort_keys=True).encode(), dtype=np.uint8)
        np.savez_compressed(out, weights=self.weights, about=text)
        return out.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Model:
        """The model in a file's content. Raises ValueError when it is none, or for another version of the features."""
        try:
            with np.load(BytesIO(content), allow_pickle=False) as archive:
                weights = archive["weights"]
                about = json.loads(archive["about"].tobytes())
            made = cls(
                weights,
                tuple(about["scales"]),
                tuple(about["lengths"]),
                float(about["bias"]),
                Calibration(*about["calibration"]),
                about["about"],
                tuple(about["fewest"]),
            )
        except (OSError, EOFError, KeyError, TypeError, ValueError, BadZipFile) as error:
            raise ValueError(f"this is no classifier's model: {error}") from error
        if about["version"] != features.VERSION or weights.shape != (features.SIZE,) or weights.dtype != np.int8:
            raise ValueError("the model is for another version of the features: train it again (mailguard train)")
        return made


@cache
def shipped() -> Model:
    """The model in the package, read once a process."""
    return Model.from_bytes((files("mailguard.checks") / "data" / SHIPPED).read_bytes())


def quantised(weights: NDArray[np.float64]) -> tuple[NDArray[np.int8], tuple[float, ...]]:
    """Weights as whole numbers of -127 to 127 and the scale of each kind. Of a thousand the largest one is cut off."""
    whole = np.zeros(features.SIZE, dtype=np.int8)
    scales = []
    for start, end in features.SPANS:
        part = weights[start:end]
        used = np.abs(part[part != 0])
        scale = float(np.quantile(used, 0.999)) / 127 if used.size else 1.0
        whole[start:end] = np.clip(np.rint(part / (scale or 1.0)), -127, 127).astype(np.int8)
        scales.append(scale or 1.0)
    return whole, tuple(scales)


def _counts(bounds: NDArray[Any]) -> list[int]:
    """How many ids of each kind lie between its bounds."""
    return (bounds[1:] - bounds[:-1]).tolist()  # type: ignore[no-any-return]


_Candidate = tuple[float, str, Words, int, int]
"""A share of the logit, the place, and which words of it they are: the first one, and how many."""


def _distinct(candidates: Sequence[_Candidate], side: float, most: int) -> tuple[Word, ...]:
    """The strongest, without words that stand in a pair that was taken."""
    taken: list[Word] = []
    for share, same in groupby(sorted(candidates, key=itemgetter(0), reverse=True), key=itemgetter(0)):
        # Only the few that may be taken are made text.
        texts = [(place, " ".join(map(words.word, range(at, at + width)))) for _, place, words, at, width in same]
        for place, text in sorted(texts, reverse=True):
            if not any(place == word.place and (text in word.text or word.text in text) for word in taken):
                taken.append(Word(place, text, side * share))
                if len(taken) == most:
                    return tuple(taken)
    return tuple(taken)
