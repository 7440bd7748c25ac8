"""From the settings to the values and collaborators that services are built with."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from mailguard.config import Settings
from mailguard.config.secrets import resolve_secret
from mailguard.config.values import split_host_port
from mailguard.core.clock import DAY, HOUR, SECOND
from mailguard.core.envelope import NextHop
from mailguard.core.errors import ConfigError, Problem
from mailguard.core.transport import AS_SET_FOR_ALL, HopSecurity, TlsMode
from mailguard.delivery.call_ahead import CallAheadSettings
from mailguard.delivery.dial import Dialler
from mailguard.delivery.forward import Forwarder
from mailguard.delivery.health import HopHealth
from mailguard.delivery.ldap_lookup import LdapLookups
from mailguard.delivery.route import OutboundRoutes
from mailguard.net.dns import Resolver
from mailguard.net.mta_sts import MtaSts
from mailguard.net.smtp_client import Handshake, Timeouts
from mailguard.net.smtp_pool import ConnectionPool
from mailguard.net.tls_contexts import TlsContexts, TlsSetupError
from mailguard.net.tlsa import TlsaResolver
from mailguard.ops.metrics import Metrics
from mailguard.smtp.door import SmtpSettings
from mailguard.smtp.rates import RateSettings
from mailguard.smtp.server import Listener
from mailguard.smtp.tls import self_made
from mailguard.store.greylist import GreylistSettings

QUESTIONS = 4
"""Call-aheads on one connection: servers count refused recipients as errors, slow down, and hang up (Exchange after 5)."""


def forwarder_of(settings: Settings, resolver: Resolver, metrics: Metrics, tls: TlsContexts) -> Forwarder:
    """What delivers to next hops and asks them: pools, TLS, health."""
    outbound, dns = settings.outbound, settings.dns
    dialler = Dialler(
        Handshake(helo=outbound.helo, timeouts=Timeouts(connect=outbound.connect_timeout), contexts=tls),
        resolver,
        tls=TlsMode(outbound.tls),
        certificate=outbound.client_certificate,
        tlsa=TlsaResolver(dns.nameservers, timeout=dns.timeout) if dns.trust_ad else None,
        secret=partial(resolve_secret, environ=os.environ),
        listen=[(listener.host, listener.port) for listener in listeners(settings)],
        metrics=metrics,
    )
    queue = settings.queue
    pool = ConnectionPool(per_hop=queue.per_next_hop, idle=outbound.idle_timeout)
    # A next hop that is down may be probed again before the queue tries the mail that found it down.
    first, most = min(5.0, queue.first_retry / 2), min(300.0, queue.max_retry / 2)
    questions = ConnectionPool(
        per_hop=settings.verification.per_next_hop,
        idle=outbound.idle_timeout,
        uses=QUESTIONS,
        wait=settings.verification.timeout,
    )
    return Forwarder(
        pool,
        dialler,
        questions=questions,
        health=HopHealth(first=first, most=most, widest=queue.per_next_hop),
        metrics=metrics,
    )


def outbound_tls(settings: Settings) -> TlsContexts:
    """TLS towards other servers, for all processes: the system's authorities take 20 ms to read. Raises ConfigError when a file for it cannot be used, or DANE has no name server to trust."""
    if settings.outbound.tls == "dane" and not settings.dns.trust_ad:
        raise ConfigError([Problem("outbound.tls", "dane needs name servers that validate, and dns.trust_ad = true")])
    contexts = TlsContexts(ca_file=settings.outbound.ca_file)
    try:
        contexts.get(verified=True, certificate=settings.outbound.client_certificate)
    except TlsSetupError as error:
        raise ConfigError([Problem("outbound", str(error))]) from error
    return contexts


def outbound_routes(settings: Settings, resolver: Resolver, tls: TlsContexts) -> OutboundRoutes:
    """Where mail of our own goes: the smarthost, or the MX of its domain."""
    outbound = settings.outbound
    smarthost, security = None, AS_SET_FOR_ALL
    if outbound.smarthost:
        host, port = split_host_port(outbound.smarthost)
        smarthost = NextHop(host, port)
        security = HopSecurity(username=outbound.smarthost_username, password=outbound.smarthost_password)
    sts = MtaSts(resolver, tls) if outbound.mta_sts else None
    return OutboundRoutes(resolver, hostname=settings.server.hostname, smarthost=smarthost, security=security, sts=sts)


def ldap_lookups(settings: Settings) -> LdapLookups:
    """What asks tenants' directory servers; also for the command line."""
    contexts = TlsContexts(ca_file=settings.outbound.ca_file)
    return LdapLookups(
        timeout=settings.verification.timeout,
        context=partial(contexts.get, verified=True),
        secret=partial(resolve_secret, environ=os.environ),
    )


def call_ahead_settings(settings: Settings) -> CallAheadSettings:
    """How call-aheads are asked, and how long their answers count."""
    verification = settings.verification
    return CallAheadSettings(
        positive=round(verification.positive_days * DAY),
        negative=round(verification.negative_ttl * SECOND),
        accepts_any=round(verification.accepts_any_ttl * SECOND),
        remembered=round(verification.remember_days * DAY),
        timeout=verification.timeout,
        in_flight=verification.per_tenant,
        memory=verification.cache_size,
    )


def listeners(settings: Settings) -> list[Listener]:
    """Where mail is taken in."""
    server = settings.server
    return [
        Listener(*split_host_port(text), proxy=proxy)
        for texts, proxy in ((server.listen, False), (server.proxy_listen, True))
        for text in texts
    ]


def smtp_settings(settings: Settings) -> SmtpSettings:
    """The door's limits and times."""
    server = settings.server
    return SmtpSettings(
        hostname=server.hostname,
        message_size=server.size_limit,
        bare_newline=server.bare_newline,
        strict_pipelining=server.strict_pipelining,
        greeting_delay=server.greeting_delay,
        dsn=server.dsn,
        chunking=server.chunking,
        memory_limit=server.memory_limit,
        memory_budget=server.memory_budget,
        spool_directory=settings.storage.path,
        recipients_per_message=server.recipients_per_message,
        messages_per_session=server.messages_per_session,
        commands_per_session=server.commands_per_session,
        errors_per_session=server.errors_per_session,
        junk_commands=server.junk_commands,
        session_time=server.session_time,
        command_timeout=server.command_timeout,
        data_time=server.data_time,
        max_connections=server.max_connections,
        connections_per_client=server.connections_per_client,
        connections_per_minute=server.connections_per_minute,
        unlimited_networks=server.unlimited_networks,
        proxy_networks=server.proxy_trusted,
    )


def rate_settings(settings: Settings) -> RateSettings:
    """How fast clients may send, and tenants receive."""
    limits = settings.limits
    return RateSettings(
        client_messages_per_minute=limits.client_messages_per_minute,
        client_messages_per_hour=limits.client_messages_per_hour,
        client_recipients_per_minute=limits.client_recipients_per_minute,
        client_recipients_per_hour=limits.client_recipients_per_hour,
        tenant_messages_per_minute=limits.tenant_messages_per_minute,
        unlimited_networks=settings.server.unlimited_networks,
    )


def greylist_settings(settings: Settings) -> GreylistSettings:
    """How long strangers wait, and how long they are remembered."""
    limits = settings.limits
    return GreylistSettings(
        delay=round(limits.greylist_delay * SECOND),
        window=round(limits.greylist_hours * HOUR),
        remembered=round(limits.greylist_days * DAY),
        auto_allow=limits.greylist_auto_allow,
    )


def certificate_files(settings: Settings) -> tuple[Path, Path]:
    """Certificate and key for STARTTLS; a self-made pair in the storage when none is configured."""
    server = settings.server
    if server.tls_certificate:
        return Path(server.tls_certificate), Path(server.tls_key)
    return self_made(settings.storage.path / "tls", hostname=server.hostname)
