"""Which archives are of source code, as developers mail them: their scripts are read, not run."""

from __future__ import annotations

from collections.abc import Iterable

from mailguard.message.attachments import extension

SOURCES = 5
"""Files of source code from which on an archive is one of them."""
UNRUN = frozenset({"py", "pl", "lua", "sh"})
"""Endings of scripts that Windows does not run as it comes; of those that it does (js, vbs, bat, ps1) one is enough to be told."""
_LANGUAGES = UNRUN | frozenset(
    {
        *("c", "cc", "cpp", "cxx", "h", "hpp", "m", "cs", "fs", "java", "kt", "scala", "go", "rs", "swift", "zig"),
        *("js", "mjs", "jsx", "ts", "tsx", "vue", "css", "scss", "rb", "php", "erl", "ex", "exs", "hs", "ml", "clj"),
        *("pyi", "pyx", "ipynb", "r", "jl", "sql", "proto", "cmake", "gradle", "toml", "asm", "s", "f90", "tex"),
    }
)


def sources_among(names: Iterable[str]) -> frozenset[str]:
    """Of the names in an archive, those of scripts that count as source code; none where it is no archive of that."""
    suffixes = {name: extension(name) for name in names if not name.endswith("/")}
    if sum(suffix in _LANGUAGES for suffix in suffixes.values()) < SOURCES:
        return frozenset()
    return frozenset(name for name, suffix in suffixes.items() if suffix in UNRUN)
