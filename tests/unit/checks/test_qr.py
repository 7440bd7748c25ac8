"""Codes in every form are found, their links are judged, and what a mail without codes costs is nothing."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable

import pytest
from PIL import Image, ImageDraw

from mailguard.checks.link_facts import carries_address
from mailguard.checks.qr import QrCheck
from mailguard.checks.runner import Runner
from mailguard.checks.urlbl import names_of
from mailguard.core.verdict import CheckResult, CheckStatus
from mailguard.message.pictures import PICTURES, PIXELS
from mailguard.sandbox.pool import Pool
from mailguard.sandbox.values import Answer, Outcome
from tests.unit.checks.mail import context
from tests.unit.checks.qr_mails import LINK, OnTheSpot, code, mail, modules, saved


async def look(raw: bytes, sandbox: OnTheSpot | Pool | None = None) -> CheckResult:
    return await QrCheck(sandbox or OnTheSpot()).run(context(raw=raw), {})


def symbols(result: CheckResult) -> dict[str, tuple[str, ...]]:
    return {symbol.name: symbol.evidence for symbol in result.symbols}


def on_a_letter(kind: str) -> bytes:
    letter = Image.new("RGB", (1000, 1400), "white")
    letter.paste(code(LINK, scale=6).convert("RGB"), (380, 500))
    ImageDraw.Draw(letter).text((100, 100), "Dear customer, please scan", fill="black")
    return saved(letter, kind)


def transparent() -> bytes:
    made = Image.new("RGBA", code(LINK).size, (0, 0, 0, 0))
    made.paste((0, 0, 0, 255), mask=code(LINK).point(lambda grey: 255 - grey))
    return saved(made)


PICTURED: dict[str, Callable[[], tuple[str, bytes]]] = {
    **{
        kind: (lambda kind=kind: (f"a.{kind}", saved(code(LINK), kind)))
        for kind in ("png", "gif", "bmp", "webp", "jpeg")
    },
    "letter": lambda: ("letter.jpeg", on_a_letter("JPEG")),
    "pdf": lambda: ("invoice.pdf", on_a_letter("PDF")),
    "transparent": lambda: ("a.png", transparent()),
    "light on dark": lambda: ("a.png", saved(code(LINK).point(lambda grey: 255 - grey))),
    "turned": lambda: ("a.png", saved(code(LINK).rotate(33, expand=True, fillcolor=255))),
    "another name": lambda: ("a.dat", saved(code(LINK))),
}


@pytest.mark.parametrize("how", PICTURED)
async def test_a_code_in_a_file_is_read(how: str) -> None:
    name, content = PICTURED[how]()
    result = await look(mail((name, content)))
    assert symbols(result)["QR_CODE_LINK"] == (f"{LINK} ({name})",)
    assert result.link_hosts == ("login.evil.example",)


def half_blocks(text: str) -> str:
    rows = modules(text)
    rows.append([False] * len(rows[0]))
    letters = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}
    return "\n".join(
        "".join(letters[pair] for pair in zip(upper, lower, strict=True))
        for upper, lower in zip(rows[::2], rows[1::2], strict=False)
    )


def full_blocks(text: str) -> str:
    return "\n".join("".join("██" if dark else "  " for dark in row) for row in modules(text))


def light_blocks(text: str) -> str:
    """As terminals show it: what is drawn is the ground, the margin too."""
    rows = modules(text)
    width = len(rows[0]) + 4
    rows = [[False] * width] * 2 + [[False, False, *row, False, False] for row in rows] + [[False] * width] * 2
    return "\n".join("".join("  " if dark else "██" for dark in row) for row in rows)


def squares(text: str) -> str:
    return "\n".join("".join("⬛" if dark else "⬜" for dark in row) for row in modules(text))


def table(text: str, *, spans: bool) -> str:
    rows = []
    for row in modules(text):
        cells, at = [], 0
        while at < len(row):
            length = 1
            while spans and at + length < len(row) and row[at + length] == row[at]:
                length += 1
            colour = "#000000" if row[at] else "#fff"
            how = f'bgcolor="{colour}"' if at % 2 else f'style="background-color:{colour}"'
            cells.append(f'<td {how} colspan="{length}" width={4 * length} height=4></td>')
            at += length
        rows.append(f"<tr>{''.join(cells)}</tr>")
    inner = f"<table cellspacing=0>{''.join(rows)}</table>"
    return f"<table><tr><td bgcolor=white>Scan</td></tr><tr><td>{inner}</td></tr></table>"


@pytest.mark.parametrize(
    ("text", "html"),
    [
        (half_blocks(LINK), ""),
        (full_blocks(LINK), ""),
        (light_blocks(LINK), ""),
        (squares(LINK), ""),
        ("see", f"<p>Scan</p><pre>{half_blocks(LINK)}</pre><p>now</p>"),
        ("see", "<div>" + full_blocks(LINK).replace(" ", "&nbsp;").replace("\n", "</div>\n<div>") + "</div>"),
        ("see", f"<pre>{half_blocks(LINK).encode('ascii', 'xmlcharrefreplace').decode()}</pre>"),
        ("see", table(LINK, spans=False)),
        ("see", table(LINK, spans=True)),
    ],
    ids=["half", "full", "light", "squares", "pre", "div", "references", "table", "spans"],
)
async def test_a_drawn_code_is_read(text: str, html: str) -> None:
    found = symbols(await look(mail(text=f"Hello\n\n{text}\n\nBye" if not html else text, html=html)))
    assert LINK in found["QR_CODE_LINK"][0]
    assert "QR_CODE_DRAWN" in found


async def test_a_picture_within_html_is_read() -> None:
    data = base64.b64encode(saved(code(LINK))).decode()
    result = await look(mail(html=f'<p>Scan</p><img src="data:image/png;base64,{data}">'))
    assert symbols(result)["QR_CODE_LINK"] == (f"{LINK} (picture 1 in the HTML)",)


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        ("bitcoin:bc1qxyz?amount=1", "QR_CODE_COINS"),
        ("BCD\n002\n1\nSCT\nBICXXX\nName\nDE00", "QR_CODE_OTHER"),
        ("http://192.0.2.7/login", "QR_CODE_ADDRESS"),
        ("https://bit.ly/3abc", "QR_CODE_ANYBODY"),
        ("https://evil.example/?e=bob%40client.test", "QR_CODE_PREFILLED"),
        ("evil.example/login", "QR_CODE_LINK"),
        ("BEGIN:VCARD\nFN:Ann\nURL:https://evil.example/\nEND:VCARD", "QR_CODE_LINK"),
    ],
)
async def test_what_a_code_says_is_told_apart(says: str, expected: str) -> None:
    assert expected in symbols(await look(mail(("a.png", saved(code(says))))))


async def test_a_code_of_the_authors_own_beside_links_is_harmless() -> None:
    raw = mail(("ticket.png", saved(code("https://shop.a.test/t/1"))), text="Your ticket: https://www.a.test/orders")
    result = await look(raw)
    assert set(symbols(result)) == {"QR_CODE_LINK"}


async def test_the_only_link_and_words_beside_it() -> None:
    found = symbols(await look(mail(("a.png", saved(code(LINK))), text="Your password expires. Scan.", subject="MFA")))
    assert {"QR_CODE_ONLY_LINK", "QR_CODE_ELSEWHERE", "QR_CODE_CREDENTIAL_WORDS"} <= set(found)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://e.example/#bob@client.test", True),
        ("https://e.example/?u=Ym9iQGNsaWVudC50ZXN0", True),
        ("https://e.example/Ym9iQGNsaWVudC50ZXN0/x", True),
        ("https://bob@client.test/", False),
        ("https://e.example/@user/status/1", False),
        ("https://e.example/0123456789abcdefghijkl", False),
    ],
)
def test_addresses_in_links(url: str, expected: bool) -> None:
    assert carries_address(url) is expected


async def test_the_hosts_join_those_of_the_links() -> None:
    raw = mail(("a.png", saved(code(LINK))), text="https://www.a.test/")
    findings = await Runner([QrCheck(OnTheSpot())]).run(context(raw=raw))
    assert findings.link_hosts == ("login.evil.example", "www.a.test")
    names = names_of(context(raw=raw), None, limit=10, pictured=findings.results[0].link_hosts)
    assert "evil.example" in names


def png_of(width: int, height: int) -> bytes:
    """A PNG of a colour that would take more memory than there is."""
    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(100_000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


async def test_a_picture_of_too_many_pixels_is_not_decoded() -> None:
    sandbox = OnTheSpot()
    result = await look(mail(("a.png", png_of(50_000, 50_000))), sandbox)
    assert symbols(result) == {"QR_PICTURE_TOO_LARGE": ("a.png: 50000×50000 pixels",)}
    assert not sandbox.jobs


async def test_nothing_is_asked_for_mail_without_candidates() -> None:
    sandbox = OnTheSpot()
    pixel = saved(Image.new("L", (1, 1)))
    line = saved(Image.new("L", (900, 80)))
    shading = "█" * 30 + "\n" + "text"
    for raw in (
        mail(),
        mail(("p.png", pixel)),
        mail(("l.png", line)),
        mail(text=shading),
        mail(("a.png", b"no picture" * 20)),
    ):
        result = await look(raw, sandbox)
        assert result.status is CheckStatus.OK
        assert not result.symbols
    assert not sandbox.jobs


async def test_of_many_pictures_the_likeliest_are_looked_into() -> None:
    sandbox = OnTheSpot()
    photographs = [(f"{n}.jpeg", saved(Image.effect_noise((300, 310 + n), 90), "JPEG")) for n in range(12)]
    result = await look(mail(*photographs, ("z.png", saved(code(LINK)))), sandbox)
    assert "QR_CODE_LINK" in symbols(result)
    assert len(sandbox.jobs) == PICTURES
    assert f"{13 - PICTURES} left out" in result.detail


async def test_the_same_picture_is_read_once() -> None:
    sandbox = OnTheSpot()
    check = QrCheck(sandbox)
    for subject in ("one", "two"):
        result = await check.run(context(raw=mail(("a.png", saved(code(LINK))), subject=subject)), {})
        assert "QR_CODE_LINK" in symbols(result)
    assert sandbox.jobs == ["codes.picture"]


@pytest.mark.parametrize(
    ("outcome", "symbol"),
    [
        (Outcome.TIME, "SANDBOX_LIMIT"),
        (Outcome.CPU, "SANDBOX_LIMIT"),
        (Outcome.MEMORY, "SANDBOX_LIMIT"),
        (Outcome.CRASH, "SANDBOX_CRASH"),
    ],
)
async def test_a_killed_job_is_a_symbol_and_the_next_file_is_read(outcome: Outcome, symbol: str) -> None:
    sandbox = OnTheSpot([Answer(outcome, detail="killed")])
    raw = mail(("qr.png", saved(Image.new("L", (99, 99)))), ("z.png", saved(code(LINK))))
    result = await look(raw, sandbox)
    assert symbols(result)[symbol] == ("qr.png: killed",)
    assert "QR_CODE_LINK" in symbols(result)
    assert result.status is CheckStatus.OK


async def test_after_two_kills_the_rest_is_left_alone() -> None:
    sandbox = OnTheSpot([Answer(Outcome.CRASH, detail="died")] * 2)
    result = await look(mail(*((f"{n}.png", saved(code(f"{LINK}{n}"))) for n in range(4))), sandbox)
    assert len(sandbox.jobs) == 2
    assert len(symbols(result)["SANDBOX_CRASH"]) == 2


@pytest.mark.parametrize("outcome", [Outcome.BUSY, Outcome.UNABLE])
async def test_a_busy_sandbox_is_a_temporary_failure(outcome: Outcome) -> None:
    sandbox = OnTheSpot([Answer(outcome, detail="no process came free")])
    raw = mail(("a.png", saved(code(LINK))), ("b.png", saved(code("x"))))
    findings = await Runner([QrCheck(sandbox)]).run(context(raw=raw))
    assert findings.failed_checks == ("qr",)
    assert [symbol.name for symbol in findings.symbols] == ["QR_TEMPERROR"]
    assert len(sandbox.jobs) == 1


@pytest.mark.parametrize("value", [None, [], {"texts": "x"}, {"texts": [1, None, ""]}, {"texts": [[["a"]]]}])
async def test_an_answer_of_another_form_is_believed_in_nothing(value: None) -> None:
    result = await look(mail(("a.png", saved(code(LINK)))), OnTheSpot([Answer(Outcome.OK, value)]))
    assert not result.symbols


async def test_it_is_read_in_a_real_process_and_a_bomb_is_killed_there() -> None:
    pool = Pool()
    try:
        result = await look(mail(("a.png", saved(code(LINK))), ("b.pdf", on_a_letter("PDF"))), pool)
        assert len(symbols(result)["QR_CODE_LINK"]) == 2
        cut = saved(code(LINK))[:-30]  # mail programs show as much as came
        assert "QR_CODE_LINK" in symbols(await look(mail(("cut.png", cut)), pool))
        large = Image.new("RGBA", (7000, 5500), (0, 0, 0, 0))
        large.paste((0, 0, 0, 255), (3000, 2000), code(LINK, scale=40).point(lambda grey: 255 - grey))
        assert (await pool.run("codes.picture", saved(large), {"pixels": PIXELS})).value == {"texts": [LINK]}
        answer = await pool.run("codes.picture", png_of(12_000, 12_000), {"pixels": 10**12})
        assert answer.outcome in (Outcome.MEMORY, Outcome.CPU, Outcome.TIME)
    finally:
        await pool.close()
