"""QR codes and their kin in pictures, in pages of PDFs and in drawings. Runs in the sandbox; the relay never imports it.

What each function returns: {"texts": what the codes say}; for PDFs also {"pages": how many there are}.
"""

from __future__ import annotations

import ctypes
import io
import time
from collections.abc import Mapping

import pypdfium2
import pypdfium2.raw as pdfium
from PIL import Image, ImageFile
from zxingcpp import Barcode, BarcodeFormat, BarcodeFormats, read_barcodes

from mailguard.sandbox.frames import Json
from mailguard.sandbox.unpack.svg_drawing import drawn

KINDS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")
"""Pictures that are read, as Pillow names their formats."""
SIDE = 1600
"""Pixels of a side to which larger pictures are made smaller: a code that fills a tenth of one is still read."""
BAND = 64
"""Rows of the smaller picture that are made at a time."""
SMALL = 640
"""Pixels of the longer side up to which the rarer kinds of codes are looked for as well: they cost most in large pictures."""
CODES = 8
"""Codes that are read in one file."""
TEXT_LIMIT = 4096
"""Characters that a code has at most; a QR code has 4,296 at most, and then no camera reads it."""
PAGES = 3
"""Pages of a PDF that are looked at, the first ones."""
PDF_SECONDS = 1.2
"""CPU time that drawing a PDF's pages may take; what is not drawn by then is not read."""

_USUAL = (BarcodeFormat.QRCode, BarcodeFormat.MicroQRCode)
_RARER = (*_USUAL, BarcodeFormat.RMQRCode, BarcodeFormat.DataMatrix, BarcodeFormat.Aztec)


def in_picture(raw: bytes, arguments: Mapping[str, Json]) -> Json:
    """Codes in a picture; of an animated one in its first frame. `pixels`: as many it may have.

    Raises what Pillow raises for a broken one, ValueError for one that is too large, MemoryError.
    """
    try:
        picture = Image.open(io.BytesIO(raw), formats=KINDS)
    except OSError as error:
        if "could not create decoder object" in str(error):  # what the WebP plug-in says when it is given no memory
            raise MemoryError from error
        raise
    with picture:
        if picture.width * picture.height > _number(arguments, "pixels"):
            raise ValueError(f"{picture.width}×{picture.height} pixels are too many")
        picture.draft("L", (SIDE, SIDE))
        texts: list[str] = []
        # A transparent one as mail programs show it by day and by night.
        for ground in ("white", "black") if picture.has_transparency_data else ("white",):
            texts = _read(_grey(picture, ground))
            if texts:
                break
    return {"texts": [*texts]}


def in_pdf(raw: bytes, arguments: Mapping[str, Json]) -> Json:
    """Codes on the first pages of a PDF, as far as they are drawn in `seconds` of CPU, by default PDF_SECONDS.

    Raises PdfiumError for a broken or encrypted one.
    """
    seconds = arguments.get("seconds")
    until = time.process_time() + (seconds if isinstance(seconds, int | float) else PDF_SECONDS)
    with pypdfium2.PdfDocument(raw) as document:
        texts: list[str] = []
        for index in range(min(PAGES, len(document))):
            if time.process_time() > until:
                break
            page = document[index]
            bitmap = _draw(page, until)
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


def in_svg(raw: bytes) -> list[str]:
    """What codes say that are drawn in an SVG picture by rectangles, circles or paths."""
    picture = drawn(raw)
    return _read(picture) if picture is not None else []


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


_PauseFunction = dict(pdfium.IFSDK_PAUSE._fields_)["NeedToPauseNow"]


def _is_late(pause: ctypes._Pointer[pdfium.IFSDK_PAUSE]) -> int:
    """What PDFium asks now and then while it draws: whether to stop. `user` points to the CPU time at which to."""
    until = ctypes.cast(pause.contents.user, ctypes.POINTER(ctypes.c_double))
    return int(time.process_time() > until.contents.value)


_IS_LATE = _PauseFunction(_is_late)
"""It as code, made while that can be done: a process that has given up its rights can make none."""


def _draw(page: pypdfium2.PdfPage, until: float) -> pypdfium2.PdfBitmap:
    """A page in shades of grey, with what was drawn of it by `until`."""
    scale = min(3.0, SIDE / max(1.0, *page.get_size()))
    width, height = (max(1, round(side * scale)) for side in page.get_size())
    bitmap = pypdfium2.PdfBitmap.new_native(width, height, pdfium.FPDFBitmap_Gray)
    bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
    deadline = ctypes.c_double(until)
    pause = pdfium.IFSDK_PAUSE(1, _IS_LATE, ctypes.cast(ctypes.pointer(deadline), ctypes.c_void_p))
    flags = pdfium.FPDF_GRAYSCALE | pdfium.FPDF_ANNOT
    pdfium.FPDF_RenderPageBitmap_Start(bitmap, page, 0, 0, width, height, 0, flags, ctypes.byref(pause))
    pdfium.FPDF_RenderPage_Close(page)
    return bitmap


def _transparent() -> bytes:
    out = io.BytesIO()
    Image.new("RGBA", (32, 32), (0, 0, 0, 0)).save(out, "PNG")
    return out.getvalue()


def _number(arguments: Mapping[str, Json], name: str) -> int:
    value = arguments.get(name)
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a number of 1 or more")
    return value


def _grey(picture: Image.Image, ground: str) -> Image.Image:
    """A picture in shades of grey on a ground, made smaller to SIDE band by band: a large one is in memory only once."""
    factor = -(-max(picture.size) // SIDE)
    if factor == 1:
        return _flat(picture, ground)
    smaller = Image.new("L", (-(-picture.width // factor), -(-picture.height // factor)))
    for top in range(0, picture.height, BAND * factor):
        band = picture.crop((0, top, picture.width, min(top + BAND * factor, picture.height)))
        smaller.paste(_flat(band, ground).reduce(factor), (0, top // factor))
    return smaller


def _flat(picture: Image.Image, ground: str) -> Image.Image:
    if not picture.has_transparency_data:
        return picture.convert("L")
    shown = Image.new("RGBA", picture.size, ground)
    shown.alpha_composite(picture.convert("RGBA"))
    return shown.convert("L")


def _read(grey: Image.Image) -> list[str]:
    formats = _RARER if max(grey.size) <= SMALL else _USUAL
    found: list[Barcode] = read_barcodes(grey, formats=BarcodeFormats(formats))
    texts = (code.text[:TEXT_LIMIT] for code in found if code.valid)
    return list(dict.fromkeys(text for text in texts if text))[:CODES]
