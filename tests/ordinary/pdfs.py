"""Ordinary PDFs: letters, forms, invoices with their data attached, presentations, signed and protected ones."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pikepdf
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from tests.ordinary.words import FIRMS, paragraphs, picture, rows

_FORMATTING = 'AFNumber_Format(2, 0, 0, 0, "EUR ", true);'
_ADDING = 'AFSimple_Calculate("SUM", new Array ("net", "tax"));'


def documents() -> Iterator[tuple[str, bytes]]:
    """(name, octets) of each."""
    for number in range(12):
        yield f"letter-{number}.pdf", _letter(number)
    for number in range(8):
        yield f"form-{number}.pdf", _form(number)
    for number in range(8):
        yield f"invoice-{number}.pdf", _invoice(number)
    for number in range(4):
        yield f"protected-{number}.pdf", _protected(number)
    for number in range(4):
        yield f"compact-{number}.pdf", _compact(number)


def _letter(number: int) -> bytes:
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=A4)
    for page in range(1 + number % 3):
        canvas.setFont("Helvetica-Bold", 14)
        canvas.drawString(60, 780, FIRMS[number % len(FIRMS)])
        canvas.setFont("Helvetica", 10)
        for line, text in enumerate(paragraphs(number + page)):
            canvas.drawString(60, 740 - 20 * line, text[:95])
        if number % 2:
            canvas.drawImage(ImageReader(io.BytesIO(picture(number))), 60, 400, 240, 160)
        if number % 3 == 1:
            canvas.drawString(60, 80, "www.firm.example")
            canvas.linkURL("https://www.firm.example/", (60, 76, 160, 92))
        canvas.bookmarkPage(f"p{page}")
        canvas.addOutlineEntry(f"Page {page}", f"p{page}")
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def _form(number: int) -> bytes:
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=A4)
    canvas.drawString(60, 780, "Registration")
    form = canvas.acroForm
    for line, name in enumerate(("name", "street", "town", "net", "tax", "total")):
        canvas.drawString(60, 740 - 30 * line, name)
        form.textfield(name=name, x=140, y=732 - 30 * line, width=200, height=18)
    form.checkbox(name="member", x=140, y=500)
    canvas.save()
    if number % 2 == 0:
        return out.getvalue()
    with pikepdf.open(out) as document:
        for field in document.Root.AcroForm.Fields:
            name = str(field.T)
            if name in ("net", "tax", "total"):
                actions = {"/F": _script(_FORMATTING)}
                if name == "total":
                    actions["/C"] = _script(_ADDING)
                field["/AA"] = pikepdf.Dictionary(actions)
        return _saved(document)


def _script(source: str) -> pikepdf.Dictionary:
    return pikepdf.Dictionary(S=pikepdf.Name.JavaScript, JS=pikepdf.String(source))


def _invoice(number: int) -> bytes:
    """With its data as XML beside it, as ZUGFeRD and Factur-X have it."""
    lines = "".join(
        f"<Line><Name>{item}</Name><Count>{count}</Count><Price>{price:.2f}</Price></Line>"
        for item, count, price in rows(number)
    )
    with pikepdf.open(io.BytesIO(_letter(number))) as document:
        data = f'<?xml version="1.0" encoding="UTF-8"?><Invoice>{lines}</Invoice>'.encode()
        document.attachments["factur-x.xml"] = pikepdf.AttachedFileSpec(
            document, data, filename="factur-x.xml", mime_type="text/xml"
        )
        with document.open_metadata() as metadata:
            metadata["dc:title"] = f"Invoice {number}"
        return _saved(document)


def _protected(number: int) -> bytes:
    """Everybody may read it, and not everybody print it."""
    with pikepdf.open(io.BytesIO(_letter(number))) as document:
        encryption = pikepdf.Encryption(
            owner="office", user="", R=(3, 4, 6, 6)[number], aes=number > 0, metadata=number > 0
        )
        return _saved(document, encryption=encryption)


def _compact(number: int) -> bytes:
    with pikepdf.open(io.BytesIO(_letter(number))) as document:
        page = pikepdf.Array([document.pages[0].obj, pikepdf.Name.XYZ, None, None, None])
        document.Root.OpenAction = page  # shows a page, and runs nothing
        return _saved(document, object_stream_mode=pikepdf.ObjectStreamMode.generate, linearize=number % 2 == 1)


def _saved(document: pikepdf.Pdf, **options: object) -> bytes:
    out = io.BytesIO()
    document.save(out, **options)  # type: ignore[arg-type]
    return out.getvalue()
