"""Letters that pass for Latin ones: of other scripts (FOLDED, in words that mix both) and styled ones (STYLED, anywhere).

Chosen by their looks in common fonts, after the kinds of Unicode TR 39; only what can stand unnoticed in a Latin word.
"""

from __future__ import annotations

from collections.abc import Mapping


def _pairs(*rows: tuple[str, str]) -> dict[str, str]:
    return {letter: latin for letters, latins in rows for letter, latin in zip(letters, latins, strict=True)}


_CYRILLIC = _pairs(
    ("аеорсухѕіјһԁԛԝӏкмтвнёїѵү", "aeopcyxsijhdqwlkmtbheivy"),
    ("АВЕКМНОРСТУХЅІЈԚԜѴӀЁЇҮ", "ABEKMHOPCTYXSIJQWVIEIY"),
)
_GREEK = _pairs(
    ("αορνικυτεηωχγϲϳάέήίόύώϊ", "aopvikutenwxycjaenioywi"),
    ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹ", "ABEZHIKMNOPTYXC"),
)
_ARMENIAN = _pairs(("օսհցքոզՏԼՕ", "ouhgpnqSLO"))
_CHEROKEE = _pairs(("ᎠᎡᎢᎪᎫᎬᎳᎷᎻᏀᏃᎽᏢᏚᏤᏙᏞᏟᏦᏴ", "DRTAJEWMHGZYPSVVLCKB"))
_LATIN = _pairs(("ɑɡɩʋ", "agiu"))  # not ı: Turkish words are full of it

FOLDED: Mapping[str, str] = _CYRILLIC | _GREEK | _ARMENIAN | _CHEROKEE | _LATIN
"""Letters of other scripts to the Latin letter that they look like."""

TO_CYRILLIC: Mapping[str, str] = {
    latin: letter for letter, latin in _CYRILLIC.items() if letter not in "ѕіјһԁԛԝӏёїѵүЅІЈԚԜѴӀЁЇҮ"
}
"""Latin letters to the Russian ones that they pass for."""

_SMALL_CAPITALS = _pairs(("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnoprstuvwyz"))
_CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _run(first: int, letters: str) -> dict[str, str]:
    return {chr(first + i): letter for i, letter in enumerate(letters)}


STYLED: Mapping[str, str] = (
    _SMALL_CAPITALS
    | _run(0x249C, _CAPITALS.lower())  # in brackets
    | _run(0x24B6, _CAPITALS)  # in circles
    | _run(0x24D0, _CAPITALS.lower())
    | _run(0x1F130, _CAPITALS)  # in squares
    | _run(0x1F150, _CAPITALS)  # white on black circles
    | _run(0x1F170, _CAPITALS)  # white on black squares
)
"""Letters that Unicode has for other purposes than words, to those they show. Full width and mathematics are NFKC's."""
