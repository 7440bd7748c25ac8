"""Codes and mails that carry them, made with the decoder's own writer; and a sandbox that works on the spot."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from email.message import EmailMessage

import zxingcpp
from PIL import Image

from mailguard.sandbox import codes
from mailguard.sandbox.frames import Json
from mailguard.sandbox.values import NO_ARGUMENTS, Answer, Outcome

LINK = "https://login.evil.example/m"


def modules(text: str) -> list[list[bool]]:
    """The modules of a QR code row by row, without its margin; True is dark."""
    picture = code(text, scale=1, margin=False)
    return [[picture.getpixel((x, y)) == 0 for x in range(picture.width)] for y in range(picture.height)]


def code(text: str, *, scale: int = 5, margin: bool = True) -> Image.Image:
    """A QR code as a picture in shades of grey."""
    made = zxingcpp.create_barcode(text, zxingcpp.BarcodeFormat.QRCode)
    drawn = memoryview(zxingcpp.write_barcode_to_image(made, scale=scale, add_quiet_zones=margin))
    height, width = drawn.shape
    return Image.frombytes("L", (width, height), drawn.tobytes())


def saved(picture: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    """A picture as a file."""
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def mail(
    *files: tuple[str, bytes],
    text: str = "Hello",
    html: str = "",
    sender: str = "Ann <ann@a.test>",
    subject: str = "news",
) -> bytes:
    """A mail with attached files."""
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = sender, "bob@client.test", subject
    made.set_content(text)
    if html:
        made.add_alternative(html, subtype="html")
    for name, content in files:
        kind = ("application", "pdf") if name.endswith(".pdf") else ("image", name.rpartition(".")[2])
        made.add_attachment(content, *kind, filename=name)
    return made.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


FUNCTIONS = {"codes.picture": codes.in_picture, "codes.pdf": codes.in_pdf, "codes.drawing": codes.in_drawing}


class OnTheSpot:
    """A Sandbox without processes; `answers` are given first. `jobs` are the functions asked for."""

    def __init__(self, answers: Sequence[Answer] = ()) -> None:
        self.jobs: list[str] = []
        self._answers = list(answers)

    async def run(self, function: str, raw: bytes = b"", arguments: Mapping[str, Json] = NO_ARGUMENTS) -> Answer:
        self.jobs.append(function)
        if self._answers:
            return self._answers.pop(0)
        try:
            return Answer(Outcome.OK, FUNCTIONS[function](raw, arguments))
        except Exception as error:  # noqa: BLE001 - as the process does
            return Answer(Outcome.ERROR, detail=str(error))
