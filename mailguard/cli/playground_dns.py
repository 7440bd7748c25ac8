"""The demo's name server: knows a handful of names under .test, and asks the system's servers for all others."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.rrset

ZONE: Mapping[tuple[str, str], str] = {
    ("sender.test.", "A"): "127.0.0.1",
    ("sender.test.", "MX"): "10 sender.test.",
    ("sender.test.", "TXT"): '"v=spf1 ip4:127.0.0.0/8 ip6:::1 -all"',
    ("_dmarc.sender.test.", "TXT"): '"v=DMARC1; p=reject"',
    ("bank.test.", "A"): "192.0.2.10",
    ("bank.test.", "MX"): "10 bank.test.",
    ("bank.test.", "TXT"): '"v=spf1 ip4:192.0.2.10 -all"',
    ("_dmarc.bank.test.", "TXT"): '"v=DMARC1; p=reject"',
}
"""(name, type) → record data. sender.test mails from this machine; bank.test does not, and asks to reject forgeries."""

TEST = dns.name.from_text("test.")
LOCAL = dns.name.from_text("1.0.0.127.in-addr.arpa.")
FORWARD_TIMEOUT = 2.0
"""Seconds for the system's name servers; without a network the demo must not wait."""


class DemoDns(asyncio.DatagramProtocol):
    """Answers over UDP. Names under .test and of 127.0.0.1 never leave the machine."""

    def __init__(self) -> None:
        self._transport: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises OSError when it is taken."""
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, local_addr=(host, port))
        self._transport = transport
        return int(transport.get_extra_info("sockname")[1])

    def stop(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """One question."""
        task = asyncio.ensure_future(self._answer(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, data: bytes, peer: tuple[str, int]) -> None:
        try:
            query = dns.message.from_wire(data)
        except dns.exception.DNSException:
            return
        response = await answer(query)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(response.to_wire(max_size=4096), peer)


async def answer(query: dns.message.Message) -> dns.message.Message:
    """The response to a query: from ZONE, or from the system's name servers; SERVFAIL when these do not answer."""
    response = dns.message.make_response(query, recursion_available=True)
    if not query.question:
        response.set_rcode(dns.rcode.FORMERR)
        return response
    question = query.question[0]
    if question.name.is_subdomain(TEST) or question.name == LOCAL:
        _from_zone(response, question)
        return response
    try:
        resolver = dns.asyncresolver.get_default_resolver()
        found = await resolver.resolve(
            question.name, question.rdtype, lifetime=FORWARD_TIMEOUT, raise_on_no_answer=False, search=False
        )
        response.answer = list(found.response.answer)
    except dns.resolver.NXDOMAIN:
        response.set_rcode(dns.rcode.NXDOMAIN)
    except (dns.exception.DNSException, OSError):
        response.set_rcode(dns.rcode.SERVFAIL)
    return response


def _from_zone(response: dns.message.Message, question: dns.rrset.RRset) -> None:
    name = question.name.to_text().lower()
    response.flags |= dns.flags.AA
    data = ZONE.get((name, dns.rdatatype.to_text(question.rdtype)))
    if data is not None:
        response.answer.append(dns.rrset.from_text(question.name, 60, "IN", question.rdtype, data))
    elif not any(known == name or known.endswith(f".{name}") for known, _ in ZONE):
        response.set_rcode(dns.rcode.NXDOMAIN)
