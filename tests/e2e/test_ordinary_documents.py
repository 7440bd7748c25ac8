"""None of the ordinary documents looks like an attack to the checks that look into files, run as the relay runs them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mailguard.core.attachments import UNINSPECTABLE
from mailguard.core.verdict import CheckResult, CheckStatus
from tests.e2e.mails import ORDINARY, with_attachment
from tests.looking import CHECKS, build, judged
from tests.ordinary import files, office, pdfs
from tests.servers.clamd import EICAR, Clamd
from tests.wrappings import in_rar, in_zip_aes

LEAST = 200
GRAVE = 1.5
"""Points from which on a symbol would say that something is wrong with a file."""
MOST = 2.0
"""Points that all symbols of a file together must stay below."""


def documents() -> Iterator[tuple[str, bytes]]:
    """All of them."""
    yield from office.documents()
    yield from pdfs.documents()
    yield from files.documents()


def carrying(name: str, raw: bytes) -> bytes:
    """An ordinary mail with the file."""
    return with_attachment(raw, name, body=ORDINARY.replace("\r\n", "\n"))


def complaints(results: Mapping[str, CheckResult]) -> list[str]:
    """What is said of an ordinary document that must not be."""
    wrong = [f"{name}: {one.detail}" for name, one in results.items() if one.status is not CheckStatus.OK]
    wrong += [f"{name}: {one.malware}" for name, one in results.items() if one.malware]
    symbols = [symbol for one in results.values() for symbol in one.symbols]
    wrong += [
        f"{symbol.name} {symbol.score}: {', '.join(symbol.evidence)}"
        for symbol in symbols
        if symbol.score >= GRAVE or symbol.name in UNINSPECTABLE
    ]
    if (total := sum(symbol.score for symbol in symbols)) >= MOST:
        wrong.append(f"{total} points: {', '.join(symbol.name for symbol in symbols)}")
    return wrong


async def test_no_ordinary_document_is_suspected(clamd: Clamd) -> None:
    made = build(clamd)
    wrong: dict[str, list[str]] = {}
    count = 0
    try:
        for name, raw in documents():
            count += 1
            results = await judged(made, carrying(name, raw))
            assert set(CHECKS) <= results.keys()
            if found := complaints(results):
                wrong[name] = found
    finally:
        await made.close()
    assert not wrong
    assert count >= LEAST


async def test_what_is_no_ordinary_document_is(clamd: Clamd) -> None:
    made = build(clamd)
    try:
        assert complaints(await judged(made, carrying("invoice.pdf.exe", b"MZ\x90\0" + b"\0" * 400)))
        assert complaints(await judged(made, carrying(*in_zip_aes("minutes.txt", b"The minutes."))))
        assert complaints(await judged(made, carrying(*in_rar("minutes.txt", EICAR))))
    finally:
        await made.close()
