"""What a file's name claims it to be, and the types that the content of such a file is never in good faith."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mailguard.message.attachments import EXECUTABLE_TYPES

_CLAIMS = {
    "image": "bmp gif jpeg jpg png tif tiff webp",
    "pdf": "pdf",
    "office": "doc docx odp ods odt ppt pptx rtf xls xlsx",
    "text": "csv log md txt",
    "media": "avi mov mp3 mp4 ogg wav",
}
_CLAIM_OF = MappingProxyType({suffix: claim for claim, suffixes in _CLAIMS.items() for suffix in suffixes.split()})
_ARCHIVES = frozenset(
    {
        *("application/zip", "application/x-rar", "application/x-7z-compressed", "application/x-iso9660-image"),
        *("application/x-udf", "application/x-vhd", "application/x-vhdx", "application/vnd.ms-cab-compressed"),
    }
)
_IMPOSSIBLE: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "image": EXECUTABLE_TYPES | _ARCHIVES | {"text/html", "application/pdf"},
        "pdf": EXECUTABLE_TYPES | _ARCHIVES | {"text/html"},
        "office": EXECUTABLE_TYPES | _ARCHIVES - {"application/zip"},
        "text": EXECUTABLE_TYPES | _ARCHIVES,
        "media": EXECUTABLE_TYPES | _ARCHIVES | {"text/html"},
    }
)
"""By claim. (Old Word "documents" may well be HTML.)"""


def contradicts(suffix: str, kind: str) -> bool:
    """Whether a file whose name ends in `suffix` (in lower case, without the dot) is never of the MIME type `kind` in good faith."""
    claim = _CLAIM_OF.get(suffix)
    return claim is not None and kind in _IMPOSSIBLE[claim]
