"""Certificates: made, kept, loaded anew."""

from __future__ import annotations

import ssl
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509

from mailguard.core.errors import ConfigError
from mailguard.smtp.tls import TlsCertificate, load, self_made


def test_self_made_certificate_is_kept_and_private(tmp_path: Path) -> None:
    certificate, key = self_made(tmp_path / "tls", hostname="mx.example")
    first = certificate.read_bytes()
    assert self_made(tmp_path / "tls", hostname="other.example") == (certificate, key)
    assert certificate.read_bytes() == first
    assert stat.S_IMODE(certificate.stat().st_mode) == 0o600
    assert list((tmp_path / "tls").iterdir()) == [certificate]
    names = x509.load_pem_x509_certificate(first).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == ["mx.example"]


def test_self_made_certificate_for_an_address(tmp_path: Path) -> None:
    certificate, key = self_made(tmp_path, hostname="127.0.0.1")
    load(certificate, key)


def test_workers_that_start_together_use_one_certificate(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: self_made(tmp_path, hostname="mx.example")[0].read_bytes(), range(16)))
    assert len(set(made)) == 1


def test_old_tls_is_refused(tmp_path: Path) -> None:
    context = load(*self_made(tmp_path, hostname="mx.example"))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_NONE


@pytest.mark.parametrize("content", [b"", b"not PEM at all\n"])
def test_unusable_files_are_a_config_error_that_names_them(tmp_path: Path, content: bytes) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_bytes(content)
    with pytest.raises(ConfigError, match=r"bad\.pem"):
        load(bad, bad)
    with pytest.raises(ConfigError, match=r"missing\.pem"):
        load(tmp_path / "missing.pem", bad)


def test_failed_reload_keeps_the_certificate_in_use(tmp_path: Path) -> None:
    made, _ = self_made(tmp_path / "made", hostname="mx.example")
    used = tmp_path / "used.pem"
    used.write_bytes(made.read_bytes())
    certificate = TlsCertificate(used, used)
    before = certificate.context
    used.write_bytes(b"half a file")
    with pytest.raises(ConfigError):
        certificate.reload()
    assert certificate.context is before
    used.write_bytes(made.read_bytes())
    certificate.reload()
    assert certificate.context is not before
