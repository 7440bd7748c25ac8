"""Which opener looks into which kind of file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from mailguard.sandbox.unpack.work import File, Work

Opener = Callable[[File, Work], None]
"""Reports what is in a file and adds what lies within. Raises whatever it likes for a broken one; ExhaustedError goes up."""

OPENERS: Mapping[str, Sequence[Opener]] = MappingProxyType({})
"""By MIME type, as kinds.kind_of tells it; all of a kind's openers look, in this order."""

OF_ANY: Sequence[Opener] = ()
"""What looks at every file, whatever its kind, before the openers of its kind."""

PREPARE: Sequence[Callable[[], None]] = ()
"""What each format's module does before the process gives up its rights: import all that it imports when first needed, open
what it opens. Afterwards no file can be opened, and no memory become code."""


def prepare() -> None:
    """Do all of PREPARE."""
    for one in PREPARE:
        one()
