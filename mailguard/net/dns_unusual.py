"""Look-ups of names that are no host names (`user+tag.l._spf.example.com`), which SPF macros make and c-ares refuses: by
dnspython, slower, and rare."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.rdata
import dns.resolver

from mailguard.net.dns import Answer, DnsTemporaryError, Rcode, Record


class UnusualNames:
    """Asks the same name servers as the resolver it belongs to. `timeout` in seconds is for a whole look-up."""

    def __init__(self, nameservers: Sequence[str], *, timeout: float) -> None:
        self._nameservers = tuple(nameservers)
        self._timeout = timeout
        self._resolver: dns.asyncresolver.Resolver | None = None

    async def look_up(self, name: str, rdtype: str) -> Answer | DnsTemporaryError:
        """The answer, or why there is none for now."""
        try:
            found = await self._asker().resolve(f"{name}.", rdtype, search=False, lifetime=self._timeout)
        except dns.resolver.NXDOMAIN:
            return Answer(Rcode.NXDOMAIN)
        except dns.resolver.NoAnswer:
            return Answer(Rcode.NOERROR)
        except (dns.exception.DNSException, OSError) as error:
            return DnsTemporaryError(f"{name} {rdtype}: {error}")
        records = tuple(_record(rdtype, rdata) for rdata in found)
        return Answer(Rcode.NOERROR, records, found.rrset.ttl if found.rrset is not None else 0)

    def _asker(self) -> dns.asyncresolver.Resolver:
        if self._resolver is None:
            self._resolver = dns.asyncresolver.Resolver(configure=not self._nameservers)
            if self._nameservers:
                self._resolver.nameservers = [
                    dns.nameserver.Do53Nameserver(*split_nameserver(it)) for it in self._nameservers
                ]
        return self._resolver


def split_nameserver(nameserver: str) -> tuple[str, int]:
    """Address and port of `192.0.2.53`, `127.0.0.1:5300`, `[::1]:53` or `::1`."""
    try:
        return str(ip_address(nameserver.strip("[]"))), 53
    except ValueError:
        host, _, port = nameserver.rpartition(":")
        return host.strip("[]"), int(port)


def _record(rdtype: str, rdata: dns.rdata.Rdata) -> Record:
    if rdtype in ("A", "AAAA"):
        return str(rdata.to_text())
    if rdtype == "TXT":
        return b"".join(rdata.strings)  # type: ignore[attr-defined]
    if rdtype == "MX":
        return int(rdata.preference), rdata.exchange.to_text(omit_final_dot=True).lower()  # type: ignore[attr-defined]
    return str(rdata.target.to_text(omit_final_dot=True))  # type: ignore[attr-defined]
