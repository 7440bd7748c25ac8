"""Which opener looks into which kind of file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from mailguard.sandbox.unpack.work import File, Work

Opener = Callable[[File, Work], None]
"""Reports what is in a file and adds what lies within. Raises whatever it likes for a broken one; ExhaustedError goes up."""

OPENERS: Mapping[str, Sequence[Opener]] = MappingProxyType({})
"""By MIME type, as kinds.kind_of tells it; all of a kind's openers look, in this order."""
