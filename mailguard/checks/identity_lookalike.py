"""Domains made to be taken for a well-known one: by looks, a letter more or less, added words, or the name as a mere host."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache

from mailguard.checks.identity_data import Brand, fold_name, organisation, senders
from mailguard.core.lookalike import AFFIXES, Lookalike, near, skeleton, unicode_label

CONTAINED_LEAST = 6
"""Letters from which a name counts that stands in a label of a brand's domain, or in a foreign one beside other words."""
EDIT_LEAST = 6
"""Letters of a name from which an edit counts; below FULL_EDIT_LEAST only a swap or a doubled letter does."""
FULL_EDIT_LEAST = 7
EDIT_LEAST_SPOKEN_OF = 8
SUBDOMAIN_LEAST = 5


_ORDINARY_WORDS = """
apply auto cloud forum fortune global local mailing office online people posta postal social ticket today travel
"""
_ORDINARY = frozenset(_ORDINARY_WORDS.split())
"""Words that are no imitation of whatever they come near."""
_ORDINARY_LOOSE_WORDS = """
box bring claro cox dell free kraken leclerc medicare monster posti post prime progressive ring sage saison saturn shell
spectrum square sunrise target telekom zoll
"""
_ORDINARY_LOOSE = frozenset(_ORDINARY_LOOSE_WORDS.split())
"""Names that are words too ordinary to be told among other words of a domain."""


class Trick(StrEnum):
    """How a domain passes for another."""

    LOOKS = "looks"
    EDIT = "edit"
    WORDS = "words"
    SUFFIX = "suffix"
    """The name itself below an ending that is not the brand's."""
    HOST = "host"
    """The name as a host of a foreign domain: `acme.example.evil.test`."""


@dataclass(frozen=True, slots=True)
class Imitation:
    """A domain that passes for `brand`'s."""

    trick: Trick
    brand: Brand


@lru_cache(maxsize=8_192)
def imitation(domain: str) -> Imitation | None:
    """Whom a domain in look-up form passes for; None: nobody, or it is well known itself."""
    known = senders()
    name = organisation(domain)
    if not name or known.is_well_known(name) or known.service_of(name) or known.mailbox_of(name):
        return None
    if name in known.freemail or name.rpartition(".")[2].isdigit():
        return None
    found = _of_label(name) or _of_hosts(domain, name)
    return None if found is None or found.brand.may_own(domain) else found


def _of_label(name: str) -> Imitation | None:
    label = unicode_label(name.partition(".")[0])
    labels, edited = _labels(), _edited()
    seen = skeleton(label)
    brand = labels.get(seen)
    if brand is not None:
        if label.isascii() and fold_name(label) in brand.names:
            return Imitation(Trick.SUFFIX, brand) if len(label) >= CONTAINED_LEAST else None
        if len(seen) >= 5 or not label.isascii():
            return Imitation(Trick.LOOKS, brand)
    if len(seen) >= EDIT_LEAST - 1 and label not in _ORDINARY:
        for short in (seen, *_without_one(seen)):
            for candidate in edited.get(short, ()):
                if _is_short_edit(seen, candidate) and near(label, candidate) in (
                    Lookalike.EDIT,
                    Lookalike.HYPHEN,
                    Lookalike.HOMOGLYPH,
                ):
                    return Imitation(Trick.EDIT, labels[skeleton(candidate)])
    return _with_words(label)


def _is_short_edit(seen: str, known: str) -> bool:
    """Whether the edit is plain enough for the name's length."""
    if len(known) >= FULL_EDIT_LEAST or seen.replace("-", "") == known.replace("-", ""):
        return True
    if sorted(seen) == sorted(known):
        return True
    return any(seen[at] == seen[at - 1] and seen[:at] + seen[at + 1 :] == known for at in range(1, len(seen)))


def _with_words(label: str) -> Imitation | None:
    """A name among words that are parted by hyphens, or before or behind a word that firms use."""
    labels, loose = _labels(), senders().loose
    parts = [part for part in label.split("-") if part]
    if len(parts) > 1:
        others_fit = [part in AFFIXES or part.isdigit() for part in parts]
        for at in range(len(parts)):
            for end in range(at + 1, min(at + 3, len(parts)) + 1):
                joined = "".join(parts[at:end])
                brand = labels.get(skeleton(joined))
                if brand is not None and end - at < len(parts) and len(joined) >= 3:
                    others = others_fit[:at] + others_fit[end:]
                    if len(joined) >= CONTAINED_LEAST or any(others):
                        return Imitation(Trick.WORDS, brand)
                brand = loose.get(joined) if joined not in _ORDINARY_LOOSE else None
                if brand is not None and len(joined) >= 4 and all(others_fit[:at] + others_fit[end:]):
                    return Imitation(Trick.WORDS, brand)
    for at in range(4, len(label) - 1):
        brand = labels.get(skeleton(label[:at]))
        if brand is not None and _fits(label[at:], label[:at]):
            return Imitation(Trick.WORDS, brand)
        brand = labels.get(skeleton(label[at:]))
        if brand is not None and len(label) - at >= 4 and _fits(label[:at], label[at:]):
            return Imitation(Trick.WORDS, brand)
    return None


def _fits(rest: str, name: str) -> bool:
    words = [word for word in rest.split("-") if word]
    if not words:
        return False
    affixed = all(word in AFFIXES or word.isdigit() for word in words)
    # A long name beside anything with a hyphen is meant; a short one needs a word that firms use.
    return affixed and (len(name) >= CONTAINED_LEAST or not rest.isdigit())


def _of_hosts(domain: str, name: str) -> Imitation | None:
    """The name of a brand, or its whole domain, below a foreign one."""
    if len(domain) <= len(name) + 1:
        return None
    known = senders()
    host = domain[: -len(name) - 1]
    for above in _inner(host):
        brand = known.of_domain.get(above)
        if brand is not None:
            return Imitation(Trick.HOST, brand)
    names = _labels()
    for label in host.split("."):
        for part in re.split("[-_]", label):
            if len(part) >= SUBDOMAIN_LEAST:
                brand = names.get(skeleton(part))
                if brand is not None:
                    return Imitation(Trick.HOST, brand)
    return None


def _inner(host: str) -> Iterator[str]:
    """All runs of two and three labels within a host: `a.b.c` has `a.b`, `b.c`, `a.b.c`."""
    labels = host.split(".")[:12]
    for length in (2, 3):
        for at in range(len(labels) - length + 1):
            yield ".".join(labels[at : at + length])


@cache
def _labels() -> dict[str, Brand]:
    """Skeletons of the labels that are distinctive for a brand: its names, and labels of its domains that contain one."""
    table: dict[str, Brand] = {}
    for brand in senders().brands:
        distinct = {name for name in brand.names if name.isascii() and len(name) >= 3}
        for domain in (*brand.domains, *(f"{label}.*" for label in brand.labels)):
            label = domain.partition(".")[0] if domain.count(".") == 1 else organisation(domain).partition(".")[0]
            folded = fold_name(label)
            if folded in distinct or any(len(name) >= CONTAINED_LEAST and name in folded for name in distinct):
                table.setdefault(skeleton(label), brand)
        for name in sorted(distinct):
            table.setdefault(skeleton(name), brand)
    return table


@cache
def _edited() -> dict[str, tuple[str, ...]]:
    """Skeletons, and each with one letter less, to the labels they come from (deletion neighbourhoods, as SymSpell's)."""
    table: dict[str, list[str]] = {}
    for known, brand in _labels().items():
        # News houses and networks have short names that are near each other: cbsnews, cnsnews.
        if len(known) >= (EDIT_LEAST_SPOKEN_OF if brand.spoken_of else EDIT_LEAST):
            for short in (known, *_without_one(known)):
                table.setdefault(short, []).append(known)
    return {short: tuple(names) for short, names in table.items()}


def _without_one(text: str) -> Iterator[str]:
    return (text[:at] + text[at + 1 :] for at in range(len(text)))
