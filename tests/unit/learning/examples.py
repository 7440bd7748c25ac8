"""Examples for the tests of learning: mails as sets of features, some of them in families that share most."""

from __future__ import annotations

import random
from array import array

from mailguard.learning.delta import Example
from mailguard.learning.traits import Trait, TraitKind

WORDS = 1 << 18
"""Ids of words; see checks/features.py."""
NEWS = (Trait(TraitKind.ADDRESS, 11), Trait(TraitKind.DOMAIN, 12), Trait(TraitKind.SHAPE, 13))


def features(family: int, number: int = 0, *, own: int = 100, shared: int = 200, common: int = 60) -> bytes:
    """A mail's features: some that every mail has, those of its family, and its own."""
    everyone = random.Random("everyone").sample(range(WORDS), common)
    family_s = random.Random(f"family {family}").sample(range(WORDS), shared)
    mine = random.Random(f"mail {family} {number}").sample(range(WORDS), own)
    return array("I", sorted({*everyone, *family_s, *mine})).tobytes()


def example(family: int, number: int = 0, traits: tuple[Trait, ...] = ()) -> Example:
    return Example(features(family, number), traits)
