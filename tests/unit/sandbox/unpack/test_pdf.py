"""PDFs: what acts in them is told, what they hold is taken out, and what honest forms have is no suspicion."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import pikepdf
import pytest
from pikepdf import Array, AttachedFileSpec, Dictionary, Encryption, Name, ObjectStreamMode, String

from mailguard.checks.unpack_symbols import SYMBOLS
from mailguard.sandbox.unpack.work import File
from tests.unit.sandbox.unpack.taken import apart, contents, symbols

LAUNCHES = Dictionary(S=Name.Launch, Win=Dictionary(F=String("cmd.exe"), P=String("/c calc")))
LEADS = Dictionary(S=Name.JavaScript, JS=String("app.launchURL('http://a.example');"))


def pdf(make: Callable[[pikepdf.Pdf], None], **saved: object) -> bytes:
    """A PDF of one page, changed by `make`."""
    with pikepdf.new() as made:
        made.add_blank_page(page_size=(600, 800))
        make(made)
        out = io.BytesIO()
        made.save(out, **saved)  # type: ignore[arg-type]
        return out.getvalue()


def opens(action: Dictionary) -> Callable[[pikepdf.Pdf], None]:
    def make(made: pikepdf.Pdf) -> None:
        made.Root.OpenAction = action

    return make


def links(root: File) -> list[str]:
    return [url for url, _ in root.links]


@pytest.mark.parametrize("objects", [ObjectStreamMode.disable, ObjectStreamMode.generate])
def test_a_script_that_runs_at_opening_is_told_and_handed_on(objects: ObjectStreamMode) -> None:
    root = apart(pdf(opens(LEADS), object_stream_mode=objects))
    assert {"PDF_OPEN_ACTION", "PDF_JAVASCRIPT", "PDF_JAVASCRIPT_SUSPICIOUS"} <= symbols(root).keys()
    assert contents(root)["script 1"] == b"app.launchURL('http://a.example');"


def test_names_count_as_they_are_read() -> None:
    raw = pdf(opens(LEADS)).replace(b"/JavaScript", b"/J#61vaScript").replace(b"/JS", b"/#4aS")
    assert "PDF_JAVASCRIPT_SUSPICIOUS" in symbols(apart(raw))


def test_a_launched_program_is_named_also_in_a_damaged_file() -> None:
    whole = pdf(opens(LAUNCHES))
    for raw in (whole, whole[:-200], whole.replace(b"startxref", b"startxxxx")):
        assert symbols(apart(raw))["PDF_LAUNCH"] == ["cmd.exe /c calc"]


def test_what_cannot_be_mended_is_searched_as_it_stands() -> None:
    found = symbols(apart(b"%PDF-1.4\n1 0 obj <</S /L#61unch /F (x.exe)>>"))
    assert "PDF_LAUNCH" in found
    assert "PDF_BROKEN" in found
    assert "UNPACK_BROKEN" not in found
    (why,) = symbols(apart(b"%PDF-1.4\n1 0 obj <</Filter /FlateDecode>> stream\nx"))["UNPACK_BROKEN"]
    assert why.startswith("PdfError: ")
    assert "0x" not in why  # no place in memory, by which two scans of one file would differ


def test_an_earlier_revision_does_not_hide_the_last() -> None:
    first = pdf(lambda made: None)
    later = first + b"\n1 0 obj\n<</Type/Catalog/Pages 2 0 R/OpenAction<</S/Launch/F(a.exe)>>>>\nendobj\n"
    at = later.rindex(b"1 0 obj")
    previous = int(first.split(b"startxref")[1].split()[0])
    later += b"xref\n1 1\n%010d 00000 n \ntrailer\n<</Size 9/Root 1 0 R/Prev %d>>\nstartxref\n%d\n%%%%EOF" % (
        at,
        previous,
        len(later),
    )
    assert symbols(apart(later))["PDF_LAUNCH"] == ["a.exe"]


def test_an_embedded_file_is_taken_out() -> None:
    def make(made: pikepdf.Pdf) -> None:
        made.attachments["x.exe"] = AttachedFileSpec(made, b"MZ\0\0" * 40, filename="x.exe")

    root = apart(pdf(make))
    assert [(child.name, child.kind) for child in root.children] == [("x.exe", "application/x-dosexec")]


def test_encrypted_ones_open_with_no_password_or_one_of_the_mail() -> None:
    silently = pdf(opens(LAUNCHES), encryption=Encryption(owner="o", user=""))
    locked = pdf(opens(LAUNCHES), encryption=Encryption(owner="o", user="secret"))
    assert symbols(apart(silently)).keys() == {"PDF_OPEN_ACTION", "PDF_LAUNCH"}
    assert {"PDF_PASSWORD", "PDF_LAUNCH"} <= symbols(apart(locked, passwords=["wrong", "secret"])).keys()
    assert symbols(apart(locked, passwords=["wrong"])).keys() == {"PDF_ENCRYPTED"}


def test_a_form_that_formats_its_fields_is_no_suspicion() -> None:
    def make(made: pikepdf.Pdf) -> None:
        scripts = [
            'AFNumber_Format(2, 0, 0, 0, "", true);',
            'AFSimple_Calculate("SUM", new Array ("a", "b"));',
            'AFDate_FormatEx("dd.mm.yyyy");',
            'event.value = this.getField("a").value * 2;',
        ]
        made.Root.AcroForm = Dictionary(
            Fields=Array(
                [
                    made.make_indirect(
                        Dictionary(FT=Name.Tx, AA=Dictionary(F=Dictionary(S=Name.JavaScript, JS=String(one))))
                    )
                    for one in scripts
                ]
            )
        )

    found = symbols(apart(pdf(make)))
    assert found.keys() == {"PDF_FIELD_SCRIPT"}
    assert sum(SYMBOLS[name][0] for name in found) == 0


def test_links_are_handed_on_and_one_over_the_page_is_told() -> None:
    def make(made: pikepdf.Pdf) -> None:
        action = Dictionary(S=Name.URI, URI=String("https://bit.ly/x"))
        made.pages[0].Annots = Array([Dictionary(Subtype=Name.Link, Rect=[0, 0, 600, 700], A=action)])

    root = apart(pdf(make))
    assert links(root) == ["https://bit.ly/x"]
    assert symbols(root).keys() == {"PDF_LINK_OVER_PAGE"}


def test_scripts_of_an_xml_form_and_shares_are_told() -> None:
    def make(made: pikepdf.Pdf) -> None:
        form = b"<template><script>eval(unescape('%41'))</script></template>"
        made.Root.AcroForm = Dictionary(XFA=Array([String("template"), made.make_stream(form)]))
        made.Root.OpenAction = Dictionary(S=Name.GoToR, F=String("\\\\192.0.2.1\\share"))

    found = symbols(apart(pdf(make)))
    assert {"PDF_XFA_SCRIPT", "PDF_JAVASCRIPT_SUSPICIOUS", "PDF_NETWORK_SHARE", "PDF_REMOTE_GO_TO"} <= found.keys()


def test_every_symbol_is_in_the_table_and_many_objects_end_in_time() -> None:
    count = 100_000
    body = b"%PDF-1.4\n1 0 obj\n<</Type/Catalog/Pages 2 0 R/OpenAction<</S/Launch/F(a.exe)>>>>\nendobj\n2 0 obj\n<</Type/Pages/Count 1/Kids[3 0 R]>>\nendobj\n3 0 obj\n<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>\nendobj\n"
    raw = body + b"".join(b"%d 0 obj\n<</A(%d)/B[1 2 3]>>\nendobj\n" % (number, number) for number in range(4, count))
    begun = time.process_time()
    found = symbols(apart(raw + b"trailer\n<</Root 1 0 R/Size %d>>\n%%%%EOF" % count))
    assert time.process_time() - begun < 6  # 1.1 s where nothing else runs
    assert {"PDF_LAUNCH", "PDF_MANY_OBJECTS"} <= found.keys() <= SYMBOLS.keys()


def test_a_stream_that_swells_is_a_bomb() -> None:
    def make(made: pikepdf.Pdf) -> None:
        made.attachments["x"] = AttachedFileSpec(made, bytes(20 * 1024 * 1024), filename="x")

    assert "UNPACK_BOMB" in symbols(apart(pdf(make)))


@pytest.mark.parametrize(
    ("target", "symbol"),
    [
        ("doc/other part.pdf", "PDF_REMOTE_GO_TO"),
        ("a.pdf.exe", "PDF_LAUNCH"),
        ("C:\\a.pdf", "PDF_LAUNCH"),
        ("\\\\server\\a.pdf", "PDF_LAUNCH"),
        ("cmd.exe", "PDF_LAUNCH"),
    ],
)
def test_a_launch_of_a_paper_beside_it_is_a_link(target: str, symbol: str) -> None:
    found = symbols(apart(pdf(opens(Dictionary(S=Name.Launch, F=String(target))))))
    assert {"PDF_REMOTE_GO_TO", "PDF_LAUNCH"} & found.keys() == {symbol}
