"""Looks TLSA records up, and whether DNSSEC vouches for them: by the AD bit of a validating resolver that we trust (RFC 6698)."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.nameserver
import dns.rdatatype
import dns.resolver

from mailguard.net.dane import Tlsa, TlsaRecord
from mailguard.net.dns import DnsTemporaryError, lookup_name
from mailguard.net.dns_unusual import split_nameserver

_EDNS_PAYLOAD = 1232


class TlsaResolver:
    """Secure TLSA records of next hops. `nameservers` as of AiodnsResolver (empty: the system's); all must be trusted.

    `timeout` in seconds, retries included; up to `cache_size` answers are kept for their time to live.
    """

    def __init__(self, nameservers: Sequence[str] = (), *, timeout: float = 5.0, cache_size: int = 1000) -> None:
        self._nameservers = tuple(nameservers)
        self._timeout = timeout
        self._cache_size = cache_size
        self._resolver: dns.asyncresolver.Resolver | None = None

    async def lookup(self, host: str, port: int) -> Tlsa:
        """The secure TLSA records of a host's port; none when they, or its addresses, are not secure, or there are none.

        The addresses come first: a zone that is not signed is not asked for TLSA, which some of its servers do not
        bear (RFC 7672 §2.2.2). Raises DnsTemporaryError when an answer could not be had: then nothing may be sent, since
        an attacker could be behind it (§2.1.2).
        """
        name = lookup_name(host)
        if name is None or _is_address(name):
            return Tlsa()
        answer = await self._ask(name, "A")
        if answer is None or answer.rrset is None:
            answer = await self._ask(name, "AAAA")
        if answer is None or not _secure(answer):
            return Tlsa()
        canonical = lookup_name(str(answer.canonical_name)) or name
        names = tuple(dict.fromkeys((canonical, name)))
        for base in names:  # an alias's target first (RFC 7672 §2.2.3)
            found = await self._ask(f"_{port}._tcp.{base}", "TLSA")
            if found is not None and found.rrset is not None and _secure(found):
                records = tuple(TlsaRecord(one.usage, one.selector, one.mtype, one.cert) for one in found.rrset)
                return Tlsa(tuple(dict.fromkeys((base, *names))), records)
        return Tlsa()

    async def _ask(self, name: str, rdtype: str) -> dns.resolver.Answer | None:
        """None: the name does not exist."""
        try:
            return await self._asker().resolve(f"{name}.", rdtype, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return None
        except (dns.exception.DNSException, OSError) as error:
            raise DnsTemporaryError(f"{name} {rdtype}: {error}") from error

    def _asker(self) -> dns.asyncresolver.Resolver:
        if self._resolver is None:
            self._resolver = dns.asyncresolver.Resolver(configure=not self._nameservers)
            if self._nameservers:
                self._resolver.nameservers = [
                    dns.nameserver.Do53Nameserver(host, port) for host, port in map(split_nameserver, self._nameservers)
                ]
            self._resolver.lifetime = self._timeout
            self._resolver.flags = dns.flags.RD | dns.flags.AD
            self._resolver.use_edns(0, dns.flags.DO, _EDNS_PAYLOAD)
            self._resolver.cache = dns.resolver.LRUCache(self._cache_size)
        return self._resolver


def _secure(answer: dns.resolver.Answer) -> bool:
    return bool(answer.response.flags & dns.flags.AD)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
