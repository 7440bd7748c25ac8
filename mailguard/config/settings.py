"""The Settings: every key with its type, default and description. docs/configuration.md is generated from here.

Frozen; built by `load`, read by `app`. Nothing else in the code reads the environment.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from mailguard.config.history_section import HistorySection
from mailguard.config.learning_section import LearningSection
from mailguard.config.network_sections import ArcSection, DnsblSection, ReputationSection, RspamdSection, SpamdSection
from mailguard.config.sandbox_section import SandboxSection, UnpackSection
from mailguard.config.section import Section
from mailguard.config.values import (
    ConfigPath,
    Count,
    HostName,
    Listener,
    Nameserver,
    Network,
    OptionalHostName,
    OptionalListener,
    OptionalMailbox,
    OptionalPath,
    OptionalPeer,
    PeerOrSocket,
    Seconds,
    TimeZone,
    is_host_name,
)

CheckName = Literal[
    "clamav",
    "client",
    "spf",
    "dkim",
    "dmarc",
    "arc",
    "identity",
    "classifier",
    "rules",
    "html",
    "attachments",
    "unpack",
    "qr",
    "hashes",
    "dnsbl",
    "urlbl",
    "rspamd",
    "spamd",
]
CHECKS: tuple[CheckName, ...] = get_args(CheckName)
"""All checks, in the order in which their results are shown."""

_SERIES = re.compile(r"(?=.{0,32}$)[A-Za-z0-9._-]*(\{year\}[A-Za-z0-9._-]*)?")
_DATABASE_URL = re.compile(r"^(sqlite:///.+|postgresql(\+psycopg)?://.+)$")


def default_hostname() -> str:
    """This machine's fully qualified name, as well as it knows it."""
    name = socket.gethostname()
    return (name if "." in name else socket.getfqdn()).rstrip(".").lower() or "localhost"


def _database_url(url: str, info: ValidationInfo) -> str:
    if not _DATABASE_URL.match(url):
        raise ValueError("must be sqlite:///PATH or postgresql://USER@HOST/DATABASE")
    base = (info.context or {}).get("base")
    if url.startswith("sqlite:///") and base is not None:
        return f"sqlite:///{Path(base) / url.removeprefix('sqlite:///')}"
    return url


def _series(text: str) -> str:
    if not _SERIES.fullmatch(text):
        raise ValueError("must be at most 32 of A-Z, a-z, 0-9, '.', '-' and '_', with {year} once if at all")
    return text


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


class DatabaseSection(Section):
    """Where state is kept."""

    url: Annotated[str, AfterValidator(_database_url)] = Field(
        "sqlite:///var/mailguard.db",
        repr=False,
        description="`sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST/DATABASE`; may be a secret reference.",
        json_schema_extra={"default": "sqlite:///STORAGE/mailguard.db, in storage.path", "secret": True},
    )
    lock_timeout: Seconds = Field(
        10, description="Seconds that the relay waits for another process's lock before it tells the sender 451."
    )


class StorageSection(Section):
    """Message bodies of queue and quarantine, and what else lives in files."""

    path: ConfigPath = Field(Path("var"), description="Data directory, made when it is not there.")
    min_free_bytes: int = Field(
        268_435_456, ge=0, description="With less free space, in octets, new mail is deferred with 452 4.3.1."
    )


class ClamavSection(Section):
    """The virus scanner."""

    address: PeerOrSocket = Field("127.0.0.1:3310", description="clamd, as `host:port` or the path of its socket.")
    timeout: Seconds = Field(30, description="Seconds one scan may take.")
    connections: int = Field(10, ge=1, le=256, description="Connections to clamd, per worker.")
    config_file: OptionalPath = Field(
        "",
        description="clamd's configuration file, checked at start for the settings that we rely on. Empty: not checked.",
    )


class DnsSection(Section):
    """Name resolution."""

    nameservers: tuple[Nameserver, ...] = Field(
        (), description='Servers to ask, such as `["127.0.0.1:5300"]`. Empty: those of the system.'
    )
    timeout: Seconds = Field(5, description="Seconds to wait for an answer, retries included.")
    cache_size: int = Field(20_000, ge=0, le=10_000_000, description="Answers kept in memory, per worker.")
    trust_ad: bool = Field(
        False,
        description="Believe these servers that an answer is secure (the AD bit): they validate DNSSEC, and the way to them "
        "is safe, as on loopback. DANE does nothing without.",
    )


class PoliciesSection(Section):
    """Filtering profiles and rules."""

    path: ConfigPath = Field(Path("policies"), description="Directory of profiles (`*.yaml`) and `rules/*.yaml`.")
    poll_seconds: Seconds = Field(2, description="How often the files are looked at for changes, in seconds.")


class HttpSection(Section):
    """Metrics and health, never to be exposed to the public."""

    listen: OptionalListener = Field(
        "127.0.0.1:9187", description="Address of /metrics, /healthz, /readyz. Empty: off."
    )


class ChecksSection(Section):
    """What is looked at in each message."""

    budget: Seconds = Field(40, description="Seconds that all checks of a message have together.")
    enabled: tuple[CheckName, ...] = Field(CHECKS, description="The checks that run.")


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


class BillingSection(Section):
    """What the monthly usage is counted by, and who sends the bill."""

    time_zone: TimeZone = Field("UTC", description="IANA name of the time zone whose midnight begins a month.")
    seller_name: str = Field("", max_length=200, description="The provider as invoices name it. Needed for `bill run`.")
    seller_address: tuple[str, ...] = Field(
        (), max_length=6, description='Its address by lines: `["1 Mail Street", "10115 Berlin"]`.'
    )
    seller_country: Annotated[str, Field(pattern="^([A-Z]{2})?$")] = Field(
        "", description="Its country's code (ISO 3166-1), such as `DE`. Needed for `bill run`."
    )
    seller_tax_id: str = Field(
        "",
        max_length=40,
        description="Its VAT number with the country's code, or tax number. Needed where tax is charged.",
    )
    seller_email: OptionalMailbox = Field("", description="Whom clients ask about an invoice.")
    bank: tuple[str, ...] = Field((), max_length=6, description="How to pay, by lines, such as an IBAN and a BIC.")
    invoice_series: Annotated[str, AfterValidator(_series)] = Field(
        "INV-{year}-", description="What invoice numbers begin with; `{year}` is that of the invoice's date."
    )
    credit_note_series: Annotated[str, AfterValidator(_series)] = Field(
        "CN-{year}-", description="The same for credit notes, which are numbered by themselves."
    )
    number_digits: int = Field(5, ge=1, le=12, description="Digits of the number that follows, filled up with zeros.")

    @field_validator("credit_note_series")
    @classmethod
    def _two_series(cls, series: str, info: ValidationInfo) -> str:
        if series == info.data.get("invoice_series"):
            raise ValueError("must be another one than invoice_series")
        return series


class SlaSection(Section):
    """How the service level is measured; what is promised stands in the plans."""

    probe_minutes: int = Field(
        5, ge=1, le=60, description="Minutes within each of which a probe of every client is expected."
    )
    maintenance_notice_hours: int = Field(
        24, ge=0, le=720, description="Hours before its begin by which maintenance must have been announced to count."
    )
    maintenance_hours: int = Field(
        8, ge=0, le=720, description="Hours of announced maintenance in a month, at most, that do not count as down."
    )


class ProbeSection(Section):
    """Mail that `mailguard probe` sends through the door to see whether all works."""

    key: str = Field(
        "",
        repr=False,
        description="What its mail is marked with, so that it is not billed: 32 characters or more, better a secret "
        "reference; the same at the relay and wherever it is probed from. Empty: no mail counts as the probe's.",
        json_schema_extra={"secret": "whole"},
    )
    server: OptionalPeer = Field(
        "", description="The door to probe.", json_schema_extra={"default": "the first of server.listen"}
    )
    sender: OptionalMailbox = Field(
        "", description="Its sender.", json_schema_extra={"default": "probe@ and the value of outbound.from_domain"}
    )
    local_part: Annotated[str, Field(pattern=r"^[A-Za-z0-9._+-]{1,64}$")] = Field(
        "canary", description="Without `--to` it writes to this mailbox in the client's first domain."
    )
    place: str = Field(
        "",
        max_length=64,
        description="What the place that is probed from is called.",
        json_schema_extra={"default": "this machine's name"},
    )
    imap_password: str = Field(
        "",
        repr=False,
        description="Password of the mailbox that `--imap` looks into; better a secret reference.",
        json_schema_extra={"secret": "whole"},
    )

    @field_validator("key")
    @classmethod
    def _long_enough(cls, key: str) -> str:
        if 0 < len(key) < 32:
            raise ValueError("must have 32 characters or more, such as `openssl rand -hex 32` gives")
        return key


class LogSection(Section):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least severe that is shown.")
    format: Literal["json", "console", "auto"] = Field(
        "auto", description="`json` lines, `console` for people, or by whether it is a terminal."
    )


class Settings(Section):
    """All of mailguard.toml. A section that is not given is built of its defaults."""

    server: ServerSection
    limits: LimitsSection
    database: DatabaseSection
    storage: StorageSection
    clamav: ClamavSection
    dns: DnsSection
    policies: PoliciesSection
    http: HttpSection
    checks: ChecksSection
    sandbox: SandboxSection
    unpack: UnpackSection
    dnsbl: DnsblSection
    arc: ArcSection
    reputation: ReputationSection
    rspamd: RspamdSection
    spamd: SpamdSection
    learning: LearningSection
    history: HistorySection
    outbound: OutboundSection
    queue: QueueSection
    verification: VerificationSection
    billing: BillingSection
    sla: SlaSection
    probe: ProbeSection
    log: LogSection

    @model_validator(mode="before")
    @classmethod
    def _derive_defaults(cls, raw: Any) -> Any:
        """Defaults that follow another section: the database lies in the storage, the outbound names follow the host's."""
        if not isinstance(raw, dict):
            return raw
        derived = {
            name: dict(raw[name]) if isinstance(raw.get(name), dict) else raw.get(name, {}) for name in cls.model_fields
        }
        server, database, outbound = derived["server"], derived["database"], derived["outbound"]
        if isinstance(database, dict) and not database.get("url"):
            storage = derived["storage"]
            path = storage.get("path", "var") if isinstance(storage, dict) else "var"
            database["url"] = f"sqlite:///{path}/mailguard.db"
        if isinstance(server, dict):
            hostname = server.setdefault("hostname", default_hostname())
            if not is_host_name(hostname):
                hostname = "localhost"  # what is wrong with it is told once, not for every name that follows it
            server.setdefault("authserv_id", hostname)
            if isinstance(outbound, dict):
                outbound["helo"] = outbound.get("helo") or hostname
                outbound["from_domain"] = outbound.get("from_domain") or hostname
        return {**raw, **derived}
