"""QR codes and their kin in pictures, in pages of PDFs and in drawings. Runs in the sandbox; the relay never imports it.

What each function returns: {"texts": what the codes say}; for PDFs also {"pages": how many there are}.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping

import pypdfium2
from PIL import Image, ImageFile
from zxingcpp import Barcode, BarcodeFormat, BarcodeFormats, read_barcodes

from mailguard.sandbox.frames import Json

KINDS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")
"""Pictures that are read, as Pillow names their formats."""
SIDE = 1600
"""Pixels of a side to which larger pictures are made smaller: a code that fills a tenth of one is still read."""
SMALL = 640
"""Pixels of the longer side up to which the rarer kinds of codes are looked for as well: they cost most in large pictures."""
CODES = 8
"""Codes that are read in one file."""
TEXT_LIMIT = 4096
"""Characters that a code has at most; a QR code has 4,296 at most, and then no camera reads it."""
PAGES = 3
"""Pages of a PDF that are looked at, the first ones."""

_USUAL = (BarcodeFormat.QRCode, BarcodeFormat.MicroQRCode)
_RARER = (*_USUAL, BarcodeFormat.RMQRCode, BarcodeFormat.DataMatrix, BarcodeFormat.Aztec)


def in_picture(raw: bytes, arguments: Mapping[str, Json]) -> Json:
    """Codes in a picture; of an animated one in its first frame. `pixels`: as many it may have.

    Raises what Pillow raises for a broken one, ValueError for one that is too large.
    """
    with Image.open(io.BytesIO(raw), formats=KINDS) as picture:
        if picture.width * picture.height > _number(arguments, "pixels"):
            raise ValueError(f"{picture.width}×{picture.height} pixels are too many")
        picture.draft("L", (SIDE, SIDE))
        texts: list[str] = []
        for grounded in _on_grounds(picture):
            grounded.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
            texts = _read(grounded)
            if texts:
                break
    return {"texts": [*texts]}


def in_pdf(raw: bytes, arguments: Mapping[str, Json]) -> Json:
    """Codes on the first pages of a PDF. Raises PdfiumError for a broken or encrypted one."""
    with pypdfium2.PdfDocument(raw) as document:
        texts: list[str] = []
        for index in range(min(PAGES, len(document))):
            page = document[index]
            longer = max(1.0, *page.get_size())
            bitmap = page.render(scale=min(3.0, SIDE / longer), grayscale=True, may_draw_forms=False)
            texts += _read(bitmap.to_pil())
            bitmap.close()
            page.close()
        each: list[Json] = [*dict.fromkeys(texts)]
        return {"texts": each[:CODES], "pages": len(document)}


def in_drawing(raw: bytes, arguments: Mapping[str, Json]) -> Json:
    """A code drawn in cells: `raw` has an octet for each, 0 dark and 255 light, row by row, `width` in a row.

    Each cell is drawn `across` by `down` pixels. Raises ValueError when the numbers do not fit.
    """
    width = _number(arguments, "width")
    height, rest = divmod(len(raw), width)
    if rest or not height or len(raw) > 500 * 500:
        raise ValueError(f"{len(raw)} cells in rows of {width}")
    cells = Image.frombytes("L", (width, height), raw)
    across, down = _number(arguments, "across"), _number(arguments, "down")
    if not 1 <= across <= 16 or not 1 <= down <= 16:
        raise ValueError(f"cells of {across}×{down} pixels")
    drawn = cells.resize((width * across, height * down), Image.Resampling.NEAREST)
    quiet = Image.new("L", (drawn.width + 8 * across, drawn.height + 8 * across), int(raw[0]))
    quiet.paste(drawn, (4 * across, 4 * across))
    if not (texts := _read(quiet)):
        quiet.paste(255, (0, 0, *quiet.size))  # the first cell may be a code's dark corner
        quiet.paste(drawn, (4 * across, 4 * across))
        texts = _read(quiet)
    return {"texts": [*texts]}


def prepare() -> None:
    """Read a little picture of each kind, so that all plug-ins are loaded; read broken ones as far as they go, as mail programs do."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    for kind in KINDS:
        out = io.BytesIO()
        Image.new("L", (32, 32), 255).save(out, kind)
        in_picture(out.getvalue(), {"pixels": 4096})
    in_picture(_transparent(), {"pixels": 4096})
    document = pypdfium2.PdfDocument.new()
    document.new_page(20, 20)
    out = io.BytesIO()
    document.save(out)
    document.close()
    in_pdf(out.getvalue(), {})


def _transparent() -> bytes:
    out = io.BytesIO()
    Image.new("RGBA", (32, 32), (0, 0, 0, 0)).save(out, "PNG")
    return out.getvalue()


def _number(arguments: Mapping[str, Json], name: str) -> int:
    value = arguments.get(name)
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a number of 1 or more")
    return value


def _on_grounds(picture: Image.Image) -> Iterator[Image.Image]:
    """The picture in shades of grey; a transparent one on white, then on black, as mail programs show it by day and night."""
    if not picture.has_transparency_data:
        yield picture.convert("L")
        return
    colours = picture.convert("RGBA")
    for ground in ("white", "black"):
        shown = Image.new("RGBA", colours.size, ground)
        shown.alpha_composite(colours)
        yield shown.convert("L")


def _read(grey: Image.Image) -> list[str]:
    formats = _RARER if max(grey.size) <= SMALL else _USUAL
    found: list[Barcode] = read_barcodes(grey, formats=BarcodeFormats(formats))
    texts = (code.text[:TEXT_LIMIT] for code in found if code.valid)
    return list(dict.fromkeys(text for text in texts if text))[:CODES]
