"""Names, references and reasons that mean harm, by the real command line: shown as text, and nothing else, in every form."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pypdf import PdfReader

from mailguard.core.decision import Action, Reason
from mailguard.core.events import State
from tests.ledger_of import World
from tests.unit.cli.conftest import Run

SELLER = """
[billing]
seller_name = "Provider GmbH"
seller_country = "DE"
seller_tax_id = "DE123456789"
"""
PLAN = """
description: Per mailbox
currency: EUR
monthly_fee: 10
included_mailboxes: 0
mailbox_tiers: {scheme: graduated, tiers: [{price: 1.00}]}
tax_rate: 19
"""
EVIL = [
    '=HYPERLINK("http://evil.test","click")',
    "+SUM(A1:A9)",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1)",
    "\t=1+1",
    "＝1+1",
    "\x1b[31mred\x07\u202egnp.exe",
    '#import "/etc/passwd" $x$ <script>alert(1)</script> ]]> &amp;',
    "شركة الأمل للتجارة 北京安全邮件有限公司",
]
STARTS = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
MONTH = datetime.now(UTC).strftime("%Y-%m")
CONTROLS = {chr(code) for code in (*range(32), 127)} - {"\n"}


@pytest.fixture
def ready(config: Path, world: World, mailguard: Run) -> Run:
    """A provider with one plan; `acme` has had a mail whose mailbox and subject are hostile."""
    config.write_text(config.read_text() + SELLER)
    folder = config.parent / "policies" / "plans"
    folder.mkdir()
    (folder / "each.yaml").write_text(PLAN)
    (unit,) = world.mail(
        State.FORWARDING,
        recipients=["=cmd|/c@acme.test"],
        subject=EVIL[6],
        reason=Reason.CLEAN,
        action=Action.DELIVER,
    )
    world.move(unit, State.DELIVERED)
    return mailguard


def is_text(cell: str) -> bool:
    """Whether no spreadsheet takes a cell for a formula; numbers are our own."""
    return not cell.startswith(STARTS) or cell.lstrip("-").replace(".", "").isdigit()


@pytest.mark.parametrize("evil", [EVIL[0], EVIL[6], EVIL[8]])
def test_a_hostile_name_is_text_in_every_form(ready: Run, tmp_path: Path, evil: str) -> None:
    buyer = (
        "--buyer-name",
        evil,
        "--buyer-country",
        "DE",
        "--buyer-reference",
        evil,
        *(part for line in EVIL for part in ("--buyer-address", line)),
    )
    added = ready("contract", "add", "acme", "--plan", "each", "--start", "2025-01-01", *buyer, "--why", evil)
    assert added.code == 0, added.err
    ran = ready("bill", "run", "--month", "2025-01", "--no-pdf", "--json").json
    number = ran["invoices"][0]["invoice"]["number"]
    noted = ready("bill", "credit", number, "--line", "1", "--amount", "1", "--why", evil, "--json")
    assert noted.code == 0, noted.err
    for document in (number, noted.json["number"]):
        rows = list(csv.reader(io.StringIO(ready("bill", "show", document, "--csv").out)))
        assert all(is_text(cell) for row in rows for cell in row), rows
        for path in (tmp_path / "one.pdf", tmp_path / "one.xml"):
            done = ready("bill", "show", document, "--pdf" if path.suffix == ".pdf" else "--ubl", str(path))
            assert done.code == 0, done.err
        reader = PdfReader(tmp_path / "one.pdf")
        root = str(reader.trailer["/Root"])
        assert all(acting not in root for acting in ("/JavaScript", "/AcroForm", "/OpenAction", "/AA"))
        assert len(reader.pages) <= 2
        texts = "".join(ElementTree.parse(tmp_path / "one.xml").getroot().itertext())
        assert not CONTROLS & set(texts)
    for command in (("bill", "show", number), ("contract", "show", "acme"), ("contract", "list"), ("audit", "list")):
        shown = ready(*command)
        assert shown.code == 0
        assert not CONTROLS & set(shown.out), shown.out
        assert "\u202e" not in shown.out


def test_hostile_mail_is_text_in_every_list_and_table(ready: Run) -> None:
    assert ready("recipient", "add", "acme", "=cmd|/c@acme.test", "--mailbox", "+1@acme.test").code == 0
    exported = list(csv.reader(io.StringIO(ready("recipient", "export", "acme").out)))
    assert exported[1:] == [["'=cmd|/c@acme.test", "'+1@acme.test"]]
    for command in (
        ("usage", "--month", MONTH, "--csv"),
        ("trace", "--to", "acme.test"),
        ("recipient", "list", "acme"),
    ):
        shown = ready(*command)
        assert shown.code == 0, shown.err
        assert not CONTROLS - {"\r"} & set(shown.out)
        assert "\u202e" not in shown.out
