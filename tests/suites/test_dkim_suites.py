"""The DKIM mails of Mail::DKIM, dkimpy and MimeKit. Each number is exact: what comes out otherwise is a regression."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mailguard.checks.dkim_verify import verify_dkim
from mailguard.net.dns import StaticResolver, Zone
from tests.suites.mail_dkim import crlf, fake_dns, passes_with_sha1, should_pass

pytestmark = pytest.mark.corpora
NOW = 1_700_000_000


async def outcomes(raw: bytes, zone: Zone, now: int = NOW) -> list[str]:
    return [str(result.outcome) for result in await verify_dkim(StaticResolver(zone), raw, now=now)]


def kind_of(name: str, raw: bytes) -> str:
    """What a file of Mail::DKIM's corpus is to a verifier of today."""
    if "_dk_" in name or name.startswith("dk_"):
        return "DomainKeys"  # RFC 4870, historic: not a DKIM signature
    if not should_pass(name):
        return "must not pass"
    if not re.search(rb"^DKIM-Signature:\s*v=1;", raw, re.MULTILINE):
        return "draft"  # signatures of drafts before RFC 4871: no version, or another
    return "rsa-sha1" if b"a=rsa-sha1" in raw else "must pass"


async def test_mail_dkim(corpora: Callable[[str], Path]) -> None:
    """Passes: 1 of 1 that must. Does not: 33 of 33 that must not. 12 fail for their algorithm alone, 33 are older than DKIM."""
    folder = corpora("auth_suites") / "dkim/mail-dkim/t"
    zone = fake_dns(folder / "FAKE_DNS.dat")
    kinds: Counter[str] = Counter()
    for path in sorted((folder / "corpus").iterdir()):
        raw = crlf(path.read_bytes())
        kind = kind_of(path.name, raw)
        kinds[kind] += 1
        assert ("pass" in await outcomes(raw, zone)) == (kind == "must pass"), path.name
        if kind == "rsa-sha1":
            assert passes_with_sha1(raw, zone), path.name
    assert kinds == {"must pass": 1, "must not pass": 33, "rsa-sha1": 12, "draft": 16, "DomainKeys": 17}


def public_key(data: Path, name: str) -> bytes:
    return (data / name).read_bytes().strip()


async def test_dkimpy(corpora: Callable[[str], Path]) -> None:
    """17 of 17: dkimpy's signed mails with the keys that its tests publish, and mails signed with its private keys."""
    data = corpora("auth_suites") / "dkim/dkimpy/dkim/tests/data"
    seed = base64.b64decode((data / "rfc8032_7_1.key").read_bytes())
    brisbane = base64.b64encode(Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()).decode()
    football = "test._domainkey.football.example.com"
    zone: Zone = {
        football: {"TXT": [public_key(data, "test.txt")]},
        "brisbane._domainkey.football.example.com": {"TXT": [f"v=DKIM1; k=ed25519; p={brisbane}"]},
        "sed._domainkey.test.ex": {"TXT": [public_key(data, "eximtest.dns")]},
    }
    expected = {
        "ed25519test2.msg": ["pass"],
        "message.mbox": ["permerror"],  # its key is not published any more
        "rfc6376.signed.msg": ["pass", "pass"],
        "rfc6376.signed.no_t.msg": ["fail"],  # tags changed after signing
        "rfc6376.signed.rsa.msg": ["pass"],
        "test.message.baddomain": ["permerror"],
        "test2.message": ["permerror"],
        "test.message": [],
        "test_nofrom.message": [],
    }
    found = {name: await outcomes(crlf((data / name).read_bytes()), zone) for name in expected}
    assert found == expected
    for record in ("badk.txt", "badversion.txt", "test_bad.txt", "test_tlsrpt.txt"):
        at = {football: {"TXT": [public_key(data, record)]}}
        assert await outcomes(crlf((data / "rfc6376.signed.rsa.msg").read_bytes()), at) == ["permerror"], record
    for private, public in (
        ("test.private", "test.txt"),
        ("1024_testkey.key", "1024_testkey_wo_markers.pub.rsa.txt"),  # a bare RSAPublicKey
        ("2048_testkey.key", "2048_testkey_wo_markers.pub.txt"),
        ("2048_testkey_PKCS8.key", "2048_testkey_PKCS8.key.pub.txt"),
    ):
        mail = crlf((data / "test.message").read_bytes())
        signature = dkim.sign(mail, b"s", b"example.com", (data / private).read_bytes())
        at = {"s._domainkey.example.com": {"TXT": [public_key(data, public)]}}
        assert await outcomes(signature + mail, at, now=2**33) == ["pass"], private


async def test_mimekit(corpora: Callable[[str], Path]) -> None:
    """4 of 4: mails from Gmail, one of them a malformed multipart, and the example of RFC 8463."""
    data = corpora("auth_suites") / "dkim/mimekit/UnitTests/TestData/dkim"
    pem = "".join((data / "gmail.pub").read_text().split("\n")[1:-2])
    dkimpy = corpora("auth_suites") / "dkim/dkimpy/dkim/tests/data"
    zone: Zone = {
        "20120113._domainkey.gmail.com": {"TXT": [f"k=rsa; p={pem}"]},
        "test._domainkey.football.example.com": {"TXT": [public_key(dkimpy, "test.txt")]},
        "brisbane._domainkey.football.example.com": {
            "TXT": ["v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="]
        },
    }
    found = {path.name: await outcomes(crlf(path.read_bytes()), zone) for path in data.glob("*.msg")}
    assert found == {
        "gmail.msg": ["pass"],
        "related.msg": ["pass"],
        "multipart-no-end-boundary.msg": ["pass"],
        "rfc8463-example.msg": ["pass", "pass"],
    }
