"""Runs every case: NN-name/message.eml through all checks and a policy, compared with expected.json.

A folder holds `message.eml` (`{{EICAR}}` and `{{GTUBE}}` stand for the test strings, `{{EICAR-BASE64}}` for the first one encoded)
and `expected.json`; perhaps `dns.toml` (names → types → records, NXDOMAIN by default), `envelope.toml` (client_ip, helo,
mail_from, recipients) and `policy.yaml` (a profile in place of the default one; it may extend those we ship).

    MAILGUARD_UPDATE_GOLDEN=1 pytest tests/golden      writes expected.json as things are; read the difference before it is kept
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailguard.checks.arc import ArcCheck
from mailguard.checks.attachments import AttachmentsCheck
from mailguard.checks.base import CheckContext
from mailguard.checks.clamav import ClamavCheck
from mailguard.checks.dkim import DkimCheck
from mailguard.checks.dmarc import DmarcCheck
from mailguard.checks.dnsbl import DnsblCheck
from mailguard.checks.lists import ReturnCode, Zone
from mailguard.checks.rules import RulesCheck
from mailguard.checks.rules_file import load_rules
from mailguard.checks.runner import Runner
from mailguard.checks.spf import SpfCheck
from mailguard.core.envelope import Envelope, Recipient, Session
from mailguard.core.tenant import Tenant
from mailguard.core.verdict import Findings
from mailguard.message.parse import parse
from mailguard.net.clamd import ClamdClient
from mailguard.net.dns import StaticResolver
from mailguard.policy.decide import decide, settle
from mailguard.policy.files import PolicyFiles
from mailguard.policy.profile import Policy
from mailguard.policy.score import score
from tests.servers.clamd import EICAR, Clamd, installed, private_clamd

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CASES = sorted(path.name for path in HERE.iterdir() if (path / "message.eml").exists())
UPDATE = bool(os.environ.get("MAILGUARD_UPDATE_GOLDEN"))
NOW = 1_795_500_000_000  # 2026-11-24, when the signatures of the cases were made
GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*" + b"GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
TENANT = Tenant(2, "client")
BLOCK_LIST = Zone("bl.test", (ReturnCode("BL_TEST", 4.0),))


@pytest.fixture(scope="module")
def clamd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clamd]:
    if not installed():
        pytest.skip("clamd is not installed")
    with private_clamd(tmp_path_factory.mktemp("clamd")) as running:
        yield running


def test_there_are_cases() -> None:
    assert len(CASES) >= 15


@pytest.mark.parametrize("case", CASES)
async def test_case(case: str, clamd: Clamd, tmp_path: Path) -> None:
    folder = HERE / case
    found = await run(folder, clamd, tmp_path)
    expected = folder / "expected.json"
    if UPDATE:
        expected.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    assert found == json.loads(expected.read_text())


async def run(folder: Path, clamd: Clamd, scratch: Path) -> dict[str, Any]:
    """What is found and decided for a case, as its expected.json has it."""
    told = tomllib.loads(text) if (text := _text(folder / "envelope.toml")) else {}
    recipients = told.get("recipients", ["bob@client.test"])
    session = Session("s", told.get("client_ip", "192.0.2.25"), helo=told.get("helo", "mail.sender.test"), esmtp=True)
    envelope = Envelope(
        "01JDF00000000000000000000X",
        told.get("mail_from", "alice@sender.test"),
        recipients=tuple(Recipient(address, 2, "client.test", number=i) for i, address in enumerate(recipients, 1)),
    )
    scanner = ClamdClient(clamd.address)
    findings = await _runner(scanner).run(
        CheckContext(
            session=session,
            envelope=envelope,
            message=parse(_message(folder)),
            resolver=StaticResolver(tomllib.loads(_text(folder / "dns.toml"))),
            hostname="mx.relay.test",
            authserv_id="mx.relay.test",
        )
    )
    await scanner.close()
    policy = _policy(folder, scratch)
    verdict = score(findings, tenant=TENANT, policy=policy, envelope=envelope, session=session, now_ms=NOW)
    settlement = settle([decide(verdict, policy, recipient) for recipient in envelope.recipients])
    return {
        "score": round(verdict.score, 2),
        "symbols": {symbol.name: symbol.points for symbol in sorted(verdict.symbols, key=lambda symbol: symbol.name)},
        "auth": [f"{auth.method}={auth.outcome} {auth.domain}".strip() for auth in findings.auth],
        "malware": list(findings.malware),
        "attachments": [
            f"{fact.name} ({fact.true_type})" if fact.true_type else fact.name for fact in findings.attachments
        ],
        "links": list(findings.link_hosts),
        "from": findings.from_address,
        "reply": settlement.reply.code,
        "decisions": {
            recipient.address: f"{decision.action}: {decision.reason}"
            for recipient, decision in zip(envelope.recipients, settlement.decisions, strict=True)
        },
        **_failures(findings),
    }


def _failures(findings: Findings) -> dict[str, list[str]]:
    return {"failed_checks": list(findings.failed_checks)} if findings.failed_checks else {}


def _runner(scanner: ClamdClient) -> Runner:
    rules = load_rules(ROOT / "policies" / "rules")
    checks = [
        SpfCheck(),
        DkimCheck(clock=lambda: NOW),
        DmarcCheck(),
        ArcCheck(clock=lambda: NOW),
        ClamavCheck(scanner),
        RulesCheck(lambda: rules),
        DnsblCheck([BLOCK_LIST]),
        AttachmentsCheck(),
    ]
    return Runner(checks, budget=20)


def _message(folder: Path) -> bytes:
    raw = (folder / "message.eml").read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    for name, content in ((b"EICAR-BASE64", base64.b64encode(EICAR)), (b"EICAR", EICAR), (b"GTUBE", GTUBE)):
        raw = raw.replace(b"{{" + name + b"}}", content)
    return raw


def _policy(folder: Path, scratch: Path) -> Policy:
    directory = scratch / "policies"
    shutil.copytree(ROOT / "policies", directory)
    own = (folder / "policy.yaml").exists()
    if own:
        shutil.copy(folder / "policy.yaml", directory / "case.yaml")
    files = PolicyFiles(directory)
    files.load()
    return files.find("case" if own else "default")


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
