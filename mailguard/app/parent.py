"""`mailguard serve`: prepares database and storage, reads all that the processes share, then keeps them running."""

from __future__ import annotations

import gc
import os
from functools import partial
from pathlib import Path

from mailguard.app.filter import FilterFiles, build_filter
from mailguard.app.monitor import run_monitor
from mailguard.app.supervisor import Role, Supervisor
from mailguard.app.wiring import certificate_files, outbound_tls
from mailguard.app.worker import run_worker
from mailguard.config import Settings
from mailguard.core.errors import ConfigError, Problem
from mailguard.core.tenant import Directory
from mailguard.ops import log as logs
from mailguard.ops import metrics_files
from mailguard.ops.clamd_conf import clamd_problems
from mailguard.smtp.tls import TlsCertificate
from mailguard.store.migrations import upgrade


def serve(settings: Settings) -> int:
    """Run the relay until SIGTERM or SIGINT; the exit code. Raises ConfigError and UnavailableError before it starts."""
    logs.configure(level=settings.log.level, form=settings.log.format)
    settings.storage.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    # What every worker would trip over is reported once, here, before any of them starts.
    problems = _scanner_file_problems(settings)
    if problems:
        raise ConfigError(problems)
    files = FilterFiles(settings, on_problems=logs.MailLog().policies_invalid)
    build_filter(settings, directory=Directory, files=files)
    TlsCertificate(*certificate_files(settings))
    tls = outbound_tls(settings)
    upgrade(settings.database.url)
    shared = settings.storage.path / "metrics"
    metrics_files.clear_shared(shared)
    metrics_files.share(shared)
    log = logs.get_logger("serve")
    server = settings.server
    supervisor = Supervisor(
        monitor=Role("mailguard-mon", partial(run_monitor, settings)),
        workers=[
            Role(f"mailguard-w{number}", partial(run_worker, settings, files, tls))
            for number in range(1, server.workers + 1)
        ],
        drain_seconds=server.drain_seconds,
        prepare=files.reload_if_changed,
        on_ready=lambda: log.info(
            "ready", listen=[*server.listen, *server.proxy_listen], http=settings.http.listen, pid=os.getpid()
        ),
        on_death=partial(metrics_files.forget_process, shared),
    )
    # Nothing to collect: reading leaves a thousand small objects behind, and looking for them took 0.1 s.
    gc.freeze()
    gc.enable()
    code = supervisor.run()
    if not code:
        log.info("stopped")
    return code


def _scanner_file_problems(settings: Settings) -> list[Problem]:
    if not settings.clamav.config_file or "clamav" not in settings.checks.enabled:
        return []
    return clamd_problems(Path(settings.clamav.config_file), size_limit=settings.server.size_limit)
