"""The Settings: every key with its type, default and description. docs/configuration.md is generated from here.

Frozen; built by `load`, read by `app`. Nothing else in the code reads the environment.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from mailguard.config.delivery_sections import OutboundSection, QueueSection, VerificationSection
from mailguard.config.door_sections import LimitsSection, ServerSection, default_hostname
from mailguard.config.history_section import HistorySection
from mailguard.config.learning_section import LearningSection
from mailguard.config.network_sections import ArcSection, DnsblSection, ReputationSection, RspamdSection, SpamdSection
from mailguard.config.provider_sections import BillingSection, ProbeSection, SlaSection
from mailguard.config.sandbox_section import SandboxSection, UnpackSection
from mailguard.config.section import Section
from mailguard.config.values import (
    ConfigPath,
    Nameserver,
    OptionalListener,
    OptionalPath,
    PeerOrSocket,
    Seconds,
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

_DATABASE_URL = re.compile(r"^(sqlite:///.+|postgresql(\+psycopg)?://.+)$")


def _database_url(url: str, info: ValidationInfo) -> str:
    if not _DATABASE_URL.match(url):
        raise ValueError("must be sqlite:///PATH or postgresql://USER@HOST/DATABASE")
    base = (info.context or {}).get("base")
    if url.startswith("sqlite:///") and base is not None:
        return f"sqlite:///{Path(base) / url.removeprefix('sqlite:///')}"
    return url


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
