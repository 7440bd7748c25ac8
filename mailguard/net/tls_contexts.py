"""TLS contexts towards next hops: unverified or verified, with or without a certificate of ours; read again when files change."""

from __future__ import annotations

import ssl
from pathlib import Path


class TlsSetupError(Exception):
    """A certificate of ours, or the file of trusted authorities, cannot be used. The text says which and why."""


class TlsContexts:
    """Contexts by what they are for. `ca_file` holds the authorities that we trust, in PEM; empty: the system's."""

    def __init__(self, *, ca_file: str = "") -> None:
        self._ca_file = ca_file
        self._made: dict[tuple[bool, str], tuple[tuple[int, int], ssl.SSLContext]] = {}

    def get(self, *, verified: bool, certificate: str = "") -> ssl.SSLContext:
        """A context that verifies the server's name and chain, or nothing; it shows `certificate` to servers that ask.

        `certificate` is the path of a PEM file with our chain and its private key. Raises TlsSetupError.
        """
        stamp = (_changed_at(self._ca_file) if verified else 0, _changed_at(certificate))
        known = self._made.get((verified, certificate))
        if known is not None and known[0] == stamp:
            return known[1]
        context = _verifying(self._ca_file) if verified else _opportunistic()
        if certificate:
            try:
                # an empty password: OpenSSL would ask the terminal for that of an encrypted key
                context.load_cert_chain(certificate, password="")
            except (OSError, ssl.SSLError) as error:
                raise TlsSetupError(f"the client certificate {certificate} cannot be used: {_why(error)}") from error
        self._made[verified, certificate] = stamp, context
        return context


def _verifying(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise TlsSetupError(f"the authorities in {ca_file} cannot be used: {_why(error)}") from error


def _opportunistic() -> ssl.SSLContext:
    """TLS without verification (RFC 7435): keys and signatures too weak to verify still beat plaintext."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=1")
    return context


def _changed_at(path: str) -> int:
    try:
        return Path(path).stat().st_mtime_ns if path else 0
    except OSError:
        return -1


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "it is not a PEM file with a certificate and its key"
    return error.strerror or str(error)
