"""None of the ordinary documents looks like an attack to the checks that look into files, run as the relay runs them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mailguard.app.filter import Filter, build_filter
from mailguard.config.settings import Settings
from mailguard.core.attachments import UNINSPECTABLE
from mailguard.core.envelope import Envelope, Recipient, Session
from mailguard.core.ids import new_message_id
from mailguard.core.tenant import Directory, Domain, Tenant
from mailguard.core.verdict import CheckResult, CheckStatus
from mailguard.message.parse import parse
from mailguard.net.dns import StaticResolver
from tests.e2e.mails import ORDINARY, with_attachment
from tests.ordinary import files, office, pdfs
from tests.servers.clamd import EICAR, Clamd
from tests.wrappings import in_rar, in_zip_aes

CHECKS = ("clamav", "attachments", "unpack", "html", "qr", "hashes")
"""Those that look into files, and the scanner that unpack gives files to. YARA's rules are looked for by unpack."""
LEAST = 200
GRAVE = 1.5
"""Points from which on a symbol would say that something is wrong with a file."""
MOST = 2.0
"""Points that all symbols of a file together must stay below."""
_TENANT = Tenant(2, "client")
_SESSION = Session("s", "127.0.0.1", helo="mail.sender.test", esmtp=True)
_ENVELOPE = Envelope(new_message_id(), "a@sender.test", recipients=(Recipient("u@client.test", 2, "client.test"),))


def documents() -> Iterator[tuple[str, bytes]]:
    """All of them."""
    yield from office.documents()
    yield from pdfs.documents()
    yield from files.documents()


def build(clamd: Clamd) -> Filter:
    """What judges mail, with the checks that look into files."""
    settings = Settings.model_validate({"clamav": {"address": clamd.address}, "policies": {"path": "policies"}})
    directory = Directory.of([_TENANT], [Domain("client.test", _TENANT.id)])
    return build_filter(settings, directory=lambda: directory, resolver=StaticResolver({}), checks=CHECKS)


async def judged(made: Filter, name: str, raw: bytes) -> Mapping[str, CheckResult]:
    """What each check says of a mail with the file."""
    message = parse(with_attachment(raw, name, body=ORDINARY.replace("\r\n", "\n")))
    findings = await made.judge.find(_SESSION, _ENVELOPE, message)
    return {result.check: result for result in findings.results}


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
            results = await judged(made, name, raw)
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
        assert complaints(await judged(made, "invoice.pdf.exe", b"MZ\x90\0" + b"\0" * 400))
        assert complaints(await judged(made, *in_zip_aes("minutes.txt", b"The minutes.")))
        assert complaints(await judged(made, *in_rar("minutes.txt", EICAR)))
    finally:
        await made.close()
