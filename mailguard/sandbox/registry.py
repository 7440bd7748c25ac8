"""What the sandbox can do: the functions by the names that jobs give. Imported in the sandbox's processes alone."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mailguard.sandbox import codes
from mailguard.sandbox.child import Function
from mailguard.sandbox.unpack import openers
from mailguard.sandbox.unpack.tree import tree

FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        "codes.picture": codes.in_picture,
        "codes.pdf": codes.in_pdf,
        "codes.drawing": codes.in_drawing,
        "unpack.tree": tree,
    }
)


def prepare() -> None:
    """Do a little of everything, so that nothing is left to be imported: afterwards no file can be opened."""
    codes.prepare()
    openers.prepare()
