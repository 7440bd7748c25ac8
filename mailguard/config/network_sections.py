"""The settings of checks that ask others: block lists, sealers of ARC chains, other filters."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mailguard.config.section import Section
from mailguard.config.values import HostName, OptionalPeerOrSocket, Points, ReturnCode, Seconds, SymbolName

KnownList = Literal["spamhaus-zen", "spamhaus-dbl", "surbl", "uribl", "spamcop", "barracuda", "dnswl"]
"""The lists of checks/known_lists.py; a test compares."""


class DnsblZone(Section):
    """One DNS list, or one meaning of its answers: a zone with several has a table for each."""

    zone: HostName = Field(description="The zone that is asked, such as `bl.example.org`.")
    kind: Literal["ip", "domain"] = Field(
        "ip", description="What it lists: addresses of clients, or domains of links and senders."
    )
    symbol: SymbolName = Field(
        description="The symbol of what is listed, such as `DNSBL_EXAMPLE`; for a sender's domain `_SENDER` is added, for a link's address "
        "in a list of addresses `_LINK`."
    )
    score: Points = Field(3.0, description="The symbol's points.")
    codes: tuple[ReturnCode, ...] = Field(
        (), description="Answers that mean this symbol, such as `127.0.0.2`. Empty: any answer."
    )
    bits: int = Field(
        0, ge=0, le=255, description="Instead of codes: bits of the last octet, of which any means this symbol."
    )
    refusals: tuple[ReturnCode, ...] = Field(
        (), description="Answers by which it refuses to answer us, beside those in 127.255.255.0/24."
    )
    description: str = Field("", description="What a listing means, for the trace.")
    ipv6: bool = Field(True, description="Whether the zone lists IPv6 addresses too.")
    numeric: bool = Field(False, description="Whether it is asked about the addresses in links too.")


class ArcSection(Section):
    """Whom ARC is believed: docs/checks/arc.md says whom one may trust."""

    trusted_sealers: tuple[HostName, ...] = Field(
        (),
        description="Domains whose seals count, those below them too: a failure of DMARC is excused when the last sealers are "
        'among them and one says it passed. Such as `["lists.example.org"]`.',
    )


class DnsblSection(Section):
    """DNS block lists; off until one is named. Mind each list's terms of use: docs/checks/dnsbl.md."""

    use: tuple[KnownList, ...] = Field((), description="Well-known lists to ask, by name.")
    spamhaus_key: Annotated[str, Field(pattern="^([A-Za-z0-9]{8,64})?$")] = Field(
        "",
        repr=False,
        description="Key of Spamhaus's Data Query Service; better a secret reference. Empty: the public mirrors are asked.",
        json_schema_extra={"secret": "whole"},
    )
    zones: tuple[DnsblZone, ...] = Field((), description="Further lists, as tables with the keys below.")
    timeout: Seconds = Field(
        2, description="Seconds that one look-up may take. A list that fails 3 times is left alone for a while."
    )
    queries: int = Field(
        60, ge=1, le=1000, description="Look-ups of one message's domains at most; senders first, then links."
    )


class ReputationSection(Section):
    """How senders stand with each client: docs/checks/reputation.md."""

    enabled: bool = Field(True, description="Count what becomes of the mail of networks and authenticated domains.")


class RspamdSection(Section):
    """rspamd as a further opinion; off until it has an address."""

    address: OptionalPeerOrSocket = Field(
        "",
        description="Its normal worker or proxy, as `host:port` (port 11333) or the path of a socket. Empty: not asked.",
    )
    password: str = Field(
        "",
        repr=False,
        description="Its password, if it wants one (its controller does); better a secret reference.",
        json_schema_extra={"secret": "whole"},
    )
    timeout: Seconds = Field(8, description="Seconds that it may take for one message.")
    connections: int = Field(10, ge=1, le=256, description="Messages that it is given at a time, per worker.")
    max_size: int = Field(10_485_760, ge=1, description="Octets of a message above which it is not asked.")
    scale: float = Field(0.4, gt=0, le=10, description="Our points for one of its own.")
    limit: float = Field(6.0, ge=0, le=1000, description="Points that it gives at most.")
    credit: float = Field(1.0, ge=0, le=1000, description="Points that it takes off at most.")


class SpamdSection(Section):
    """SpamAssassin's spamd as a further opinion; off until it has an address."""

    address: OptionalPeerOrSocket = Field(
        "", description="spamd, as `host:port` (port 783) or the path of its socket. Empty: not asked."
    )
    user: Annotated[str, Field(pattern=r"^[A-Za-z0-9._@+-]{0,64}$")] = Field(
        "", description="Whose preferences count there. Empty: its own."
    )
    timeout: Seconds = Field(15, description="Seconds that it may take for one message.")
    connections: int = Field(5, ge=1, le=256, description="Messages that it is given at a time, per worker.")
    max_size: int = Field(1_048_576, ge=1, description="Octets of a message above which it is not asked.")
    scale: float = Field(0.8, gt=0, le=10, description="Our points for one of its own.")
    limit: float = Field(6.0, ge=0, le=1000, description="Points that it gives at most.")
    credit: float = Field(1.0, ge=0, le=1000, description="Points that it takes off at most.")
