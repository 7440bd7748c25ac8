"""Codes in pictures and PDFs within files: read where they lie deeper than the attachment, few of them, within the time."""

from __future__ import annotations

import io
import struct
import time
from email.message import EmailMessage

import docx
import openpyxl
import pytest
from openpyxl.drawing.image import Image as CellPicture
from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from mailguard.message.pictures import PICTURES
from mailguard.sandbox import codes
from mailguard.sandbox.unpack.tree import tree
from mailguard.sandbox.unpack.work import Bounds
from mailguard.sandbox.values import Limits, Outcome
from tests.unit.checks.mail import packed
from tests.unit.checks.qr_mails import LINK, code, saved
from tests.unit.sandbox.test_pool import pool_of, value
from tests.unit.sandbox.unpack.compound import compound

PICTURE = saved(code(LINK))


def drawn_pdf(*texts: str, circles: int = 0) -> bytes:
    """A PDF with a page for each text, with its code on it, and many circles after it."""
    canvas = Canvas("")
    for text in texts:
        canvas.drawImage(ImageReader(code(text).convert("RGB")), 100, 300, 150, 150)
        for number in range(circles):
            canvas.setFillColorRGB(number % 7 / 7, 0, 0)
            canvas.circle(50 + number % 500, 50 + number % 100, 50, fill=1)
        canvas.showPage()
    return canvas.getpdfdata()


def attached(name: str, content: bytes) -> bytes:
    """A mail with a file."""
    made = EmailMessage()
    made["From"], made["Subject"] = "a@b.example", "x"
    made.set_content("see the file")
    made.add_attachment(content, "application", "octet-stream", filename=name)
    return made.as_bytes()


def pictured_docx() -> bytes:
    document = docx.Document()
    document.add_picture(io.BytesIO(PICTURE))
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def pictured_xlsx() -> bytes:
    book = openpyxl.Workbook()
    book.active.add_image(CellPicture(io.BytesIO(PICTURE)), "B2")
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


JPEG = saved(code(LINK), "JPEG")


def old_word() -> bytes:
    """Its pictures stand in a stream of their own, with headers between them."""
    return compound(
        {"WordDocument": b"\xec\xa5" + bytes(600), "Data": bytes(68) + JPEG + bytes(30) + saved(Image.new("L", (9, 9)))}
    )


def old_excel() -> bytes:
    """Its pictures stand in records, of 8,224 octets at most, one after the other."""
    art = bytes(50) + saved(code(LINK, scale=9), "PNG", compress_level=0) + bytes(9)
    pieces = [art[at : at + 8224] for at in range(0, len(art), 8224)]
    assert len(pieces) > 2
    records = [
        (0x809, b"\0\6\5\0" + bytes(12)),
        (0xEB, pieces[0]),
        *((0x3C, piece) for piece in pieces[1:]),
        (0x0A, b""),
    ]
    stream = b"".join(struct.pack("<HH", number, len(data)) + data for number, data in records)
    return compound({"Workbook": stream.ljust(4096, b"\0")})


def old_slides() -> bytes:
    """Its pictures stand in a stream of their own."""
    return compound({"PowerPoint Document": bytes(5000), "Current User": bytes(40), "Pictures": bytes(25) + PICTURE})


def rich_text(raw: bytes, kind: str = "pngblip") -> bytes:
    """A picture in hexadecimal, as Word writes it."""
    digits = raw.hex().encode()
    lines = b"\r\n".join(digits[at : at + 128] for at in range(0, len(digits), 128))
    head = (
        "{\\rtf1 {\\pict{\\*\\picprop}\\picscalex100\\"
        + kind
        + "\\picw1000\\pich1000\r\n{\\*\\blipuid 0123456789abcdef}"
    )
    return head.encode() + lines + b"}}"


def told(raw: bytes, name: str, **arguments: object) -> tuple[list[list[str]], list[str]]:
    """The codes of a file's tree as [path, text], and the symbols."""
    answer = tree(raw, {"name": name, **arguments}).value  # type: ignore[dict-item]
    assert isinstance(answer, dict)
    found = [one[0] for file in answer["files"] for one in file["found"]]  # type: ignore[union-attr, call-overload, index]
    return [link[:2] for link in answer["links"] if link[2] == "qr"], found  # type: ignore[union-attr, call-overload, index]


@pytest.mark.parametrize(
    ("name", "raw", "path"),
    [
        ("a.zip", packed(b_png=PICTURE), "a.zip/b.png"),
        ("a.zip", packed(c_zip=packed(b_jpg=saved(code(LINK, scale=8), "JPEG"))), "a.zip/c.zip/b.jpg"),
        ("a.zip", packed(b_pdf=drawn_pdf("https://a.example/", LINK)), "a.zip/b.pdf"),
        ("a.eml", attached("b.png", PICTURE), "a.eml/b.png"),
        ("a.docx", pictured_docx(), "a.docx"),
        ("a.zip", packed(b_docx=pictured_docx()), "a.zip/b.docx"),
        ("a.xlsx", pictured_xlsx(), "a.xlsx"),
        ("a.doc", old_word(), "a.doc"),
        ("a.xls", old_excel(), "a.xls"),
        ("a.ppt", old_slides(), "a.ppt"),
        ("a.rtf", rich_text(PICTURE), "a.rtf"),
        ("a.rtf", rich_text(JPEG, "jpegblip"), "a.rtf"),
        ("a.rtf", b"{\\rtf1 {\\pict\\pngblip\\bin%d " % len(PICTURE) + PICTURE + b"}}", "a.rtf"),
    ],
    ids=[
        *("zip", "zips", "pdf", "mail", "docx", "docx in zip", "xlsx", "doc", "xls", "ppt", "rtf", "rtf with jpeg"),
        "rtf with octets",
    ],
)
def test_codes_are_read(name: str, raw: bytes, path: str) -> None:
    links, found = told(raw, name)
    assert [path, LINK] in links
    assert not {"UNPACK_BROKEN", "UNPACK_TWO_KINDS"} & {*found}


def test_the_attachment_itself_is_left_to_the_qr_check() -> None:
    assert told(drawn_pdf(LINK), "a.pdf")[0] == []


def test_the_likeliest_are_read_and_few() -> None:
    photos = {f"p{n}_png": saved(Image.effect_noise((300, 200 + n), 90)) for n in range(9)}
    links, _ = told(packed(**photos, code_png=PICTURE), "a.zip")
    assert links == [["a.zip/code.png", LINK]]
    many = {f"q{n}_png": saved(code(f"{LINK}{n}")) for n in range(9)}
    assert len(told(packed(**many), "a.zip")[0]) == PICTURES


def test_lines_icons_and_broken_pictures_are_no_codes() -> None:
    files = {"a_png": saved(Image.new("L", (900, 70))), "b_png": saved(Image.new("L", (32, 32))), "c_png": PICTURE[:90]}
    links, found = told(packed(**files), "a.zip")
    assert not links
    assert not found


def test_what_is_too_large_or_late_is_told() -> None:
    large = saved(Image.new("1", (8_000, 8_000)))
    assert "QR_PICTURE_TOO_LARGE" in told(packed(a_png=large), "a.zip")[1]
    middling = saved(Image.new("1", (5_000, 5_000)))
    assert "QR_PICTURE_TOO_LARGE" in told(packed(a_png=middling), "a.zip", seconds=0.2)[1]


def test_drawing_a_pdf_ends_in_time_and_what_is_drawn_is_read() -> None:
    raw = drawn_pdf(LINK, circles=15_000)
    before = time.process_time()
    answer = codes.in_pdf(raw, {"seconds": 0.15})
    assert answer == {"texts": [LINK], "pages": 1}
    assert time.process_time() - before < 0.6


async def test_it_works_in_a_process_without_rights() -> None:
    async with pool_of(Limits(), registry="mailguard.sandbox.registry") as pool:
        raw = packed(b_pdf=drawn_pdf("https://a.example/"), c_png=PICTURE)
        answer = await pool.run("unpack.tree", raw, {"name": "a.zip", "seconds": Bounds().seconds})
        assert answer.outcome is Outcome.OK
        assert {link[1] for link in value(answer)["links"]} == {LINK, "https://a.example/"}  # type: ignore[index, union-attr]
