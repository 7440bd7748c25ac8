"""The attachments check: facts for the profile to decide by, and what no honest file does."""

from __future__ import annotations

import email.message
import io
import zipfile

import pytest

from mailguard.checks.attachments import SYMBOLS, AttachmentsCheck
from mailguard.core.verdict import CheckResult
from tests.unit.checks.contexts import context

MZ = b"MZ" + b"\0" * 100


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


async def check(*files: tuple[str, bytes]) -> CheckResult:
    mail = email.message.EmailMessage()
    mail.set_content("see attachment")
    for name, content in files:
        mail.add_attachment(content, "application", "octet-stream", filename=name)
    return await AttachmentsCheck().run(context(mail.as_bytes(policy=mail.policy.clone(linesep="\r\n"))), {})


@pytest.mark.parametrize(
    ("name", "content", "symbols"),
    [
        ("report.pdf", b"%PDF-1.4", []),
        ("notes.txt", b"words", []),
        ("archive.zip", zipped({"a.txt": b"x"}), []),
        ("setup.exe", MZ, ["ATTACHMENT_EXECUTABLE"]),
        ("setup.bin", MZ, ["ATTACHMENT_EXECUTABLE"]),
        ("run.js", b"alert(1)", ["ATTACHMENT_EXECUTABLE"]),
        ("invoice.pdf.exe", MZ, ["ATTACHMENT_EXECUTABLE", "ATTACHMENT_DOUBLE_EXTENSION"]),
        ("invoice.pdf", MZ, ["ATTACHMENT_EXECUTABLE", "ATTACHMENT_TYPE_MISMATCH"]),
        ("invoice.pdf", b"<html><body>login", ["ATTACHMENT_TYPE_MISMATCH"]),
        ("photo.jpg", zipped({"a.txt": b"x"}), ["ATTACHMENT_TYPE_MISMATCH"]),
        ("invoice\u202efdp.exe", MZ, ["ATTACHMENT_EXECUTABLE", "ATTACHMENT_HIDDEN_EXTENSION"]),
        ("page.html", b"<html>", ["ATTACHMENT_HTML"]),
        ("a.zip", zipped({"dir/b.exe": MZ}), ["ATTACHMENT_ARCHIVED_EXECUTABLE"]),
        ("a.zip", zipped({"b.pdf.scr": MZ}), ["ATTACHMENT_ARCHIVED_EXECUTABLE", "ATTACHMENT_DOUBLE_EXTENSION"]),
        ("a.zip", zipped({"b.txt": b"x"})[:-5], ["ATTACHMENT_BROKEN_ARCHIVE"]),
        ("a.docm", zipped({"[Content_Types].xml": b"", "word/vbaProject.bin": b""}), ["ATTACHMENT_MACRO"]),
    ],
)
async def test_symbols(name: str, content: bytes, symbols: list[str]) -> None:
    result = await check((name, content))
    assert [symbol.name for symbol in result.symbols] == symbols
    assert all(symbol.name in SYMBOLS and symbol.score == SYMBOLS[symbol.name][0] for symbol in result.symbols)


async def test_facts_name_the_members_of_archives() -> None:
    result = await check(("a.zip", zipped({"dir/b.exe": MZ, "c.txt": b"x"})), ("d.pdf", b"%PDF-"))
    assert [(fact.name, fact.true_type) for fact in result.attachments] == [
        ("a.zip", "application/zip"),
        ("a.zip/dir/b.exe", ""),
        ("a.zip/c.txt", ""),
        ("d.pdf", "application/pdf"),
    ]


async def test_the_inner_files_of_documents_are_not_attachments() -> None:
    document = zipped({"[Content_Types].xml": b"", "word/document.xml": b"", "word/embeddings/x.exe": MZ})
    assert [fact.name for fact in (await check(("a.docx", document))).attachments] == [
        "a.docx",
        "a.docx/word/embeddings/x.exe",
    ]


async def test_a_mail_without_files() -> None:
    result = await AttachmentsCheck().run(context(), {})
    assert (result.symbols, result.attachments) == ((), ())


async def test_scripts_in_an_archive_of_source_code_are_told_from_programs() -> None:
    sources = {"a/setup.py": b"import a", **{f"a/{number}.c": b"int a;" for number in range(4)}}
    result = await check(("a.zip", zipped(sources)))
    assert [symbol.name for symbol in result.symbols] == ["ATTACHMENT_ARCHIVED_SOURCE"]
    result = await check(("a.zip", zipped({**sources, "run.js": b"x"})))
    assert {symbol.name for symbol in result.symbols} == {
        "ATTACHMENT_ARCHIVED_SOURCE",
        "ATTACHMENT_ARCHIVED_EXECUTABLE",
    }
    result = await check(("a.zip", zipped({"setup.py": b"import a", "notes.txt": b"a"})))
    assert [symbol.name for symbol in result.symbols] == ["ATTACHMENT_ARCHIVED_EXECUTABLE"]
