"""Attachments taken out: the same tree with just these leaves replaced, every other octet as it was."""

from __future__ import annotations

import base64
import binascii
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.core.decision import Unwanted
from mailguard.core.edits import Edit, edited
from mailguard.message.attachments import inspect
from mailguard.message.message import Message
from mailguard.message.parse import parse
from mailguard.message.strip import CannotStripError, plan, shown

ID = "01JDF00000000000000000000X"


def lines(*texts: str) -> bytes:
    """A message of these lines."""
    return "\r\n".join(texts).encode() + b"\r\n"


def leaf(name: str = "a.exe", content: bytes = b"MZ\0\0program", kind: str = "application/octet-stream") -> list[str]:
    """An attached file as lines, without the delimiters."""
    return [
        f"Content-Type: {kind}",
        f'Content-Disposition: attachment; filename="{name}"',
        "Content-Transfer-Encoding: base64",
        "",
        base64.encodebytes(content).decode().strip().replace("\n", "\r\n"),
    ]


def mixed(*parts: list[str], kind: str = "mixed", boundary: str = "b") -> list[str]:
    """A multipart as lines, its header first."""
    inside = [line for part in parts for line in (f"--{boundary}", *part)]
    return [f"Content-Type: multipart/{kind}; boundary={boundary}", "", *inside, f"--{boundary}--"]


TEXT = ["Content-Type: text/plain", "", "see attachment"]


def unwanted(message: Message, *names: str) -> list[Unwanted]:
    """The attachments of these names."""
    facts = [inspect(part).attachment for part in message.attachments]
    return [Unwanted(one.name, one.sha256, "files like this are not let in") for one in facts if one.name in names]


def strip(raw: bytes, *names: str) -> bytes:
    """The message without the attachments of these names."""
    message = parse(raw)
    return edited(raw, plan(message, unwanted(message, *names), message_id=ID))


def test_a_note_names_the_file_why_it_went_and_whom_to_ask() -> None:
    raw = lines("Subject: x", *mixed(TEXT, leaf(), leaf("b.pdf", b"%PDF-1.4")))
    message = parse(raw)
    out = edited(raw, plan(message, unwanted(message, "a.exe"), message_id=ID, ask="the help desk, help@b.example"))
    note = parse(out).parts[2].text
    for word in ("a.exe", "11 octets", "files like this are not let in", "help@b.example", ID):
        assert word in note
    assert hashlib.sha256(b"MZ\0\0program").hexdigest() in note
    before, _, after = raw.partition("\r\n".join(leaf()).encode())
    assert out.startswith(before)
    assert out.endswith(after)


def test_hostile_names_are_shown_as_they_are() -> None:
    name = "=?utf-8?b?" + base64.b64encode("gpj\u202eexe.é\x07.exe".encode()).decode() + "?="
    raw = lines("Subject: x", *mixed(TEXT, leaf(name)))
    (part,) = parse(raw).attachments
    out = strip(raw, inspect(part).attachment.name)
    note = parse(out).parts[2]
    assert note.encoding == "quoted-printable"
    assert "\u202e" not in note.text
    assert "gpj?exe.é?.exe" in note.text
    assert len(shown("x" * 500)) == 120


def test_a_mail_that_is_nothing_but_the_file_keeps_its_header() -> None:
    raw = lines("From: a@b.example", *leaf()[:3], "Subject: x", *leaf()[3:])
    out = strip(raw, "a.exe")
    message = parse(out)
    assert message.subject == "x"
    assert message.from_addresses == ("a@b.example",)
    assert [part.content_type for part in message.parts] == ["text/plain"]
    assert b"base64" not in out
    assert out.endswith(b"\r\n")


def test_a_file_in_an_attached_message_goes_where_it_stands() -> None:
    inner = ["Content-Type: message/rfc822", "", "Subject: inner", *mixed(TEXT, leaf(), boundary="c")]
    raw = lines("Subject: x", *mixed(TEXT, inner))
    out = parse(strip(raw, "a.exe"))
    assert b"Subject: inner" in out.raw
    assert not list(out.attachments)
    alone = ["Content-Type: message/rfc822", "", "Subject: inner", *leaf()]
    out = parse(strip(lines("Subject: x", *mixed(TEXT, alone, leaf("b.pdf"))), "a.exe"))
    assert b"Subject: inner" in out.raw
    assert [part.filename for part in out.attachments] == ["b.pdf"]


def test_a_uuencoded_file_goes_out_of_its_text() -> None:
    encoded = binascii.b2a_uu(b"MZ\0\0program").decode().strip("\n")
    raw = lines("Subject: x", "", "before", "begin 644 a.exe", encoded, "`", "end", "after")
    out = strip(raw, "a.exe")
    assert b"begin 644" not in out
    assert out.startswith(b"Subject: x\r\n\r\nbefore\r\n[An attachment")
    assert out.endswith(b"\r\nafter\r\n")


def test_a_text_file_goes_with_what_stands_uuencoded_in_it() -> None:
    encoded = binascii.b2a_uu(b"MZ\0\0program").decode().strip("\n")
    text = [
        'Content-Type: text/plain; name="x.txt"',
        "Content-Disposition: attachment",
        "",
        "begin 644 a.exe",
        encoded,
        "`",
        "end",
    ]
    out = parse(strip(lines("Subject: x", *mixed(TEXT, text)), "a.exe", "x.txt"))
    assert b"begin 644" not in out.raw
    assert len(out.parts) == 3


def sealed(kind: str) -> bytes:
    return lines("Subject: x", *mixed(mixed(TEXT, leaf(), boundary="c"), leaf("sig.p7s"), kind=kind))


ENCODED = [
    "Content-Type: message/rfc822",
    "Content-Transfer-Encoding: base64",
    "",
    base64.encodebytes(lines("Subject: i", *mixed(TEXT, leaf(), boundary="c"))).decode().strip().replace("\n", "\r\n"),
]


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (sealed("signed"), "multipart/signed"),
        (sealed("encrypted"), "multipart/encrypted"),
        (lines("Subject: x", *mixed(TEXT, ENCODED)), "encoded message"),
        (lines("Subject: x", *leaf("a.exe", kind="application/pkcs7-mime")), "as a whole"),
    ],
)
def test_what_a_change_would_break_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(CannotStripError, match=why):
        strip(raw, "a.exe")


def test_a_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(CannotStripError, match=r"a\.exe is no part"):
        plan(parse(lines("Subject: x", "", "hi")), [Unwanted("a.exe", "00", "x")], message_id=ID)


@pytest.mark.parametrize("edits", [[Edit(0, 4, ""), Edit(3, 5, "")], [Edit(4, 99, "")], [Edit(3, 2, "")]])
def test_edits_that_cannot_be_made_are_refused(edits: list[Edit]) -> None:
    with pytest.raises(ValueError, match="cannot edit"):
        edited(b"0123456789", edits)


names = st.sampled_from(["a.exe", "b.exe", "keep.pdf", "keep.txt"])
contents = st.binary(max_size=200)
leaves = st.builds(leaf, names, contents, st.sampled_from(["application/octet-stream", "image/png", "text/plain"]))


@st.composite
def trees(draw: st.DrawFn, depth: int = 0) -> list[str]:
    """A body with files at any depth, in multiparts and attached messages."""
    parts = [draw(leaves) for _ in range(draw(st.integers(1, 3)))]
    if depth < 2 and draw(st.booleans()):
        inner = draw(trees(depth + 1))
        parts.append(["Content-Type: message/rfc822", "", "Subject: i", *inner] if draw(st.booleans()) else inner)
    return mixed(TEXT, *parts, boundary=f"b{depth}")


@settings(deadline=None, max_examples=150)
@given(trees(), st.booleans())
def test_the_tree_is_the_same_but_for_the_leaves_replaced(tree: list[str], lf: bool) -> None:
    raw = lines("Subject: x", *tree)
    if lf:
        raw = raw.replace(b"\r\n", b"\n")
    message = parse(raw)
    gone = unwanted(message, "a.exe", "b.exe")
    keys = {(one.name, one.sha256) for one in gone}
    after = parse(edited(raw, plan(message, gone, message_id=ID)))
    assert len(after.parts) == len(message.parts)
    for old, new in zip(message.parts, after.parts, strict=True):
        assert (old.depth, old.parent, old.container) == (new.depth, new.parent, new.container)
        facts = inspect(old).attachment if old.is_attachment else None
        if facts and (facts.name, facts.sha256) in keys:
            assert new.content_type == "text/plain"
            assert facts.sha256 in new.text
        elif not old.container:
            assert raw[old.start : old.end] == after.raw[new.start : new.end]


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.sampled_from([*"ab-\r\n", "\r\n--b\r\n", "--b--", "Content-Type: x/y; name=a.exe", "\r\n\r\n"]), max_size=20
    )
)
def test_a_broken_form_gives_a_sound_outcome_or_a_refusal(pieces: list[str]) -> None:
    raw = f"Content-Type: multipart/mixed; boundary=b\r\n\r\n{''.join(pieces)}".encode()
    message = parse(raw)
    gone = unwanted(message, "a.exe")
    try:
        after = parse(edited(raw, plan(message, gone, message_id=ID)))
    except CannotStripError:
        return
    assert not unwanted(after, "a.exe")
