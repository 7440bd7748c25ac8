"""What SMTP says about a mail, apart from its content: the Session, the MAIL and RCPT options, the Envelope, its Recipients."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from mailguard.core.values import value


@dataclass(frozen=True, slots=True)
class Session:
    """One client's connection, as the door saw it (after PROXY, STARTTLS and EHLO).

    `client_ip` is textual; `helo` is empty before HELO/EHLO; `tls` names the protocol and cipher (`TLSv1.3
    TLS_AES_256_GCM_SHA384`) or is empty; `listener` is the `host:port` it came in by.
    """

    id: str
    client_ip: str
    client_port: int = 0
    helo: str = ""
    esmtp: bool = False
    tls: str = ""
    listener: str = ""

    @property
    def address(self) -> IPv4Address | IPv6Address:
        """The client's address; an IPv4-mapped IPv6 address as its IPv4 one, so that SPF and lists see what was meant."""
        return _address(self.client_ip)

    @property
    def protocol(self) -> str:
        """The `with` word of the Received field (RFC 3848)."""
        return ("ESMTPS" if self.tls else "ESMTP") if self.esmtp else "SMTP"


@lru_cache(maxsize=1_024)
def _address(client_ip: str) -> IPv4Address | IPv6Address:
    parsed = ip_address(client_ip)
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        return parsed.ipv4_mapped
    return parsed


@dataclass(frozen=True, slots=True)
class MailOptions:
    """Parameters of MAIL. `size` is in octets (RFC 1870), 0 when it was not given; `ret` and `envid` are of RFC 3461."""

    size: int = 0
    eight_bit: bool = False
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""


@dataclass(frozen=True, slots=True)
class RcptOptions:
    """Parameters of RCPT (RFC 3461): `notify` is empty when it was not given; `orcpt` is `type;xtext` as it came."""

    notify: tuple[str, ...] = ()
    orcpt: str = ""


@dataclass(frozen=True, slots=True)
class NextHop:
    """Where mail of a domain goes on: a host name or address and a port; the lowest `priority` is tried first.

    With `lmtp` it is spoken to by LMTP (RFC 2033); `host` may then be the path of a socket, and the port is 0.
    """

    host: str
    port: int = 25
    priority: int = 10
    lmtp: bool = False

    @property
    def is_socket(self) -> bool:
        """Whether it is a socket of this machine, not a host."""
        return self.host.startswith("/")

    def __str__(self) -> str:
        if self.is_socket:
            return f"lmtp:{self.host}"
        text = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        return f"lmtp://{text}" if self.lmtp else text


@value
class Recipient:
    """One accepted RCPT: the address as it came, the tenant it belongs to, and its domain in look-up form."""

    address: str
    tenant: int
    domain: str
    options: RcptOptions = RcptOptions()
    number: int = 1
    """Position in the envelope, from 1; with the message's id it names the ledger unit."""


@value
class Envelope:
    """One mail transaction: the sender (empty: the null sender) and the recipients accepted so far."""

    message_id: str
    mail_from: str
    options: MailOptions = MailOptions()
    recipients: tuple[Recipient, ...] = field(default=())
