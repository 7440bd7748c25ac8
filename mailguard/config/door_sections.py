"""How mail comes in: the door, and how much a client may send through it."""

from __future__ import annotations

import socket
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from mailguard.config.section import Section
from mailguard.config.values import Count, HostName, Listener, Network, OptionalPath, Seconds


def default_hostname() -> str:
    """This machine's fully qualified name, as well as it knows it."""
    name = socket.gethostname()
    return (name if "." in name else socket.getfqdn()).rstrip(".").lower() or "localhost"


class ServerSection(Section):
    """The SMTP door."""

    hostname: HostName = Field(
        default_factory=default_hostname,
        description="Our name in the greeting, in EHLO and in Received fields. Should resolve to this machine.",
        json_schema_extra={"default": "this machine's fully qualified name"},
    )
    authserv_id: HostName = Field(
        "localhost",
        description="Our name in Authentication-Results (RFC 8601); incoming fields that bear it are removed.",
        json_schema_extra={"default": "the value of server.hostname"},
    )
    listen: tuple[Listener, ...] = Field(("127.0.0.1:2525",), description="Addresses to take mail in on.")
    proxy_listen: tuple[Listener, ...] = Field(
        (), description="Addresses on which every connection must begin with a PROXY protocol header (v1 or v2)."
    )
    proxy_trusted: tuple[Network, ...] = Field(
        (), description="Addresses and ranges of the load balancers that may connect to `proxy_listen`."
    )
    workers: int = Field(2, ge=1, le=256, description="Processes that share the port and the work.")
    size_limit: int = Field(
        52_428_800,
        ge=65_536,
        le=2_147_483_647,
        description="Largest message, in octets, as SIZE announces it (RFC 1870).",
    )
    bare_newline: Literal["normalise", "refuse"] = Field(
        "normalise", description="A bare CR or LF in a message: made CRLF, or the message refused (SMTP smuggling)."
    )
    tls_certificate: OptionalPath = Field(
        "", description="PEM file with the certificate chain for STARTTLS. Empty: a self-made one in the storage path."
    )
    tls_key: OptionalPath = Field("", description="PEM file with the private key of `tls_certificate`.")
    strict_pipelining: bool = Field(
        True, description="Turn away clients that talk before the greeting, or on behind EHLO, HELO or DATA."
    )
    greeting_delay: float = Field(
        0,
        ge=0,
        le=60,
        description="Seconds to wait before the greeting, to catch clients that talk first. 0: greet at once.",
    )
    dsn: bool = Field(
        True, description="Offer DSN (RFC 3461): what senders ask for by NOTIFY, RET, ENVID, ORCPT counts."
    )
    chunking: bool = Field(True, description="Offer CHUNKING (RFC 3030): messages by BDAT.")
    memory_limit: int = Field(
        1_048_576,
        ge=65_536,
        le=2_147_483_647,
        description="Octets of a message held in memory while it comes in; a larger one waits in a file of storage.path.",
    )
    memory_budget: int = Field(
        134_217_728,
        ge=1_048_576,
        description="Octets of messages over memory_limit that a worker carries out at a time; more of them wait.",
    )
    recipients_per_message: int = Field(
        100, ge=100, le=100_000, description="Recipients of one message; more are told 452 (RFC 5321 §4.5.3.1.8)."
    )
    messages_per_session: Count = Field(1000, description="Messages in one session; then 421.")
    commands_per_session: Count = Field(20_000, description="Commands in one session; then 421.")
    errors_per_session: Count = Field(
        20, description="Errors in one session since its last accepted message; then 421."
    )
    junk_commands: Count = Field(
        100, description="NOOP, RSET, VRFY, HELP, EHLO, HELO since the last accepted message; then 421."
    )
    session_time: Seconds = Field(3600, description="Seconds a session may last in all; then 421.")
    command_timeout: Seconds = Field(300, description="Seconds to wait for the next command (RFC 5321 §4.5.3.2.7).")
    data_time: Seconds = Field(1800, description="Seconds that a message may take, from 354 to its final dot.")
    max_connections: Count = Field(5000, description="Open connections per worker; more are told 421.")
    connections_per_client: Count = Field(
        50, description="Open connections per worker from one client: an IPv4 address or an IPv6 /64."
    )
    connections_per_minute: Count = Field(600, description="New connections per worker and minute from one client.")
    unlimited_networks: tuple[Network, ...] = Field(
        ("127.0.0.0/8", "::1/128"), description="Clients to which the two limits above do not apply."
    )
    drain_seconds: Seconds = Field(
        90, description="Seconds that open sessions have to end in after SIGTERM, before they are cut with 421."
    )

    # On single keys, not on the whole: so these are reported along with whatever else is wrong.
    @field_validator("tls_key")
    @classmethod
    def _certificate_with_key(cls, key: str, info: ValidationInfo) -> str:
        if bool(key) != bool(info.data.get("tls_certificate", key)):
            raise ValueError("must be given together with tls_certificate, or neither")
        return key

    @field_validator("proxy_trusted")
    @classmethod
    def _proxies_are_trusted(cls, trusted: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if info.data.get("proxy_listen") and not trusted:
            raise ValueError("must name the addresses that may send a PROXY header, since proxy_listen is set")
        return trusted

    @field_validator("proxy_listen")
    @classmethod
    def _something_listens(cls, proxy: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not proxy and info.data.get("listen") == ():
            raise ValueError("must not be empty when listen is empty too")
        return proxy


class LimitsSection(Section):
    """How much a client may send, counted by all workers of this machine together. 0: as much as it likes."""

    client_messages_per_minute: int = Field(
        0, ge=0, description="Messages from one client, an IPv4 address or IPv6 /64, in bursts of as many; then 450."
    )
    client_messages_per_hour: int = Field(0, ge=0, description="The same by the hour.")
    client_recipients_per_minute: int = Field(0, ge=0, description="Recipients asked for by one client; then 450.")
    client_recipients_per_hour: int = Field(0, ge=0, description="The same by the hour.")
    tenant_messages_per_minute: int = Field(
        0, ge=0, description="Messages for one tenant, whoever sends them; then 451."
    )
    greylist_delay: Seconds = Field(
        300,
        description="Seconds before a sender that is new to a tenant with greylisting may come again; until then 451.",
    )
    greylist_hours: float = Field(
        24, gt=0, le=240, description="Hours in which it must have come again; later it counts as new."
    )
    greylist_days: float = Field(
        35, gt=0, le=400, description="Days that a sender is remembered after its last mail, once it has come again."
    )
    greylist_auto_allow: Count = Field(
        5, description="Senders of one network (IPv4 /24, IPv6 /64) that came again: then all of it is let in."
    )
