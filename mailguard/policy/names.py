"""The names of files as the receiving system reads them. Pure."""

from __future__ import annotations

import re
import unicodedata

_INVISIBLE = re.compile(r"[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
"""Controls and direction marks, with which `exe` is made to read otherwise."""


def extension(name: str) -> str:
    """The last extension of a file name as the receiving system will see it, in lower case; empty when there is none.

    `dir/invoice.pdf.EXE. ` gives `exe`: a path counts by its last part, and Windows drops dots and spaces at the end.
    """
    plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", name))
    last = re.split(r"[/\\]", plain)[-1].rstrip(". \t")
    _, dot, suffix = last.rpartition(".")
    # `x.exe::$DATA` names the same file as `x.exe` on NTFS.
    return suffix.partition(":")[0].rstrip(". ").lower() if dot else ""
