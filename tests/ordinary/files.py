"""Ordinary files of other kinds: pictures, archives, saved pages, calendar entries, cards, mails, signatures, tables."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage

import py7zr
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from tests.ordinary import office, pdfs
from tests.ordinary.words import FIRMS, PEOPLE, paragraphs, picture, rows


def documents() -> Iterator[tuple[str, bytes]]:
    """(name, octets) of each."""
    for number, (suffix, kind) in enumerate(
        [("png", "PNG"), ("jpg", "JPEG"), ("gif", "GIF"), ("webp", "WEBP"), ("bmp", "BMP"), ("tif", "TIFF")] * 3
    ):
        yield f"photo-{number}.{suffix}", picture(number, kind)
    yield from _archives()
    for number in range(15):
        yield f"newsletter-{number}.html", _newsletter(number)
    for number in range(6):
        yield f"meeting-{number}.ics", _calendar(number)
        yield f"contact-{number}.vcf", _card(number)
        yield f"forwarded-{number}.eml", _mail(number)
        yield f"table-{number}.csv", _table(number)
        yield f"drawing-{number}.svg", _drawing(number)
    yield from _texts()
    yield from _signed()


def _archives() -> Iterator[tuple[str, bytes]]:
    papers = list(office.documents())[::9] + list(pdfs.documents())[::7]
    for number, (name, raw) in enumerate(papers):
        out = io.BytesIO()
        if number % 3 == 0:
            with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(f"papers/{name}", raw)
                archive.writestr("papers/read me.txt", "\n".join(paragraphs(number)))
                archive.writestr("photos/1.jpg", picture(number, "JPEG"))
            yield f"papers-{number}.zip", out.getvalue()
        elif number % 3 == 1:
            with py7zr.SevenZipFile(out, "w") as seven:
                seven.writestr(raw, name)
                seven.writestr("\n".join(paragraphs(number)), "read me.txt")
            yield f"papers-{number}.7z", out.getvalue()
        else:
            with tarfile.open(fileobj=out, mode="w:gz") as tape:
                entry = tarfile.TarInfo(name)
                entry.size = len(raw)
                tape.addfile(entry, io.BytesIO(raw))
            yield f"papers-{number}.tar.gz", out.getvalue()


def _newsletter(number: int) -> bytes:
    firm = FIRMS[number % len(FIRMS)]
    stories = "".join(
        f'<tr><td style="padding:12px;font-family:Arial"><h2>{firm}</h2><p>{text}</p>'
        f'<p><a href="https://news.firm.example/story/{number}-{place}?utm_source=mail">Read on</a></p></td></tr>'
        for place, text in enumerate(paragraphs(number))
    )
    style = "<style>@media (max-width:600px){.w{width:100%!important}} .b{color:#036}</style>"
    tracked = '<img src="https://news.firm.example/open.gif?u=4711" width="1" height="1" alt="">'
    preheader = (
        '<div style="display:none;max-height:0;overflow:hidden">This month: what is new, and when we are open.</div>'
    )
    script = (
        '<script type="application/ld+json">{"@context":"https://schema.org","@type":"NewsArticle"}</script>'
        if number % 3 == 1
        else ""
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{firm}</title>{style}{script}</head>'
        f'<body>{preheader}<table class="w" width="600" align="center">{stories}<tr><td><img alt="" src='
        f'"https://news.firm.example/logo.png"></td></tr><tr><td style="font-size:11px">You get this since you signed up. '
        f'<a href="https://news.firm.example/unsubscribe?u=4711">Unsubscribe</a></td></tr></table>{tracked}</body></html>'
    ).encode()


def _calendar(number: int) -> bytes:
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Office//Calendar//EN",
        "METHOD:REQUEST",
        "BEGIN:VEVENT",
        f"UID:{number}-4711@office.example",
        "DTSTAMP:20260901T080000Z",
        f"DTSTART:202610{10 + number}T090000Z",
        f"DTEND:202610{10 + number}T100000Z",
        "SUMMARY:Building committee",
        "ORGANIZER;CN=Office:mailto:office@firm.example",
        "ATTENDEE;RSVP=TRUE:mailto:b@client.test",
        "DESCRIPTION:Agenda: minutes\\, budget\\, roof.",
        "BEGIN:VALARM",
        "ACTION:DISPLAY",
        "DESCRIPTION:Reminder",
        "TRIGGER:-PT15M",
        "END:VALARM",
        "END:VEVENT",
        "END:VCALENDAR",
    ]
    return "\r\n".join(lines).encode() + b"\r\n"


def _card(number: int) -> bytes:
    person = PEOPLE[number % len(PEOPLE)]
    lines = ["BEGIN:VCARD", "VERSION:3.0", f"FN:{person}", f"N:{person.split()[1]};{person.split()[0]};;;"]
    lines += ["TEL;TYPE=WORK:+49 30 901820", "EMAIL:info@firm.example", "URL:https://www.firm.example/", "END:VCARD"]
    return "\r\n".join(lines).encode() + b"\r\n"


def _mail(number: int) -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"] = "office@firm.example", "b@client.test"
    mail["Subject"], mail["Message-ID"] = "Minutes of the meeting", f"<{number}.4711@firm.example>"
    mail.set_content("\n\n".join(paragraphs(number)))
    if number % 2:
        mail.add_alternative(_newsletter(number).decode(), subtype="html")
    if number % 3 == 1:
        name, raw = next(pdfs.documents())
        mail.add_attachment(raw, maintype="application", subtype="pdf", filename=name)
    return mail.as_bytes()


def _table(number: int) -> bytes:
    return "\n".join(
        ["item;count;price", *(f"{item};{count};{price:.2f}" for item, count, price in rows(number))]
    ).encode()


def _drawing(number: int) -> bytes:
    bars = "".join(
        f'<rect x="{10 * place}" y="{100 - count}" width="8" height="{count}" fill="#369"/>'
        for place, (_, count, _) in enumerate(rows(number))
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 100">'
        f"<title>Sales</title><style>rect{{stroke:none}}</style>{bars}</svg>"
    ).encode()


def _texts() -> Iterator[tuple[str, bytes]]:
    for number in range(4):
        text = "\n\n".join(paragraphs(number, count=20))
        yield f"notes-{number}.txt", text.encode()
        yield f"notes-{number}.md", f"# Notes\n\n{text}\n".encode()
        yield (
            f"export-{number}.json",
            json.dumps([dict(zip(("item", "n", "eur"), row, strict=True)) for row in rows(number)]).encode(),
        )
        yield (
            f"export-{number}.xml",
            f'<?xml version="1.0"?><notes><p>{"</p><p>".join(paragraphs(number))}</p></notes>'.encode(),
        )
        lines = (f"2026-10-0{number + 1} 08:0{n}:11 INFO job {n} done" for n in range(9))
        yield f"server-{number}.log", "\n".join(lines).encode()


def _signed() -> Iterator[tuple[str, bytes]]:
    """What S/MIME and OpenPGP put beside a mail, and a mail signed opaquely."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "office@firm.example")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(4711)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2036, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    text = b"Content-Type: text/plain\r\n\r\nThe minutes of our meeting.\r\n"
    builder = pkcs7.PKCS7SignatureBuilder().set_data(text).add_signer(certificate, key, hashes.SHA256())
    yield "smime.p7s", builder.sign(serialization.Encoding.DER, [pkcs7.PKCS7Options.DetachedSignature])
    yield "smime.p7m", builder.sign(serialization.Encoding.DER, [])
    yield "office.crt", certificate.public_bytes(serialization.Encoding.PEM)
    armoured = "iQEzBAABCAAdFiEE" + "Ab1+" * 40
    folded = "\n".join(armoured[at : at + 64] for at in range(0, len(armoured), 64))
    yield "signature.asc", f"-----BEGIN PGP SIGNATURE-----\n\n{folded}\n=Ab1+\n-----END PGP SIGNATURE-----\n".encode()
    yield (
        "key.asc",
        f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{folded}\n=Ab1+\n-----END PGP PUBLIC KEY BLOCK-----\n".encode(),
    )
