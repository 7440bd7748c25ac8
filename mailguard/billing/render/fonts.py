"""The fonts that PDFs are set in, and whether they can draw a text: a missing font is an error, never an empty box."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING
from unicodedata import category, name, normalize

from mailguard.core.errors import ConfigError, Problem

if TYPE_CHECKING:
    import typst

DIRECTORIES = ("/usr/share/fonts", "/usr/local/share/fonts")
PACKAGES = {
    "Noto Sans": "fonts-noto-core",
    "Noto Sans Arabic": "fonts-noto-core",
    "Droid Sans Fallback": "fonts-droid-fallback",
}
"""Families that must be there, and the Debian packages that bring them."""

_FIRST = ("Noto Sans", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Thai")
_SYMBOLS = ("Noto Sans Math", "Noto Sans Symbols", "Noto Sans Symbols2")
_CHINESE = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Droid Sans Fallback")
_UNFIT = (" Display", " Mono", "Slanted")
_JOINER = "\u200d"
_JOINING = "\u200c\u200d"
_JAMO = frozenset(map(chr, (*range(0x1100, 0x1200), *range(0xA960, 0xA980), *range(0xD7B0, 0xD800))))
UNKNOWN = "\ufffd"
"""Stands for a symbol that no font has."""


@dataclass(frozen=True)
class Fonts:
    """The fonts of the machine. `loaded` goes to typst; `families` are those that text is set in, the first that fits."""

    loaded: typst.Fonts
    families: tuple[str, ...]
    files: tuple[tuple[str, int], ...]
    """A font of each family, in their order: its file, and its number in it."""

    def drawable(self, text: str) -> str:
        """`text` as it can be drawn: marks that fit no letter are dropped, and what no font has becomes U+FFFD."""
        return text if text.isascii() else "".join(self._drawable(one) for one in clusters(text))

    def not_drawable(self, text: str) -> list[str]:
        """What no font can draw as it stands: characters, or letters with their marks."""
        return [] if text.isascii() else [one for one in clusters(text) if self._drawable(one) != one]

    def _drawable(self, cluster: str) -> str:
        """A cluster is drawn with one font: the first that has all of it, else the first that has its letter."""
        spellings = [frozenset(map(ord, filter(_is_visible, normalize(form, cluster)))) for form in ("NFC", "NFD")]
        letter = next(filter(_is_visible, cluster), None)
        if letter is None:
            return cluster
        with_letter: frozenset[int] | None = None
        for path, index in self.files:
            covered = _characters(path, index)
            if any(covered.issuperset(spelling) for spelling in spellings):
                return cluster
            if with_letter is None and ord(letter) in covered:
                with_letter = covered
        if with_letter is None:
            return UNKNOWN
        return "".join(c for c in cluster if ord(c) in with_letter or not _is_visible(c))


def clusters(text: str) -> Iterator[str]:
    """`text` in pieces that are drawn as one: a letter with its marks, letters of Korean that join to a syllable."""
    cluster = ""
    for character in text:
        if cluster and not _continues(cluster[-1], character):
            yield cluster
            cluster = ""
        cluster += character
    if cluster:
        yield cluster


def installed_fonts() -> Fonts:
    """The fonts of the machine. Raises ConfigError when one that must be there is not, with the package that brings it."""
    return _installed_fonts(DIRECTORIES)


@cache
def _installed_fonts(directories: tuple[str, ...]) -> Fonts:
    import typst

    loaded = typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=list(directories))
    regular = {font.family: (font.path, font.index) for font in loaded.fonts() if font.path and _is_regular(font)}
    absent = [Problem(f"font {family!r}", f"is not installed; the Debian package {package} brings it")
              for family, package in PACKAGES.items() if family not in regular]  # fmt: skip
    if absent:
        raise ConfigError(absent)
    others = sorted(
        family
        for family in regular
        if family.startswith(("Noto Sans ", "Noto Serif ")) and not family.endswith(_UNFIT) and "CJK" not in family
    )
    families = tuple(dict.fromkeys(family for family in (*_FIRST, *_CHINESE, *_SYMBOLS, *others) if family in regular))
    return Fonts(loaded, families, tuple(regular[family] for family in families))


def not_drawable(texts: Iterable[tuple[str, str]], fonts: Fonts) -> list[Problem]:
    """What is wrong with (where, text) pairs that must be drawn as they are: letters, marks and digits that no font has.

    Symbols such as emoji are no reason to stop: `Fonts.drawable` shows them as U+FFFD.
    """
    problems = []
    for where, text in texts:
        letters = [one for one in dict.fromkeys(fonts.not_drawable(text)) if _has_letter(one)]
        if letters:
            named = ", ".join(map(_named, letters[:5]))
            more = f" and {len(letters) - 5} more" if len(letters) > 5 else ""
            problems.append(
                Problem(
                    where,
                    f"no font can draw {named}{more}; install one that can, such as fonts-noto-cjk or another of fonts-noto",
                )
            )
    return problems


def _continues(before: str, character: str) -> bool:
    joined = before == _JOINER or category(character)[0] == "M" or character in _JOINING
    return joined or (before in _JAMO and character in _JAMO)


def _has_letter(cluster: str) -> bool:
    return any(category(character)[0] in "LMN" for character in cluster)


def _named(cluster: str) -> str:
    names = (f"U+{ord(c):04X} {name(c, '')}".strip() for c in cluster if _is_visible(c))
    return " with ".join(names)


def _is_regular(font: typst.FontInfo) -> bool:
    return font.weight == 400 and font.style == "normal" and abs(font.stretch - 1) < 0.01


@cache
def _characters(path: str, index: int) -> frozenset[int]:
    """The code points that a font has a glyph for."""
    from fontTools.ttLib import TTFont

    with TTFont(path, fontNumber=index, lazy=True) as font:
        return frozenset(font.getBestCmap() or ())


def _is_visible(character: str) -> bool:
    """Not so joiners, variation selectors and spaces: they are shaped away where a font has no glyph for them."""
    return category(character) not in ("Cf", "Zs", "Zl", "Zp") and not "\ufe00" <= character <= "\ufe0f"
