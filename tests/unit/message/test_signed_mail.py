"""Signed mail stays signed: what we write stands before it, and what was signed goes on octet for octet."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mailguard.message.stamps import outgoing


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_a_signed_mail_verifies_with_our_fields_on_top(tmp_path: Path) -> None:
    def openssl(arguments: str, given: bytes = b"") -> bytes:
        done = subprocess.run(
            ["openssl", *arguments.split()], cwd=tmp_path, input=given, check=True, capture_output=True
        )
        return done.stdout

    openssl("req -x509 -newkey rsa:2048 -nodes -keyout k.pem -out c.pem -subj /CN=a -days 2")
    body = b"Content-Type: text/plain\r\n\r\nsigned \r\n"
    signed = openssl("smime -sign -crlfeol -signer c.pem -inkey k.pem -from a@b.example -subject x", body)
    ours = b"X-MailGuard-Score: 1.0\r\n"
    sent = b"".join(outgoing(signed, ours, authserv_id="mx.example.net", subject_tag="[SPAM] "))
    assert ours in sent
    assert openssl("smime -verify -noverify -crlfeol", sent) == body
    changed = sent.replace(b"signed \r\n", b"Signed \r\n")
    with pytest.raises(subprocess.CalledProcessError):
        openssl("smime -verify -noverify -crlfeol", changed)
