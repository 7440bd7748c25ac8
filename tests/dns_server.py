"""An authoritative DNS server on loopback for the tests: UDP and TCP on one port, its zone changeable while it runs.

    with DnsServer({"a.test": {"A": ["192.0.2.1"], "TXT": ["v=spf1 -all"]}, "slow.test": {"*": "TIMEOUT"}}) as server:
        resolver = AiodnsResolver([server.address])

The zone has the form of `mailguard.net.dns.Zone`. Names not in it do not exist. TTLs are 0 by default, so that a change
is seen at once. Runs in threads of its own, so synchronous tests and other processes can use it too.
"""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from typing import Any, Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.MX
import dns.rdtypes.ANY.TXT
import dns.rrset

from mailguard.net.dns import Zone

ALIAS_LIMIT = 8


class DnsServer:
    """See the module. `ttl` and `negative_ttl` in seconds; `queries` lists (name, type, "udp" | "tcp") as they came."""

    def __init__(
        self, zone: Zone | None = None, *, ttl: int = 0, negative_ttl: int = 0, host: str = "127.0.0.1"
    ) -> None:
        self.ttl = ttl
        self.negative_ttl = negative_ttl
        self.secure: tuple[str, ...] = ()
        """Zones whose answers get the AD bit, as a validating resolver sets it; the targets of aliases must be in them too."""
        self.queries: list[tuple[str, str, str]] = []
        self._host = host
        self._zone: dict[str, dict[str, Any]] = {}
        self._servers: list[socketserver.BaseServer] = []
        self.set_zone(zone or {})

    def set_zone(self, zone: Zone) -> None:
        """Replace all that the server knows."""
        self._zone = {name.removesuffix(".").lower(): dict(types) for name, types in zone.items()}

    def update(self, zone: Zone) -> None:
        """Add names, or replace those that are there."""
        self._zone |= {name.removesuffix(".").lower(): dict(types) for name, types in zone.items()}

    @property
    def port(self) -> int:
        """The port, after `start`."""
        return int(self._servers[0].server_address[1])

    @property
    def address(self) -> str:
        """`127.0.0.1:5300`, the form of `[dns] nameservers`."""
        return f"[{self._host}]:{self.port}" if ":" in self._host else f"{self._host}:{self.port}"

    def start(self) -> Self:
        """Listen on a free port."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        for _ in range(20):
            udp = _make(socketserver.ThreadingUDPServer, _UdpHandler, family, (self._host, 0), self)
            try:
                tcp = _make(socketserver.ThreadingTCPServer, _TcpHandler, family, udp.server_address, self)
            except OSError:  # the port is taken for TCP
                udp.server_close()
                continue
            self._servers = [udp, tcp]
            break
        else:
            raise RuntimeError("no port is free for both UDP and TCP")
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def stop(self) -> None:
        """Close both sockets."""
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self._servers = []

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def respond(self, wire: bytes, transport: str) -> bytes | None:
        """The response to one query on the wire; None when it is to time out."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return None
        question = query.question[0]
        rdtype = dns.rdatatype.to_text(question.rdtype)
        self.queries.append((_key(question.name), rdtype, transport))
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA | dns.flags.RA
        if not self._answer(response, question.name, rdtype):
            return None
        names = [
            question.name,
            *(
                dns.name.from_text(str(one.target))
                for rrset in response.answer
                for one in rrset
                if rrset.rdtype == dns.rdatatype.CNAME
            ),
        ]
        if query.flags & dns.flags.AD and all(self._is_secure(_key(name)) for name in names):
            response.flags |= dns.flags.AD
        if response.rcode() != dns.rcode.SERVFAIL and not any(
            rrset.rdtype == question.rdtype for rrset in response.answer
        ):
            response.authority.append(
                dns.rrset.from_text(
                    dns.name.root,
                    self.negative_ttl,
                    dns.rdataclass.IN,
                    dns.rdatatype.SOA,
                    f"ns.test. admin.test. 1 3600 600 86400 {self.negative_ttl}",
                )
            )
        limit = max(query.payload, 512) if transport == "udp" else 65535
        try:
            return response.to_wire(max_size=limit)
        except dns.exception.TooBig:
            truncated = dns.message.make_response(query)
            truncated.flags |= dns.flags.AA | dns.flags.RA | dns.flags.TC
            return truncated.to_wire()

    def _is_secure(self, name: str) -> bool:
        return any(name == zone or name.endswith(f".{zone}") for zone in self.secure)

    def _answer(self, response: dns.message.Message, name: dns.name.Name, rdtype: str) -> bool:
        """Fill the answer in; False when the query is to time out."""
        for _ in range(ALIAS_LIMIT):
            key = _key(name)
            types = self._zone.get(key)
            if types is None:
                if not any(other.endswith(f".{key}") for other in self._zone):
                    response.set_rcode(dns.rcode.NXDOMAIN)
                return True
            value = types.get(rdtype, types.get("*", ()))
            if value == "TIMEOUT":
                return False
            if value == "SERVFAIL":
                response.set_rcode(dns.rcode.SERVFAIL)
                return True
            if value:
                response.answer.append(_rrset(name, rdtype, value, self.ttl))
                return True
            if "CNAME" not in types:
                return True
            response.answer.append(_rrset(name, "CNAME", types["CNAME"], self.ttl))
            name = dns.name.from_text(types["CNAME"][0])
        return True


def _key(name: dns.name.Name) -> str:
    """A name without the escapes of the presentation form."""
    return b".".join(name.labels[:-1]).decode("latin-1").lower()


def _rrset(name: dns.name.Name, rdtype: str, values: Any, ttl: int) -> dns.rrset.RRset:
    kind = dns.rdatatype.from_text(rdtype)
    rrset = dns.rrset.RRset(name, dns.rdataclass.IN, kind)
    rrset.ttl = ttl
    for value in values:
        if rdtype == "TXT":
            strings = value if isinstance(value, list | tuple) else (value,)
            octets = [item if isinstance(item, bytes) else item.encode() for item in strings]
            chunks = [octet[i : i + 255] for octet in octets for i in range(0, max(len(octet), 1), 255)]
            rrset.add(dns.rdtypes.ANY.TXT.TXT(dns.rdataclass.IN, kind, chunks or [b""]), ttl)
        elif rdtype == "MX":
            host = dns.name.from_text(value[1] or ".")
            rrset.add(dns.rdtypes.ANY.MX.MX(dns.rdataclass.IN, kind, value[0], host), ttl)
        else:
            text = value if rdtype in ("A", "AAAA", "TLSA") else dns.name.from_text(value).to_text()
            for rdata in dns.rrset.from_text(name, ttl, dns.rdataclass.IN, kind, text):
                rrset.add(rdata, ttl)
    return rrset


def _make(kind: type[Any], handler: type[Any], family: int, address: Any, owner: DnsServer) -> Any:
    server_class = type(kind.__name__, (kind,), {"address_family": family, "daemon_threads": True, "owner": owner})
    return server_class(address, handler)


class _UdpHandler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        wire, sock = self.request
        response = self.server.owner.respond(wire, "udp")  # type: ignore[attr-defined]
        if response is not None:
            sock.sendto(response, self.client_address)


class _TcpHandler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while len(head := self.rfile.read(2)) == 2:
            wire = self.rfile.read(struct.unpack("!H", head)[0])
            response = self.server.owner.respond(wire, "tcp")  # type: ignore[attr-defined]
            if response is None:
                return
            self.wfile.write(struct.pack("!H", len(response)) + response)
