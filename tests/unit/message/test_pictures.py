"""Sizes from headers: as the decoder sees them, and nothing raises for what is broken."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mailguard.message.pictures import PictureKind, PictureSize, picture_size

STARTS = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF89a",
    b"RIFF\0\0\0\0WEBPVP8 ",
    b"RIFF\0\0\0\0WEBPVP8L",
    b"RIFF\0\0\0\0WEBPVP8X",
    b"BM",
)


def saved(size: tuple[int, int], mode: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, 0).save(out, **options)  # type: ignore[arg-type]
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        (PictureKind.PNG, "RGBA", {}),
        (PictureKind.GIF, "P", {}),
        (PictureKind.BMP, "RGB", {}),
        (PictureKind.JPEG, "RGB", {}),
        (PictureKind.JPEG, "L", {"progressive": True, "comment": b"\xff\xc0" * 400, "icc_profile": bytes(100_000)}),
        (PictureKind.WEBP, "RGB", {}),
        (PictureKind.WEBP, "RGB", {"lossless": True}),
        (PictureKind.WEBP, "RGBA", {"icc_profile": bytes(100)}),
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (37, 300), (640, 81)])
def test_the_size_is_the_decoders(
    kind: PictureKind, mode: str, options: dict[str, object], size: tuple[int, int]
) -> None:
    assert picture_size(saved(size, mode, format=kind.value, **options)) == PictureSize(kind, *size)


@settings(deadline=None)
@given(st.sampled_from((b"", *STARTS)), st.binary(max_size=200))
def test_nothing_raises(start: bytes, rest: bytes) -> None:
    size = picture_size(start + rest)
    assert size is None or size.pixels >= 0


def test_a_jpeg_of_markers_alone_ends() -> None:
    assert picture_size(b"\xff\xd8\xff" + b"\xff\xd0" * 90_000) == PictureSize(PictureKind.JPEG)


def test_other_files_are_no_pictures() -> None:
    for head in (b"", b"%PDF-1.7", b"PK\x03\x04", b"BM is a word" * 9, b"GIF"):
        assert picture_size(head) is None
