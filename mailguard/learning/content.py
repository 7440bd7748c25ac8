"""Which of the classifier's features lessons are made of: words, not n-grams, as long as there are enough of them. Pure.

Words tell a tenant's mail apart with a fifth of the features, so that a delta has room for many lessons (docs/learning.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mailguard.checks import features
from mailguard.checks.features import Ids, Kind

FEATURES = f"features {features.VERSION}"
"""Names what the numbers of features mean: what was learned of others does not count."""
FEW = 40
"""Words below which n-grams are learned too: mail in a script without spaces, or hardly any text."""
_WORDS = (Kind.WORD, Kind.SUBJECT, Kind.NAME, Kind.SENDER, Kind.LINK, Kind.SHOWN, Kind.FORM)
_GRAMS = (Kind.GRAM, Kind.SUBJECT_GRAM)
_TEXT = (Kind.WORD, Kind.SUBJECT)


def content_of(packed: bytes) -> bytes:
    """The features that count, of those in Classification.features: unsigned 32-bit, little-endian, sorted."""
    ids = np.frombuffer(packed, dtype=np.uint32)
    bounds = [int(bound) for bound in features.spans(ids)]
    few = sum(bounds[kind + 1] - bounds[kind] for kind in _TEXT) < FEW
    return _of(ids, bounds, sorted((*_WORDS, *_GRAMS)) if few else _WORDS)


def _of(ids: Ids, bounds: Sequence[int], kinds: Sequence[Kind]) -> bytes:
    parts = [ids[bounds[kind] : bounds[kind + 1]] for kind in kinds]
    return np.concatenate(parts).astype("<u4").tobytes()
