"""Ordinary documents of office programs: Word, Excel, PowerPoint, OpenDocument, RTF."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

import docx
import openpyxl
import pptx
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Inches
from docx.text.paragraph import Paragraph
from openpyxl.chart import BarChart, Reference
from openpyxl.drawing.image import Image as SheetImage
from openpyxl.worksheet.datavalidation import DataValidation
from pptx.util import Inches as SlideInches

from tests.ordinary.words import FIRMS, PEOPLE, paragraphs, picture, rows


def documents() -> Iterator[tuple[str, bytes]]:
    """(name, octets) of each."""
    for number in range(30):
        yield f"minutes-{number}.docx", _docx(number)
    for number in range(30):
        yield f"figures-{number}.xlsx", _xlsx(number)
    for number in range(12):
        yield f"talk-{number}.pptx", _pptx(number)
    for number in range(10):
        yield f"letter-{number}.odt", _odt(number)
    for number in range(10):
        yield f"note-{number}.rtf", _rtf(number)


def _docx(number: int) -> bytes:
    document = docx.Document()
    document.core_properties.author = PEOPLE[number % len(PEOPLE)]
    document.add_heading(FIRMS[number % len(FIRMS)], 0)
    for text in paragraphs(number):
        document.add_paragraph(text, style="List Bullet" if number % 3 == 0 else None)
    if number % 2:
        table = document.add_table(rows=1, cols=3)
        for item, count, price in rows(number):
            cells = table.add_row().cells
            cells[0].text, cells[1].text, cells[2].text = item, str(count), f"{price:.2f}"
    if number % 3 == 1:
        document.add_picture(io.BytesIO(picture(number, "JPEG")), width=Inches(3))
    if number % 4 == 2:
        _hyperlink(document.add_paragraph("See "), "our site", f"https://www.firm{number}.example/offers")
    if number % 5 == 3:
        document.sections[0].footer.paragraphs[0].text = "Registered office: Harbour Street 5"
        _field(document.sections[0].header.paragraphs[0], " PAGE ")
    if number % 5 == 4:
        _field(document.add_paragraph(), ' TOC \\o "1-3" \\h \\z \\u ')
        _field(document.add_paragraph(), ' MERGEFIELD "Name" ')
    return _saved(document)


def _hyperlink(paragraph: Paragraph, text: str, url: str) -> None:
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/hyperlink"
    link = OxmlElement("w:hyperlink")
    link.set(qn("r:id"), paragraph.part.relate_to(url, kind, is_external=True))
    run = OxmlElement("w:r")
    shown = OxmlElement("w:t")
    shown.text = text
    run.append(shown)
    link.append(run)
    paragraph._p.append(link)


def _field(paragraph: Paragraph, instruction: str) -> None:
    for kind in ("begin", "", "end"):
        run = paragraph.add_run()
        if kind:
            mark = OxmlElement("w:fldChar")
            mark.set(qn("w:fldCharType"), kind)
        else:
            mark = OxmlElement("w:instrText")
            mark.text = instruction
        run._r.append(mark)


def _xlsx(number: int) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Figures"
    sheet.append(["Item", "Count", "Price", "Sum"])
    for row, (item, count, price) in enumerate(rows(number), 2):
        sheet.append([item, count, price, f"=B{row}*C{row}"])
    sheet.append(["Total", None, None, f"=SUM(D2:D{row})"])
    if number % 2:
        chart = BarChart()
        chart.add_data(Reference(sheet, min_col=2, min_row=1, max_row=row), titles_from_data=True)
        sheet.add_chart(chart, "F2")
    if number % 3 == 1:
        sheet.add_image(SheetImage(io.BytesIO(picture(number))), "F20")
    if number % 3 == 2:
        sheet["A20"] = '=HYPERLINK("https://www.supplier.example/catalogue", "catalogue")'
        sheet["A21"] = "orders"
        sheet["A21"].hyperlink = "mailto:orders@supplier.example"
    if number % 4 == 3:
        choice = DataValidation(type="list", formula1='"yes,no"')
        sheet.add_data_validation(choice)
        choice.add("G1:G9")
        book.create_sheet("Hidden").sheet_state = "hidden"
        sheet["H1"] = '=IFERROR(VLOOKUP(A2,A2:C9,3,FALSE),"none")'
    if number % 5 == 4:
        sheet.protection.enable()
    return _saved(book)


def _pptx(number: int) -> bytes:
    talk = pptx.Presentation()
    for text in paragraphs(number, count=4):
        slide = talk.slides.add_slide(talk.slide_layouts[1])
        slide.shapes.title.text = FIRMS[number % len(FIRMS)]
        slide.placeholders[1].text = text
    slide.shapes.add_picture(io.BytesIO(picture(number)), SlideInches(1), SlideInches(4))
    if number % 3 == 1:
        run = slide.placeholders[1].text_frame.paragraphs[0].runs[0]
        run.hyperlink.address = "https://www.school.example/timetable"
    return _saved(talk)


def _saved(document: object) -> bytes:
    out = io.BytesIO()
    document.save(out)  # type: ignore[attr-defined]  # what the three libraries share
    return out.getvalue()


def _odt(number: int) -> bytes:
    text = "".join(f"<text:p>{paragraph}</text:p>" for paragraph in paragraphs(number))
    namespaces = (
        'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
        'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
        'xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0" office:version="1.3"'
    )
    kind = "application/vnd.oasis.opendocument.text"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("mimetype", kind)
        archive.writestr(
            "content.xml",
            f'<?xml version="1.0"?><office:document-content {namespaces}><office:body><office:text>{text}</office:text>'
            "</office:body></office:document-content>",
            zipfile.ZIP_DEFLATED,
        )
        archive.writestr("Pictures/1.png", picture(number))
        archive.writestr(
            "META-INF/manifest.xml",
            f'<?xml version="1.0"?><manifest:manifest {namespaces}><manifest:file-entry manifest:full-path="/" '
            f'manifest:media-type="{kind}"/></manifest:manifest>',
            zipfile.ZIP_DEFLATED,
        )
    return out.getvalue()


def _rtf(number: int) -> bytes:
    lines = "\\par\n".join(
        "".join(letter if ord(letter) < 128 else f"\\u{ord(letter)}?" for letter in text) for text in paragraphs(number)
    )
    drawn = ""
    if number % 2:
        drawn = "{\\pict\\pngblip\\picw240\\pich160 " + picture(number).hex() + "}"
    link = ""
    if number % 3 == 1:
        link = '{\\field{\\*\\fldinst{HYPERLINK "https://www.club.example/"}}{\\fldrslt our club}}'
    head = "{\\rtf1\\ansi\\ansicpg1252\\deff0{\\fonttbl{\\f0\\fswiss Helvetica;}}{\\colortbl;\\red0\\green0\\blue128;}"
    return f"{head}\\f0\\fs24 {lines}\\par {link}{drawn}}}".encode("ascii")
