"""Bytes to text by the charset a sender claims: aliases that mail uses, and never an error whatever it claims."""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

_NAME = re.compile(r"^[A-Za-z0-9_.:\-]{1,40}$")
_ALIASES = {
    # what mail programs mean rather than what the name says (WHATWG Encoding §4.2)
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "latin-1": "cp1252",
    "iso8859-1": "cp1252",
    "iso-8859-9": "cp1254",
    "iso-8859-11": "cp874",
    "tis-620": "cp874",
    "windows-874": "cp874",
    "windows-31j": "cp932",
    "x-sjis": "cp932",
    "shift_jis": "cp932",
    "ks_c_5601-1987": "cp949",
    "ks_c_5601": "cp949",
    "euc-kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "gb_2312-80": "gb18030",
    "big5": "big5hkscs",
    "x-big5": "big5hkscs",
    "iso-8859-8-i": "iso-8859-8",
    "iso-8859-8-e": "iso-8859-8",
    "iso-8859-6-i": "iso-8859-6",
    "utf8mb4": "utf-8",
    "x-mac-roman": "mac-roman",
    "macintosh": "mac-roman",
    "x-mac-cyrillic": "mac-cyrillic",
    "unicode-1-1-utf-7": "utf-7",
    "unicode-1-1-utf-8": "utf-8",
    "cp-850": "cp850",
}
_TREATED_AS_ASCII = frozenset({"", "us-ascii", "ascii", "ansi_x3.4-1968", "utf-8", "utf8", "unknown-8bit", "x-unknown"})
# Codecs of Python that are no charset of mail: quadratic in hostile input, platform bound, or an error by definition.
_DENIED = frozenset({"punycode", "idna", "undefined", "unicode_escape", "raw_unicode_escape", "mbcs", "oem"})


@lru_cache(maxsize=256)
def _codec(charset: str) -> str | None:
    """The name of Python's codec for a charset in lower case, or None when there is none that may be used."""
    if not _NAME.match(charset):
        return None
    try:
        codec = codecs.lookup(_ALIASES.get(charset, charset))
    except (LookupError, ValueError):
        return None
    # Binary transforms (zlib, hex, rot13) are codecs too.
    if codec.name.replace("-", "_") in _DENIED or not getattr(codec, "_is_text_encoding", True):
        return None
    return codec.name


def is_known(charset: str) -> bool:
    """Whether text in this charset can be decoded as it claims."""
    charset = charset.strip().lower()
    return charset in _TREATED_AS_ASCII or _codec(charset) is not None


def decode_text(data: bytes, charset: str = "") -> str:
    """`data` as text. Without a usable charset, and for ASCII with 8-bit octets: UTF-8 when it is, else Windows-1252."""
    name = charset.strip().lower()
    if name not in _TREATED_AS_ASCII:
        codec = _codec(name)
        if codec is not None:
            try:
                return data.decode(codec, "replace")
            except (UnicodeError, ValueError):  # some stateful codecs raise in spite of "replace"
                pass
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("utf-8" if name in ("utf-8", "utf8") else "cp1252", "replace")
