"""What the checks that look into files say of a mail, run as the relay runs them: a real sandbox, a real scanner, the rules that we ship."""

from __future__ import annotations

from collections.abc import Mapping

from mailguard.app.filter import Filter, build_filter
from mailguard.config.settings import Settings
from mailguard.core.envelope import Envelope, Recipient, Session
from mailguard.core.ids import new_message_id
from mailguard.core.tenant import Directory, Domain, Tenant
from mailguard.core.verdict import CheckResult
from mailguard.message.parse import parse
from mailguard.net.dns import StaticResolver
from tests.conftest import ROOT
from tests.servers.clamd import Clamd

CHECKS = ("clamav", "attachments", "unpack", "html", "qr", "hashes")
"""Those that look into files, and the scanner that unpack gives files to. YARA's rules are looked for by unpack."""
_TENANT = Tenant(2, "client")
_SESSION = Session("s", "127.0.0.1", helo="mail.sender.test", esmtp=True)


def build(clamd: Clamd) -> Filter:
    """What judges mail, with these checks alone. Files are given more time than by default: tests share the processor."""
    settings = Settings.model_validate(
        {
            "clamav": {"address": clamd.address, "timeout": 60},
            "policies": {"path": str(ROOT / "policies")},
            "sandbox": {"time": 60, "wait": 60},
            "checks": {"budget": 120},
        }
    )
    directory = Directory.of([_TENANT], [Domain("client.test", _TENANT.id)])
    return build_filter(settings, directory=lambda: directory, resolver=StaticResolver({}), checks=CHECKS)


async def judged(made: Filter, mail: bytes) -> Mapping[str, CheckResult]:
    """What each check says of a mail."""
    envelope = Envelope(new_message_id(), "a@sender.test", recipients=(Recipient("u@client.test", 2, "client.test"),))
    findings = await made.judge.find(_SESSION, envelope, parse(mail))
    return {result.check: result for result in findings.results}
