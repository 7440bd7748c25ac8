"""The content of a PDF's streams, never more of it than asked for. ISO 32000-2 §7.4."""

from __future__ import annotations

import zlib

import pikepdf
from pikepdf import Array, Stream
from pikepdf.settings import set_qpdf_limits

MEMORY = 48 * 1024 * 1024
"""Octets that one filter of qpdf may make."""
SMALL = 4 * 1024 * 1024
"""Octets of an encoded stream up to which qpdf decodes those of several filters."""


def prepare_streams() -> None:
    """Bound what qpdf itself makes: object streams are decoded by it alone."""
    set_qpdf_limits(
        flate_max_memory=MEMORY,
        png_max_memory=MEMORY,
        tiff_max_memory=MEMORY,
        run_length_max_memory=MEMORY,
        dct_max_memory=MEMORY,
        max_stream_filters=6,
        parser_max_container_size=1_000_000,
    )


def content_of(stream: Stream, limit: int) -> bytes:
    """At most the first `limit` octets of a stream. As it stands when it has filters that are none of text's or files'."""
    entries = stream.stream_dict
    filters = entries.get("/Filter")
    names = (
        [str(one) for one in filters] if isinstance(filters, Array) else [str(filters)] if filters is not None else []
    )
    raw = stream.read_raw_bytes()
    if not names:
        return raw[:limit]
    if names in (["/FlateDecode"], ["/Fl"]) and entries.get("/DecodeParms") is None:
        return _inflate(raw, limit)
    if len(raw) > SMALL:
        raise ValueError(f"{len(raw)} octets in {len(names)} filters are too many")
    try:
        return stream.read_bytes()[:limit]
    except (pikepdf.PdfError, pikepdf.DataDecodingError):
        return raw[:limit]


def _inflate(raw: bytes, limit: int) -> bytes:
    """As far as it goes: readers show what a damaged stream holds up to the damage, too."""
    for window in (15, -15):
        machine = zlib.decompressobj(window)
        out = bytearray()
        try:
            for at in range(0, len(raw), 16 * 1024):
                out += machine.decompress(raw[at : at + 16 * 1024], max(1, limit - len(out)))
                while machine.unconsumed_tail and len(out) < limit:
                    out += machine.decompress(machine.unconsumed_tail, max(1, limit - len(out)))
                if len(out) >= limit or machine.eof:
                    break
        except zlib.error:
            if not out:
                continue
        if out:
            return bytes(out)
    return b""
