"""The fonts that PDFs are set in, and whether they can draw a text: a missing font is an error, never an empty box."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

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
UNKNOWN = "\ufffd"
"""Stands for a symbol that no font has."""


@dataclass(frozen=True)
class Fonts:
    """The fonts of the machine. `loaded` goes to typst; `families` are those that text is set in, the first that fits."""

    loaded: typst.Fonts
    families: tuple[str, ...]
    files: tuple[tuple[str, int], ...]
    """A font of each family, in their order: its file, and its number in it."""

    def missing(self, text: str) -> set[str]:
        """The characters of `text` that no font can draw."""
        left = {character for character in text if not character.isascii() and not _is_invisible(character)}
        for path, index in self.files:
            if not left:
                break
            covered = _characters(path, index)
            left = {character for character in left if ord(character) not in covered}
        return left

    def drawable(self, text: str) -> str:
        """`text` with U+FFFD for each character that no font can draw."""
        missing = self.missing(text)
        return "".join(UNKNOWN if c in missing else c for c in text) if missing else text


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
        letters = sorted(c for c in fonts.missing(text) if unicodedata.category(c)[0] in "LMN")
        if letters:
            named = ", ".join(f"U+{ord(c):04X} {unicodedata.name(c, '')}".strip() for c in letters[:5])
            more = f" and {len(letters) - 5} more" if len(letters) > 5 else ""
            problems.append(
                Problem(where, f"no font can draw {named}{more}; install one that can, such as one of fonts-noto")
            )
    return problems


def _is_regular(font: typst.FontInfo) -> bool:
    return font.weight == 400 and font.style == "normal" and abs(font.stretch - 1) < 0.01


@cache
def _characters(path: str, index: int) -> frozenset[int]:
    """The code points that a font has a glyph for."""
    from fontTools.ttLib import TTFont

    with TTFont(path, fontNumber=index, lazy=True) as font:
        return frozenset(font.getBestCmap() or ())


def _is_invisible(character: str) -> bool:
    """Joiners, variation selectors and spaces: they are shaped away where a font has no glyph for them."""
    category = unicodedata.category(character)
    return category in ("Cf", "Zs", "Zl", "Zp") or "\ufe00" <= character <= "\ufe0f"
