"""What the sandbox can do: the functions by the names that jobs give. Imported in the sandbox's processes alone."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mailguard.sandbox import codes
from mailguard.sandbox.child import Function
from mailguard.sandbox.frames import Json
from mailguard.sandbox.unpack import openers
from mailguard.sandbox.unpack.tree import tree
from mailguard.sandbox.unpack.yara import RULES

FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        "codes.picture": codes.in_picture,
        "codes.pdf": codes.in_pdf,
        "codes.drawing": codes.in_drawing,
        "unpack.tree": tree,
    }
)


def prepare(options: Mapping[str, Json], material: bytes) -> None:
    """Do a little of everything, so that nothing is left to be imported: afterwards no file can be opened.

    `material` are the compiled YARA rules, or nothing.
    """
    codes.prepare()
    openers.prepare()
    RULES.prepare(material)
