"""Codes in the pictures and PDFs that lie within a file; what they say is handed on as links. Of attached ones the qr check tells."""

from __future__ import annotations

from collections.abc import Iterator

from mailguard.message.pictures import (
    HEAD,
    LEAST,
    OCTETS,
    PDFS,
    PICTURES,
    PIXELS,
    PictureSize,
    can_hold_code,
    code_rank,
    picture_size,
)
from mailguard.sandbox import codes
from mailguard.sandbox.frames import Json
from mailguard.sandbox.unpack.work import File, Picture, Work

VIA = "qr"
"""How a link was found that stands in a code."""
TOO_LARGE = "QR_PICTURE_TOO_LARGE"
SECONDS_A_PIXEL = 30e-9
"""CPU time of the kind of picture that takes longest, one with transparency."""
SECONDS_A_PDF = 0.1
"""CPU time that must be left for a PDF; drawing it ends when the time does."""

SECONDS_AN_SVG = 0.2
"""CPU time that must be left for an SVG picture, of which no other check tells either where it is attached itself."""


def look(files: list[File], work: Work) -> None:
    """Read the likeliest pictures and PDFs in the time that the work has left, and hand on what their codes say."""
    pictures: list[tuple[Picture, PictureSize]] = []
    pdfs: list[Picture] = []
    seen: set[bytes] = set()
    for one in _all(files, work):
        size = picture_size(one.raw[:HEAD])
        if one.raw in seen or not (one.is_pdf or (size is not None and can_hold_code(size))):
            continue
        seen.add(one.raw)
        if len(one.raw) > OCTETS or (size is not None and size.pixels > PIXELS):
            shown = f"{size.width}×{size.height} pixels" if size and size.pixels > PIXELS else f"{len(one.raw)} octets"
            work.found(one.file, TOO_LARGE, f"{one.name}: {shown}")
        elif size is not None:
            pictures.append((one, size))
        else:
            pdfs.append(one)
    pictures.sort(key=lambda pair: code_rank(pair[0].name, pair[1], len(pair[0].raw)))
    for one, size in pictures[:PICTURES]:
        affordable = int(work.seconds_left / SECONDS_A_PIXEL)
        if size.pixels >= affordable:
            work.found(one.file, TOO_LARGE, f"{one.name}: no time is left for {size.width}×{size.height} pixels")
        else:
            _read(one, work, {"pixels": min(PIXELS, affordable)})
    for one in pdfs[:PDFS]:
        if work.seconds_left < SECONDS_A_PDF:
            work.found(one.file, TOO_LARGE, f"{one.name}: no time is left for a PDF")
        else:
            _read(one, work, {"seconds": work.seconds_left})
    svgs = [file for file in files if file.kind == "image/svg+xml"]
    for file in svgs[:PICTURES]:
        if work.seconds_left > SECONDS_AN_SVG:
            for text in codes.in_svg(file.raw):
                work.link(file, text, VIA)


def _all(files: list[File], work: Work) -> Iterator[Picture]:
    for file in files:
        if file.depth and len(file.raw) >= LEAST:
            yield Picture(file, file.name, file.raw)
    yield from work.pictures


def _read(picture: Picture, work: Work, arguments: dict[str, Json]) -> None:
    read = codes.in_pdf if picture.is_pdf else codes.in_picture
    try:
        answer = read(picture.raw, arguments)
    except MemoryError:
        work.found(picture.file, TOO_LARGE, f"{picture.name}: no memory is left for it")
        return
    except Exception:  # noqa: BLE001 - a broken picture, or an encrypted PDF: nobody sees a code there
        return
    texts = answer["texts"] if isinstance(answer, dict) else None
    for text in texts if isinstance(texts, list) else ():
        work.link(picture.file, str(text), VIA)
