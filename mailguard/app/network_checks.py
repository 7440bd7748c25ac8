"""The checks that ask others about a client, its names or its mail, built from the settings."""

from __future__ import annotations

from collections.abc import Callable

from mailguard.checks.base import Check
from mailguard.checks.client import ClientCheck
from mailguard.checks.dnsbl import DnsblCheck
from mailguard.checks.engines import EngineCheck, ScoreMapping, rspamd, spamd
from mailguard.checks.known_lists import KNOWN
from mailguard.checks.lists import ListKind, ListLookups, LookupResult, ReturnCode, Zone
from mailguard.checks.urlbl import UrlblCheck
from mailguard.config import DnsblZone, Settings
from mailguard.core.clock import Clock
from mailguard.net.rspamd import RspamdClient
from mailguard.net.spamd import SpamdClient
from mailguard.ops.log import MailLog
from mailguard.ops.metrics import Metrics


def network_checks(
    settings: Settings, *, metrics: Metrics | None, log: MailLog, clock: Clock
) -> dict[str, Callable[[], Check]]:
    """What makes each check, by its name. Other filters are among them only when they have an address."""
    zones = _zones(settings)

    def on_result(title: str, result: LookupResult) -> None:
        if metrics:
            metrics.list_lookups.labels(title, result.value).inc()

    lookups = ListLookups(
        timeout=settings.dnsbl.timeout,
        on_result=on_result,
        on_refusal=lambda title, answer: log.list_refuses_us(title, answer=answer),
    )
    made: dict[str, Callable[[], Check]] = {
        "client": ClientCheck,
        "dnsbl": lambda: DnsblCheck(zones, lookups),
        "urlbl": lambda: UrlblCheck(zones, lookups, queries=settings.dnsbl.queries),
    }
    if settings.rspamd.address:
        made["rspamd"] = lambda: _rspamd(settings)
    if settings.spamd.address:
        made["spamd"] = lambda: _spamd(settings, clock)
    return made


def _rspamd(settings: Settings) -> Check:
    section = settings.rspamd
    client = RspamdClient(section.address, timeout=section.timeout, password=section.password)
    return EngineCheck(
        "rspamd",
        rspamd(client),
        mapping=ScoreMapping(scale=section.scale, limit=section.limit, credit=section.credit),
        max_size=section.max_size,
        concurrency=section.connections,
    )


def _spamd(settings: Settings, clock: Clock) -> Check:
    section = settings.spamd
    client = SpamdClient(section.address, timeout=section.timeout, user=section.user)
    return EngineCheck(
        "spamd",
        spamd(client, clock=clock),
        mapping=ScoreMapping(scale=section.scale, limit=section.limit, credit=section.credit),
        max_size=section.max_size,
        concurrency=section.connections,
    )


def _zones(settings: Settings) -> list[Zone]:
    """The lists, each with all that its tables say: a zone is asked once, whatever its answers may mean."""
    lists = settings.dnsbl
    tables: dict[tuple[str, str], list[DnsblZone]] = {}
    for table in lists.zones:
        tables.setdefault((table.zone, table.kind), []).append(table)
    return [
        *(KNOWN[name](lists.spamhaus_key) for name in lists.use),
        *(
            Zone(
                zone,
                tuple(ReturnCode(one.symbol, one.score, one.codes, one.description, one.bits) for one in same),
                ipv6=all(one.ipv6 for one in same),
                kind=ListKind(kind),
                numeric=any(one.numeric for one in same),
                refusals=tuple(code for one in same for code in one.refusals),
            )
            for (zone, kind), same in tables.items()
        ),
    ]
