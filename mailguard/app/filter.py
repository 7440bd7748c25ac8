"""What judges mail, built from the settings: the same for the door and for `mailguard scan`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from threading import Lock

from mailguard.app.network_checks import network_checks
from mailguard.app.sandbox import build_sandbox, unpacking
from mailguard.app.scan import RECORDED, Scanner
from mailguard.app.tenant_checks import tenant_checks
from mailguard.checks.arc import ArcCheck
from mailguard.checks.attachments import AttachmentsCheck
from mailguard.checks.base import Check, TenantCheck
from mailguard.checks.clamav import ClamavCheck
from mailguard.checks.classifier import ClassifierCheck
from mailguard.checks.dkim import DkimCheck
from mailguard.checks.dmarc import DmarcCheck
from mailguard.checks.hashes import HashesCheck
from mailguard.checks.hashes_file import HashesFiles
from mailguard.checks.html import HtmlCheck
from mailguard.checks.identity import IdentityCheck
from mailguard.checks.points import fitted_points
from mailguard.checks.qr import QrCheck
from mailguard.checks.recorded_auth import RecordedAuth, Recordings
from mailguard.checks.rules import RulesCheck
from mailguard.checks.rules_cache import KeptRules
from mailguard.checks.rules_file import RulesFiles
from mailguard.checks.runner import Runner
from mailguard.checks.spf import SpfCheck
from mailguard.checks.unpack import UnpackCheck
from mailguard.checks.yara_file import YaraFiles
from mailguard.config import Settings
from mailguard.config.reloading import OnProblems, ReloadedFiles, ignore_problems
from mailguard.config.settings import CHECKS
from mailguard.core.clock import Clock, system_clock
from mailguard.core.errors import Problem
from mailguard.core.tenant import Directory, Tenant
from mailguard.net.clamd import ClamdClient
from mailguard.net.dns import Resolver, StaticResolver
from mailguard.net.dns_aio import AiodnsResolver
from mailguard.ops import log as logs
from mailguard.ops.derived import DerivedFiles
from mailguard.ops.log import MailLog
from mailguard.ops.metrics import Metrics
from mailguard.pipeline.judge import Judge
from mailguard.policy.files import PolicyFiles
from mailguard.sandbox.pool import Pool
from mailguard.store.db import Database


@dataclass(frozen=True, slots=True)
class Filter:
    """What judges mail: the same for the door and for `mailguard scan`."""

    judge: Judge
    policies: PolicyFiles
    rules: RulesFiles
    scanner: ClamdClient
    resolver: Resolver
    sandbox: Pool
    yara: YaraFiles
    hashes: HashesFiles
    on_reload: Callable[[], None]
    """Called after each good reload; a bad one is told by `on_problems` of the files."""
    _reloading: Lock = field(default_factory=Lock)
    """Held while files are read, which is done in threads: of two readers the later one has the last word."""

    async def close(self) -> None:
        """End the sandbox's processes and the connections to the scanner."""
        await self.sandbox.close()
        await self.scanner.close()

    def reload(self) -> None:
        """Read profiles, rules and lists again; of what is wrong the last good version stays. Large lists take seconds."""
        with self._reloading:
            for files in self._files:
                if not files.reload():
                    self.on_reload()
            self._renew()

    def reload_if_changed(self) -> None:
        """The same, of what has changed; and what makes rules cheaper is taken when it is there. To be called every few seconds."""
        with self._reloading:
            for files in self._files:
                if files.changed and not files.reload():
                    self.on_reload()
            self.rules.hasten()
            self._renew()

    @property
    def _files(self) -> tuple[ReloadedFiles, ...]:
        return self.policies, self.rules, self.yara, self.hashes

    def _renew(self) -> None:
        """Processes of the sandbox have the rules that were in force when they were made."""
        self.sandbox.renew(options={}, material=self.yara.current.compiled)


class FilterFiles:
    """Profiles, rules and lists, read before the processes are made that judge by them. Raises ConfigError with what is wrong."""

    def __init__(self, settings: Settings, *, on_problems: OnProblems = ignore_problems) -> None:
        self.policies = PolicyFiles(settings.policies.path, on_problems=on_problems)
        self.policies.load()
        kept = KeptRules(DerivedFiles(settings.storage.path / "cache")) if settings.storage.path.exists() else None
        self.rules = RulesFiles(settings.policies.path / "rules", kept=kept, on_problems=on_problems)
        self.rules.load()
        self.yara = YaraFiles(settings.policies.path / "yara", on_problems=on_problems)
        self.yara.load()
        self.hashes = HashesFiles(settings.policies.path / "hashes", on_problems=on_problems)
        self.hashes.load()

    def reload_if_changed(self) -> None:
        """Read again what has changed; of what is wrong the last good version stays."""
        for files in (self.policies, self.rules, self.yara, self.hashes):
            files.reload_if_changed()


def build_filter(
    settings: Settings,
    *,
    directory: Callable[[], Directory],
    files: FilterFiles | None = None,
    resolver: Resolver | None = None,
    checks: Sequence[str] | None = None,
    metrics: Metrics | None = None,
    log: MailLog | None = None,
    clock: Clock = system_clock,
    recordings: Recordings | None = None,
    offline: bool = False,
    tenant_checks: Sequence[TenantCheck] = (),
    fitted: bool = True,
) -> Filter:
    """Profiles, rules and checks from the settings. `checks` names those that run, by default the enabled ones.

    `files` are read already, and only looked at for changes.

    `tenant_checks` look at a mail as each of its tenants sees it: those that need the database, which is not opened here.
    Without `fitted` symbols have the points that the code suggests, which fitting begins with.
    `recordings` stand in for SPF, DKIM and DMARC that cannot be looked up; when `offline`, none of them is.

    Raises ConfigError with everything that is wrong with the files.
    """
    log = log or MailLog()

    def on_problems(problems: Sequence[Problem]) -> None:
        log.policies_invalid(problems)
        if metrics:
            metrics.policy_reloads.labels("error").inc()

    def on_reload() -> None:
        log.policies_reloaded()
        if metrics:
            metrics.policy_reloads.labels("ok").inc()

    read = files or FilterFiles(settings)
    policies, rules = read.policies.told_to(on_problems), read.rules.told_to(on_problems)
    yara, hashes = read.yara.told_to(on_problems), read.hashes.told_to(on_problems)
    if files:
        for one in (policies, rules, yara, hashes):
            one.reload_if_changed()
    resolver = resolver or AiodnsResolver(
        settings.dns.nameservers,
        timeout=settings.dns.timeout,
        cache_size=settings.dns.cache_size,
        on_query=metrics.looked_up if metrics else None,
    )
    scanner = ClamdClient(
        settings.clamav.address, timeout=settings.clamav.timeout, connections=settings.clamav.connections
    )
    sandbox = build_sandbox(settings, metrics)
    sandbox.renew(options={}, material=yara.current.compiled)
    enabled = settings.checks.enabled if checks is None else checks
    every: dict[str, Callable[[], Check]] = {
        "clamav": lambda: ClamavCheck(scanner),
        "spf": SpfCheck,
        "dkim": lambda: DkimCheck(clock=clock),
        "dmarc": DmarcCheck,
        "arc": lambda: ArcCheck(trusted=settings.arc.trusted_sealers, clock=clock),
        "identity": IdentityCheck,
        "classifier": ClassifierCheck,
        "rules": lambda: RulesCheck(lambda: rules.current),
        "html": HtmlCheck,
        "attachments": AttachmentsCheck,
        "qr": lambda: QrCheck(sandbox),
        "unpack": lambda: UnpackCheck(
            sandbox,
            scanner if "clamav" in enabled else None,
            unpacking(settings),
            rules=lambda: yara.current,
        ),
        "hashes": lambda: HashesCheck(lambda: hashes.current),
        **network_checks(settings, metrics=metrics, log=log, clock=clock),
    }
    if recordings is not None:
        for name in RECORDED:
            every[name] = partial(_recorded, name, recordings, None if offline else every[name])
    runner = Runner(
        [every[name]() for name in CHECKS if name in enabled and name in every],
        tenant_checks=tenant_checks,
        points=fitted_points() if fitted else {},
        budget=settings.checks.budget,
        on_timing=metrics.checked if metrics else None,
        log=log,
    )
    judge = Judge(
        runner=runner,
        policies=policies,
        directory=directory,
        resolver=resolver,
        hostname=settings.server.hostname,
        authserv_id=settings.server.authserv_id,
        clock=clock,
    )
    return Filter(judge, policies, rules, scanner, resolver, sandbox, yara, hashes, on_reload)


def _recorded(name: str, recordings: Recordings, live: Callable[[], Check] | None) -> Check:
    return RecordedAuth(name, recordings, live=live() if live else None)


@asynccontextmanager
async def build_scanner(
    settings: Settings,
    *,
    checks: Sequence[str],
    tenant: Tenant,
    budget: float,
    recorded: bool = False,
    offline: bool = False,
    fitted: bool = True,
    db: Database | None = None,
) -> AsyncIterator[Scanner]:
    """What `mailguard scan` judges with. `budget` in seconds is what the checks of one message may take.

    With `db`, what a tenant that has a name was taught and whom it knows counts as at the door; it is only read. Without,
    only the names that came with the tenant do.

    With `recorded`, results that come with a message stand in for SPF, DKIM and DMARC that cannot be looked up. When
    `offline`, the DNS is not asked: what a check asks it all the same fails temporarily.

    Of the log only errors are shown: that a check could not be done stands in the report.
    """
    logs.configure(level="error", form="console")
    limited = settings.model_copy(
        update={
            "checks": settings.checks.model_copy(update={"budget": budget}),
            # Nobody waits at the door: a file may wait for the sandbox as long as its message may take.
            "sandbox": settings.sandbox.model_copy(update={"wait": max(budget, settings.sandbox.wait)}),
        }
    )
    directory = Directory.of([tenant], [])
    recordings = Recordings() if recorded else None
    made = build_filter(
        limited,
        directory=lambda: directory,
        resolver=StaticResolver(offline=True) if offline else None,
        checks=checks,
        fitted=fitted,
        recordings=recordings,
        offline=offline,
        tenant_checks=tenant_checks(settings, db, clock=system_clock) if tenant.name else [],
    )
    try:
        yield Scanner(made.judge, tenant=tenant, recordings=recordings)
    finally:
        await made.close()
