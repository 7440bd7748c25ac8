"""Facts that /metrics shows as they are now, read when it is asked: queue, quarantine, scanner, disk, certificate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """Mails of one tenant that wait in the queue for one purpose; `oldest_age` is in seconds."""

    tenant: str
    purpose: str
    mails: int
    oldest_age: float


@dataclass(frozen=True, slots=True)
class KeptMail:
    """Mails of one tenant that are kept in one state (quarantined, held, undeliverable); `size` is in octets."""

    tenant: str
    state: str
    mails: int
    size: int


@dataclass(frozen=True, slots=True)
class ScannerState:
    """clamd as it answers now. `signatures_at` is in seconds since 1970, 0 when it has none with a date."""

    up: bool
    signature_version: int = 0
    signatures_at: float = 0.0


@dataclass(frozen=True, slots=True)
class ProbeState:
    """The last recorded result of `mailguard probe` for a tenant: how many seconds ago it began, and whether all was well."""

    tenant: str
    age: float
    well: bool


@dataclass(frozen=True, slots=True)
class RelayState:
    """All of it at one moment; `now` is in seconds since 1970. What could not be read is None, and shows no series."""

    now: float
    queue: tuple[QueueDepth, ...] | None = None
    kept: tuple[KeptMail, ...] | None = None
    probes: tuple[ProbeState, ...] | None = None
    scanner: ScannerState | None = None
    storage_free: int | None = None
    certificate_expires: float | None = None


StateReader = Callable[[], Awaitable[RelayState]]
"""Reads the state now. Given by the composition root."""


class StateCollector(Collector):
    """Shows one RelayState in Prometheus's terms; None: there was no reading it in time."""

    def __init__(self, state: RelayState | None) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """The families, in the order of docs/monitoring.md."""
        yield _family(
            "mailguard_database_up",
            "Whether the database answered at this scrape; without it there are no series of queue and kept mail.",
            (),
            [((), float(self._state is not None and self._state.queue is not None))],
        )
        if self._state is not None:
            yield from _queue(self._state.queue)
            yield from _kept(self._state.kept)
            yield from _probes(self._state.probes)
            yield from _scanner(self._state.scanner, self._state.now)
            yield from _machine(self._state)


def _queue(queue: tuple[QueueDepth, ...] | None) -> Iterator[Metric]:
    if queue is None:
        return
    yield _family(
        "mailguard_queue_mails",
        "Mails that wait in the queue.",
        ("tenant", "purpose"),
        [((depth.tenant, depth.purpose), depth.mails) for depth in queue],
    )
    yield _family(
        "mailguard_queue_oldest_age_seconds",
        "How long the oldest of them has been waiting.",
        ("tenant", "purpose"),
        [((depth.tenant, depth.purpose), depth.oldest_age) for depth in queue],
    )


def _kept(kept: tuple[KeptMail, ...] | None) -> Iterator[Metric]:
    if kept is None:
        return
    yield _family(
        "mailguard_kept_mails",
        "Mails kept in quarantine (quarantined), for a new scan (held), or since their sender may not be told (undeliverable).",
        ("tenant", "state"),
        [((group.tenant, group.state), group.mails) for group in kept],
    )
    yield _family(
        "mailguard_kept_bytes",
        "Bytes of those mails; a body that several recipients share counts for each.",
        ("tenant", "state"),
        [((group.tenant, group.state), group.size) for group in kept],
    )


def _probes(probes: tuple[ProbeState, ...] | None) -> Iterator[Metric]:
    if not probes:
        return
    yield _family(
        "mailguard_probe_well",
        "Whether all was as it must be in the last recorded probe of each tenant that was ever probed.",
        ("tenant",),
        [((probe.tenant,), float(probe.well)) for probe in probes],
    )
    yield _family(
        "mailguard_probe_age_seconds",
        "How long ago that probe began.",
        ("tenant",),
        [((probe.tenant,), probe.age) for probe in probes],
    )


def _scanner(scanner: ScannerState | None, now: float) -> Iterator[Metric]:
    if scanner is None:
        return
    yield _family("mailguard_clamd_up", "Whether clamd answers.", (), [((), float(scanner.up))])
    if scanner.up:
        yield _family(
            "mailguard_clamd_signature_version",
            "Version number of clamd's daily signatures; 0 when it has none.",
            (),
            [((), scanner.signature_version)],
        )
    if scanner.up and scanner.signatures_at:
        yield _family(
            "mailguard_clamd_signature_age_seconds",
            "Time since those signatures were made.",
            (),
            [((), max(0.0, now - scanner.signatures_at))],
        )


def _machine(state: RelayState) -> Iterator[Metric]:
    if state.storage_free is not None:
        yield _family(
            "mailguard_storage_free_bytes",
            "Free space where queue and quarantine keep their bodies.",
            (),
            [((), state.storage_free)],
        )
    if state.certificate_expires is not None:
        yield _family(
            "mailguard_tls_certificate_expiry_timestamp_seconds",
            "When the certificate for STARTTLS expires, in seconds since 1970.",
            (),
            [((), state.certificate_expires)],
        )


def _family(
    name: str, documentation: str, labels: tuple[str, ...], samples: Iterable[tuple[tuple[str, ...], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, documentation, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family
