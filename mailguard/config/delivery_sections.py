"""How mail goes on: other servers, the queue, and what they say of recipients."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from mailguard.config.section import Section
from mailguard.config.values import OptionalHostName, OptionalMailbox, OptionalPath, OptionalPeer, Seconds


class OutboundSection(Section):
    """How we speak to other servers, and as whom we send mail of our own."""

    helo: OptionalHostName = Field(
        "", description="Our name in EHLO.", json_schema_extra={"default": "the value of server.hostname"}
    )
    from_domain: OptionalHostName = Field(
        "",
        description="Domain of the From field in mail of our own (DSNs, alerts).",
        json_schema_extra={"default": "the value of server.hostname"},
    )
    smarthost: OptionalPeer = Field("", description="Server that takes mail of our own. Empty: straight to the MX.")
    postmaster: OptionalMailbox = Field(
        "", description="The provider's own address: gets what is sent to `postmaster` without a domain."
    )
    smarthost_username: str = Field("", description="User name for AUTH to the smarthost, never sent without TLS.")
    smarthost_password: str = Field(
        "",
        repr=False,
        description="Its password; better a secret reference (`secret:file:PATH`, `secret:env:NAME`).",
        json_schema_extra={"secret": "whole"},
    )
    tls: Literal["off", "opportunistic", "required", "verified", "dane"] = Field(
        "opportunistic",
        description="TLS towards next hops whose domain has no mode of its own: when offered (`opportunistic`), always but "
        "unverified (`required`), with a certificate of the host's name (`verified`), or by its TLSA records (`dane`; "
        "without such records opportunistic).",
    )
    ca_file: OptionalPath = Field(
        "", description="PEM file with the authorities that `verified` trusts. Empty: those of the system."
    )
    client_certificate: OptionalPath = Field(
        "", description="PEM file with our certificate chain and its key, shown to next hops that ask for one."
    )
    mta_sts: bool = Field(
        True, description="Heed the MTA-STS policies (RFC 8461) of domains that we reach by MX with mail of our own."
    )
    connect_timeout: Seconds = Field(30, description="Seconds to wait for a connection.")
    attempt_timeout: Seconds = Field(60, description="Seconds that the first attempt may take, while the sender waits.")
    idle_timeout: Seconds = Field(20, description="Seconds that an idle connection is kept for the next message.")

    @field_validator("smarthost_password")
    @classmethod
    def _password_with_username(cls, password: str, info: ValidationInfo) -> str:
        if bool(password) != bool(info.data.get("smarthost_username", password)):
            raise ValueError("must be given together with smarthost_username, or neither")
        return password


class QueueSection(Section):
    """Mail that waits for its next hop."""

    retention_days: float = Field(5, gt=0, le=30, description="Days after which mail is given up (RFC 5321 §4.5.4.1).")
    first_retry: Seconds = Field(
        60, description="Seconds from the first failure to the next attempt; doubles from there."
    )
    max_retry: Seconds = Field(3600, description="Seconds between attempts at most.")
    first_rescan: Seconds = Field(
        60, description="Seconds until held mail is scanned again; doubles from there, to ten times as much."
    )
    delay_notice_hours: float = Field(
        0,
        ge=0,
        le=720,
        description="Hours after which a sender is told, once, that mail still waits (4 is usual). 0: never.",
    )
    concurrency: int = Field(20, ge=1, le=1000, description="Deliveries at the same time, per worker.")
    per_next_hop: int = Field(
        20, ge=1, le=1000, description="Connections at a time to one next hop of a tenant, per worker."
    )


class VerificationSection(Section):
    """How long answers about recipients count, for clients whose recipients are verified by call-ahead."""

    positive_days: float = Field(7, gt=0, le=365, description="Days after which a known recipient is asked for again.")
    remember_days: float = Field(
        90, gt=0, le=3650, description="Days that a known recipient is accepted while its server is down."
    )
    negative_ttl: Seconds = Field(300, description="Seconds that a recipient counts as unknown.")
    accepts_any_ttl: Seconds = Field(
        3600, description="Seconds until a server that accepts any address is asked again whether it still does."
    )
    timeout: Seconds = Field(20, description="Seconds that a call-ahead may take, while the sender waits.")
    per_tenant: int = Field(20, ge=1, le=1000, description="Call-aheads at a time for one tenant, per worker.")
    per_next_hop: int = Field(5, ge=1, le=1000, description="Those to one next hop, on connections of their own.")
    cache_size: int = Field(20_000, ge=1, le=10_000_000, description="Answers kept in memory, per worker.")
