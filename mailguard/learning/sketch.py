"""A small summary of a mail's features, by which the lessons that it is like are found without reading theirs. Pure."""

from __future__ import annotations

import heapq
import sys
from array import array

SIZE = 32
"""Hashes in a sketch: the similarity is told to about a sixth."""
_MIX = 2_654_435_761  # Knuth's multiplicative hash: which features are the smallest must not hang on what they are of


def sketch(features: bytes) -> bytes:
    """The sketch of an example's content; shorter when that has fewer features (bottom-k of MinHash)."""
    values = array("I")
    values.frombytes(features)
    if sys.byteorder == "big":
        values.byteswap()
    smallest = array("I", heapq.nsmallest(SIZE, {value * _MIX & 0xFFFFFFFF for value in values}))
    if sys.byteorder == "big":
        smallest.byteswap()
    return smallest.tobytes()


def similarity(one: bytes, other: bytes) -> float:
    """How much of two mails' features is of both, 0 to 1 (Jaccard), as their sketches tell."""
    ours, theirs = set(hashes_of(one)), set(hashes_of(other))
    union = heapq.nsmallest(SIZE, ours | theirs)
    return sum(value in ours and value in theirs for value in union) / len(union) if union else 0.0


def hashes_of(packed: bytes) -> array[int]:
    """The hashes in a sketch, each once."""
    values = array("I")
    values.frombytes(packed)
    if sys.byteorder == "big":
        values.byteswap()
    return values
