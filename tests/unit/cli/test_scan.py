"""`mailguard scan`: which checks run, what is printed, and that no file ends the run."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.app.scan import as_sent, sender_of
from mailguard.checks.recorded_auth import RecordedResults
from mailguard.cli.scan_work import Report, scan_each
from mailguard.core.decision import Action, Decision, Reason
from mailguard.core.reply import OK
from mailguard.core.tenant import ListKind, Tenant
from mailguard.core.verdict import AuthOutcome, Findings, ScoredSymbol, Verdict
from mailguard.policy.profile import Policy
from tests.ledger_of import World, findings
from tests.unit.cli.conftest import Run

MAIL = b"From: Eve <eve@evil.test>\nSubject: Hi\n\nHello!\n"
DECISION = Decision(1, Action.TAG, Reason.SPAM_SCORE, "score 5 ≥ tag at 5", "default", "f" * 64, OK)


@dataclass(frozen=True)
class FakeReport:
    """A report of a message that scores its length."""

    verdict: Verdict
    findings: Findings = field(default_factory=findings)
    policy: Policy = field(default_factory=Policy)
    decision: Decision = DECISION


@dataclass
class FakeScanner:
    """Stands for the relay's scanner and remembers what it was asked."""

    built: dict[str, object] = field(default_factory=dict)
    scanned: list[dict[str, object]] = field(default_factory=list)

    @asynccontextmanager
    async def build(self, settings: object, **arguments: object) -> AsyncIterator[FakeScanner]:
        self.built = arguments
        yield self

    async def scan(self, raw: bytes, **arguments: object) -> Report:
        self.scanned.append({"raw": raw, **arguments})
        if b"SLOW" in raw:
            await asyncio.Event().wait()
        if b"BUG" in raw:
            raise IndexError("list index out of range")
        symbols = (ScoredSymbol("LONG", len(raw) / 10, "it is \x1b[31mlong", ("x" * 200,)),)
        return FakeReport(Verdict(0, score=len(raw) / 10, symbols=symbols))


@pytest.fixture
def scanner(monkeypatch: pytest.MonkeyPatch) -> FakeScanner:
    scanner = FakeScanner()
    app = ModuleType("mailguard.app.filter")
    app.build_scanner = scanner.build  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mailguard.app.filter", app)
    return scanner


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    path = tmp_path / "mail.eml"
    path.write_bytes(MAIL)
    return path


def checks_of(scanner: FakeScanner) -> set[str]:
    checks = scanner.built["checks"]
    assert isinstance(checks, list)
    return set(checks)


def test_a_report_explains(mailguard: Run, scanner: FakeScanner, mail: Path) -> None:
    done = mailguard("scan", str(mail), "--no-clamav")
    assert done.code == 0, done.err
    for part in (str(mail), "tag (spam_score): score 5 ≥ tag at 5", "LONG", "spf=fail evil.test", "+5.0", "score"):
        assert part in done.out
    assert "\x1b" not in done.out
    assert scanner.scanned == [
        {
            "raw": MAIL.replace(b"\n", b"\r\n"),
            "client_ip": "127.0.0.1",
            "helo": "",
            "mail_from": "eve@evil.test",
            "recipient": "recipient@client.test",
            "recorded": RecordedResults(),
        }
    ]


def test_json_is_a_line_for_each_file(mailguard: Run, scanner: FakeScanner, mail: Path) -> None:
    done = mailguard("scan", str(mail), str(mail), "--json", "--no-clamav")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["path"] for line in lines] == [str(mail)] * 2
    assert lines[0]["action"] == "tag"
    assert 0 <= lines[0]["seconds"] < 5
    assert lines[0]["symbols"][0]["name"] == "LONG"
    assert lines[0]["score"] == pytest.approx(5.0)
    assert lines[0]["findings"]["from_address"] == "eve@evil.test"


def test_what_the_message_is_taken_to_have_come_with(mailguard: Run, scanner: FakeScanner, mail: Path) -> None:
    mailguard(
        "scan", str(mail), "--client-ip", "192.0.2.1", "--helo", "mx.test", "--mail-from", "<>", "--rcpt", "a@b.test",
        "--policy", "strict", "--no-clamav",
    )  # fmt: skip
    asked = {name: value for name, value in scanner.scanned[0].items() if name != "raw"}
    assert asked == {
        "client_ip": "192.0.2.1",
        "helo": "mx.test",
        "mail_from": "",
        "recipient": "a@b.test",
        "recorded": RecordedResults(),
    }
    assert scanner.built["tenant"] == Tenant(0, "", profile="strict")


def test_a_tenants_lists_and_profile_count(mailguard: Run, scanner: FakeScanner, mail: Path, world: World) -> None:
    mailguard("tenant", "deny", "add", "acme", "evil.test")
    assert mailguard("scan", str(mail), "--tenant", "acme", "--policy", "strict", "--no-clamav").code == 0
    tenant = scanner.built["tenant"]
    assert isinstance(tenant, Tenant)
    assert (tenant.name, tenant.profile) == ("acme", "strict")
    assert [(entry.kind, entry.pattern) for entry in tenant.lists] == [(ListKind.DENY, "evil.test")]
    assert mailguard("scan", str(mail), "--tenant", "nobody", "--no-clamav").code == 1


def test_offline_unless_there_is_a_client_to_ask_about(mailguard: Run, scanner: FakeScanner, mail: Path) -> None:
    of_domains, of_clients = {"dkim", "dmarc", "arc", "urlbl"}, {"client", "spf", "dnsbl"}
    mailguard("scan", str(mail), "--no-clamav")
    offline = checks_of(scanner)
    assert {"rules", "html", "attachments"} <= offline
    assert not offline & {"clamav", "rspamd", "spamd", *of_domains, *of_clients}
    mailguard("scan", str(mail), "--no-clamav", "--dns")
    assert checks_of(scanner) == offline | of_domains
    mailguard("scan", str(mail), "--clamav", "--client-ip", "192.0.2.1")
    assert checks_of(scanner) == offline | of_domains | of_clients | {"clamav"}
    mailguard("scan", str(mail), "--no-clamav", "--client-ip", "192.0.2.1", "--no-dns")
    assert checks_of(scanner) == offline


def test_recorded_envelopes_stand_in_for_look_ups(mailguard: Run, scanner: FakeScanner, mail: Path) -> None:
    other = mail.with_name("other.eml")
    other.write_bytes(MAIL)
    envelope = mail.with_name("envelope.jsonl")
    line = {
        "file": "mail.eml",
        "client_ip": "192.0.2.7",
        "mail_from": "b@esp.test",
        "rcpt_to": "c@d.test",
        "dkim": "pass",
    }
    envelope.write_text(json.dumps(line) + "\n" + json.dumps({"file": "x", "spf": "perhaps"}) + "\n")
    done = mailguard("scan", str(mail), str(other), "--no-clamav", "--envelope", str(envelope), "--rcpt", "a@b.test")
    assert done.code == 0
    assert "envelope.jsonl:2: spf 'perhaps' means nothing" in done.err
    assert {"spf", "dkim", "dmarc"} <= checks_of(scanner)
    assert not {"arc", "dnsbl", "urlbl"} & checks_of(scanner)
    assert (scanner.built["recorded"], scanner.built["offline"]) == (True, True)
    known, unknown = ({name: one[name] for name in ("client_ip", "mail_from", "recipient")} for one in scanner.scanned)
    assert known == {"client_ip": "192.0.2.7", "mail_from": "b@esp.test", "recipient": "c@d.test"}
    assert unknown == {"client_ip": "127.0.0.1", "mail_from": "eve@evil.test", "recipient": "a@b.test"}
    assert scanner.scanned[0]["recorded"] == RecordedResults(
        dkim=AuthOutcome.PASS, mail_from="b@esp.test", spf_domain="esp.test"
    )
    assert scanner.scanned[1]["recorded"] == RecordedResults()
    mailguard("scan", str(mail), "--no-clamav", "--envelope", str(envelope), "--dns")
    assert {"spf", "dkim", "dmarc", "arc", "dnsbl"} <= checks_of(scanner)
    assert (scanner.built["recorded"], scanner.built["offline"]) == (True, False)


def test_a_wrong_envelope_file_scans_nothing(mailguard: Run, scanner: FakeScanner, mail: Path) -> None:
    envelope = mail.with_name("envelope.jsonl")
    envelope.write_text("nonsense\n")
    done = mailguard("scan", str(mail), "--no-clamav", "--envelope", str(envelope))
    assert done.code == 2
    assert f"{envelope}:1" in done.err
    assert not scanner.scanned


def test_an_explanation_has_all_evidence_and_the_distance_to_the_next_action(
    mailguard: Run, scanner: FakeScanner, mail: Path
) -> None:
    done = mailguard("scan", str(mail), "--no-clamav", "--explain")
    lines = [line.strip() for line in done.out.splitlines()]
    assert "score          5: 0 over tag (5), 3 under quarantine (8)" in lines
    at = lines.index("+5.00  LONG: it is [31mlong")
    assert lines[at + 1] == "x" * 200
    (symbol,) = json.loads(mailguard("scan", str(mail), "--no-clamav", "--json").out)["symbols"]
    assert symbol["evidence"] == ["x" * 200]
    assert (symbol["check"], symbol["page"]) == ("", "")


def test_without_a_scanner_that_answers_it_is_said(
    mailguard: Run, scanner: FakeScanner, mail: Path, config: Path
) -> None:
    config.write_text('[clamav]\naddress = "127.0.0.1:1"\n')
    done = mailguard("scan", str(mail))
    assert done.code == 0
    assert "clamd at 127.0.0.1:1 does not answer" in done.err
    assert "clamav" not in checks_of(scanner)


def test_no_file_ends_the_run(mailguard: Run, scanner: FakeScanner, mail: Path, tmp_path: Path) -> None:
    slow, bug = tmp_path / "slow.eml", tmp_path / "bug.eml"
    slow.write_bytes(b"SLOW")
    bug.write_bytes(b"BUG")
    missing = str(tmp_path / "missing.eml")
    done = mailguard(
        "scan", "--tsv", "--no-clamav", "--timeout", "0.2", missing, str(slow), str(tmp_path), str(bug), str(mail)
    )
    assert done.code == 1
    assert done.out.splitlines() == [f"{mail}\t5.00"]
    for part in (f"{missing}: cannot be read", f"{slow}: took longer than 0.2 s", f"{bug}: failed: IndexError"):
        assert part in done.err
    assert scanner.built["budget"] == pytest.approx(0.16)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--json", "--tsv"),
        ("--explain", "--json"),
        ("--client-ip", "nowhere"),
        ("--policy", "missing"),
        ("--timeout", "0"),
    ],
)
def test_wrong_arguments(mailguard: Run, scanner: FakeScanner, mail: Path, arguments: Sequence[str]) -> None:
    assert mailguard("scan", str(mail), *arguments).code == 2
    assert not scanner.scanned


def test_paths_from_standard_input_come_out_as_they_went_in(tmp_path: Path, config: Path) -> None:
    """In a process of its own: names that are not UTF-8, and a tab in one."""
    names = [b"plain.eml", b"latin-\xe9.eml", b"a b.eml", b"tab\there.eml"]
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(MAIL)  # noqa: PTH118 - bytes
    paths = [os.fsencode(tmp_path) + b"/" + name for name in names]
    program = (
        "import sys; from types import ModuleType; sys.path.insert(0, sys.argv.pop(1));"
        "from tests.unit.cli.test_scan import FakeScanner; from mailguard.cli import main;"
        "app = ModuleType('mailguard.app.filter'); app.build_scanner = FakeScanner().build; sys.modules['mailguard.app.filter'] = app;"
        "main(sys.argv[1:])"
    )
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", program, root, "--config", str(config), "scan", "--no-clamav", "--tsv", "-"],
        input=b"\n".join(paths) + b"\n\n",
        capture_output=True,
        check=True,
        cwd=tmp_path,
    )
    expected = [path.replace(b"\t", b"\\t") + b"\t5.00" for path in paths]
    assert done.stdout.splitlines() == expected


async def test_files_are_told_in_the_order_given_however_long_each_takes(tmp_path: Path) -> None:
    paths = []
    for number in range(20):
        path = tmp_path / f"{number}.eml"
        path.write_bytes(str(number).encode())
        paths.append(str(path))
    running = most = 0

    async def scan_one(raw: bytes) -> Report:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(int(raw) * 7 % 20):
            await asyncio.sleep(0)
        running -= 1
        return FakeReport(Verdict(0, score=float(raw)))

    found = scan_each(paths, lambda path, raw: asyncio.create_task(scan_one(raw)), seconds=5, jobs=4)
    scores = [scanned.report.verdict.score async for scanned in found if scanned.report]
    assert scores == list(range(20))
    assert 1 < most <= 4


def test_a_mailbox_files_from_line_is_not_the_messages() -> None:
    assert as_sent(b"From eve@x Mon Jan  1 00:00:00 2001\nSubject: a\n\nb") == b"Subject: a\r\n\r\nb"
    assert as_sent(b"From: a@b.test\r\n\r\nb\rc\n") == b"From: a@b.test\r\n\r\nb\r\nc\r\n"


@given(st.binary(max_size=200))
def test_any_file_can_be_read(raw: bytes) -> None:
    sent = as_sent(raw)
    assert sent.count(b"\n") == sent.count(b"\r") == sent.count(b"\r\n")
    assert isinstance(sender_of(sent), str)
