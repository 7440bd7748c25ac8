"""Which opener looks into which kind of file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from mailguard.sandbox.unpack import encrypted, office_flat, office_ole, office_xml, onenote, rtf, shortcuts
from mailguard.sandbox.unpack.work import File, Work

Opener = Callable[[File, Work], None]
"""Reports what is in a file and adds what lies within. Raises whatever it likes for a broken one; ExhaustedError goes up."""

_OFFICE: Mapping[str, Sequence[Opener]] = {
    "application/rtf": (rtf.open_rtf,),
    "application/onenote": (onenote.open_onenote,),
    "application/x-office-xml": (office_flat.open_flat,),
    "application/x-ms-shortcut": (shortcuts.open_shortcut,),
    **dict.fromkeys(
        (
            "text/plain",
            "text/x-sylk",
            "text/x-ms-iqy",
            "application/x-mswinurl",
            "application/windows-library+xml",
            "application/windows-settings+xml",
        ),
        (shortcuts.open_text_shortcut,),
    ),
    **dict.fromkeys(
        (
            "application/x-ole-storage",
            "application/x-ole-encrypted",
            "application/x-ole-package",
            "application/msword",
            "application/vnd.ms-excel",
            "application/vnd.ms-powerpoint",
            "application/vnd.ms-publisher",
            "application/vnd.visio",
        ),
        (office_ole.open_ole,),
    ),
    **dict.fromkeys(
        (
            "application/vnd.openxmlformats-officedocument",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            "application/vnd.openxmlformats-officedocument.presentationml.presentation",
            "application/vnd.ms-visio.drawing",
            "application/vnd.ms-package",
            "application/vnd.oasis.opendocument",
        ),
        (office_xml.open_package,),
    ),
}

OPENERS: Mapping[str, Sequence[Opener]] = MappingProxyType({**_OFFICE})
"""By MIME type, as kinds.kind_of tells it; all of a kind's openers look, in this order."""

OF_ANY: Sequence[Opener] = ()
"""What looks at every file, whatever its kind, before the openers of its kind."""

PREPARE: Sequence[Callable[[], None]] = (
    encrypted.prepare,
    office_xml.prepare,
)
"""What each format's module does before the process gives up its rights: import all that it imports when first needed, open
what it opens. Afterwards no file can be opened, and no memory become code."""


def prepare() -> None:
    """Do all of PREPARE."""
    for one in PREPARE:
        one()
