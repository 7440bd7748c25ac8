"""Pages: files that they hold encoded are taken out, however they are encoded, and hostile sources end in time."""

from __future__ import annotations

import base64
import io
import time
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.sandbox.unpack.encoded_runs import hidden_files
from mailguard.sandbox.unpack.page import open_page
from mailguard.sandbox.unpack.work import File, Work
from tests.unit.sandbox.unpack.taken import apart, symbols


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.exe", "MZ" * 300)
    return out.getvalue()


TEXT = b"a text of some length that is hidden in a page, as a test file is that scanners know"
ZIP = _zip()


def _pieces(encoded: str) -> list[str]:
    return [encoded[at : at + 20] for at in range(0, len(encoded), 20)]


def sources(payload: bytes) -> dict[str, str]:
    """The payload in a page, by how it is hidden."""
    plain = base64.b64encode(payload).decode()
    return {
        "base64": f'<script>atob("{plain}")</script>',
        "base64 in lines": f"<script>`\n{base64.encodebytes(payload).decode()}`</script>",
        "added": "<script>x='" + "' + '".join(_pieces(plain)) + "'</script>",
        "listed": "<script>x=['" + "',\n'".join(_pieces(plain)) + "'].join('')</script>",
        "appended": "<script>x='';" + "".join(f"x+='{one}';\n" for one in _pieces(plain)) + "</script>",
        "turned round": f'<script>"{plain[::-1]}".split("").reverse()</script>',
        "data URI": f'<a download href="data:application/zip;base64,{plain}">',
        "percent codes": "<script>unescape('" + "".join(f"%{one:02x}" for one in payload) + "')</script>",
        "hexadecimal": f"<script>'{payload.hex()}'</script>",
        "escapes": "<script>'" + "".join(f"\\x{one:02x}" for one in payload) + "'</script>",
        "character codes": f"<script>[{', '.join(map(str, payload))}]</script>",
    }


@pytest.mark.parametrize("how", sources(b""))
@pytest.mark.parametrize("payload", [TEXT, ZIP], ids=["text", "zip"])
def test_what_a_page_holds_is_taken_out(how: str, payload: bytes) -> None:
    root = apart(b"<!doctype html><html>" + sources(payload)[how].encode(), "a.html")
    assert payload in [child.raw for child in root.children]
    assert ("PAGE_HIDES_FILE" in symbols(root)) is (payload is ZIP)


def test_pictures_and_addresses_in_a_page_are_no_files() -> None:
    picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(200)).decode()
    tracked = base64.b64encode(b'{"campaign": "a long enough name of some campaign, and more"}').decode()
    root = apart(f'<html><img src="data:image/png;base64,{picture}"><a href="https://a.example/c/{tracked}">'.encode())
    assert root.children == []
    assert symbols(root) == {}


def test_a_page_within_another_file_is_told_of_by_the_names_of_attached_ones() -> None:
    source = (
        b"<html><form action='http://a.example/b'><input type=password></form><script src='https://c.example/x.js'>"
    )
    file = File("a.html", source, "text/html", depth=1)
    open_page(file, Work(file))
    assert {"PAGE_FORM", "PAGE_PASSWORD", "PAGE_REMOTE_SCRIPT"} <= {name for name, _ in file.found}
    assert file.links == [("http://a.example/b", "")]
    picture = File("a.svg", b"<svg onload='alert(1)'>", "image/svg+xml", depth=1)
    open_page(picture, Work(picture))
    assert "SVG_SCRIPT" in {name for name, _ in picture.found}


LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "ha">'
    + b"".join(b'<!ENTITY a%d "&a;&a;&a;&a;&a;&a;&a;&a;&a;">' % number for number in range(30))
    + b"]><svg>&a29;</svg>"
)


@pytest.mark.parametrize(
    "source",
    [
        b"<div>" * 200_000,
        b"<a " * 200_000,
        b"A" * 4_000_000,
        b"%41" * 1_000_000,
        b"'+'" * 1_000_000,
        b"1," * 1_000_000,
        b"\\x41 " * 600_000,
        b"data:," * 600_000,
        (b"A" * 53 + b"\n") * 60_000,
        LAUGHS,
    ],
    ids=lambda source: source[:8].decode(),
)
def test_hostile_sources_end_in_time(source: bytes) -> None:
    file = File("a.html", source, "text/html", depth=1)
    begun = time.process_time()
    open_page(file, Work(file))
    assert time.process_time() - begun < 4  # 0.3 s at most where nothing else runs


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=400))
def test_any_source_is_read(source: bytes) -> None:
    for hidden in hidden_files(source + b"'" + source.hex().encode() + b"'", limit=1_000, count=10):
        assert len(hidden.raw) <= 1_000
