"""Every metric of the relay, in one file; docs/monitoring.md describes each and a test keeps the two together.

Counted things live here. What is a fact of the database or of another server (queue depth, signature age) is read at scrape
time by web/collector.py. Label values are bounded: tenant names and closed sets, never an address, host or text from mail.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar, cast

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from mailguard import __version__
from mailguard.core.decision import Action
from mailguard.core.events import State
from mailguard.core.feedback import FeedbackResult
from mailguard.core.verdict import AuthMethod, AuthOutcome, CheckStatus
from mailguard.ops.metric_labels import (
    AttemptPurpose,
    AttemptResult,
    CallAheadResult,
    ErrorKind,
    VerificationResult,
)
from mailguard.ops.metrics_files import reserve_room

__all__ = ["AttemptPurpose", "AttemptResult", "CallAheadResult", "ErrorKind", "Metrics", "VerificationResult"]

M = TypeVar("M", bound=MetricWrapperBase)

FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bucket bounds in seconds for what should take milliseconds (commits, checks, DNS)."""
SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Bucket bounds in seconds for what another server takes part in."""
WAITS = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 24 * 3600.0, 5 * 24 * 3600.0)
SIZES = (1e3, 4e3, 16e3, 64e3, 256e3, 1e6, 4e6, 16e6, 64e6)


class Metrics:
    """One attribute a metric. Made once a process, with the registry of the process or, in tests, a fresh one."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        reserve_room()
        self.registry = registry
        self._ended: dict[tuple[str, CheckStatus], tuple[Histogram, Counter]] = {}
        self._kept: dict[tuple[MetricWrapperBase, tuple[str, ...]], MetricWrapperBase] = {}
        self._door()
        self._mail()
        self._checks()
        self._delivery()
        self._inside()

    def _door(self) -> None:
        registry = self.registry
        self.smtp_connections = Counter(
            "mailguard_smtp_connections",
            "SMTP connections taken in (accepted) or turned away at once by a limit (refused).",
            ["result"],
            registry=registry,
        )
        _start_at_zero(self.smtp_connections, ["accepted", "refused"])
        self.smtp_sessions_open = Gauge(
            "mailguard_smtp_sessions_open",
            "SMTP sessions open now, over all workers.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.smtp_large_waiting = Gauge(
            "mailguard_smtp_large_waiting",
            "Large messages that have come in and wait for room in memory ([server] memory_budget), over all workers.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.smtp_tls_handshakes = Counter(
            "mailguard_smtp_tls_handshakes",
            "STARTTLS handshakes with senders, by protocol version; failed is a handshake that came to nothing.",
            ["version"],
            registry=registry,
        )
        _start_at_zero(self.smtp_tls_handshakes, ["TLSv1.2", "TLSv1.3", "failed"])
        self.smtp_refusals = Counter(
            "mailguard_smtp_refusals",
            "Commands refused before their message's data was complete; tenant is empty when it is nobody's.",
            ["tenant", "reason"],
            registry=registry,
        )
        self.smtp_data_replies = Counter(
            "mailguard_smtp_data_replies",
            "Replies to complete messages, by their first digit.",
            ["class"],
            registry=registry,
        )
        _start_at_zero(self.smtp_data_replies, ["2xx", "4xx", "5xx"])
        self.verifications = Counter(
            "mailguard_verifications",
            "Recipients verified at RCPT, by the tenant's way of verifying and what came of it.",
            ["mode", "result"],
            registry=registry,
        )
        self.call_ahead_duration = Histogram(
            "mailguard_call_ahead_duration_seconds",
            "Time of asking a next hop about one recipient; what was answered from memory asked nobody.",
            ["result"],
            buckets=SLOW,
            registry=registry,
        )
        _start_at_zero(self.call_ahead_duration, CallAheadResult)

    def _mail(self) -> None:
        registry = self.registry
        self.messages_received = Counter(
            "mailguard_messages_received", "Messages whose data was complete, whatever came of them.", registry=registry
        )
        self.message_size = Histogram(
            "mailguard_message_size_bytes", "Size of received messages.", buckets=SIZES, registry=registry
        )
        self.message_duration = Histogram(
            "mailguard_message_duration_seconds",
            "From the end of the data to the reply, the forwarding in session included.",
            buckets=SLOW,
            registry=registry,
        )
        self.stage_duration = Histogram(
            "mailguard_stage_duration_seconds",
            "Time in each stage of a message's life (docs/flow.md).",
            ["stage"],
            buckets=FAST,
            registry=registry,
        )
        self.dispositions = Counter(
            "mailguard_dispositions",
            "Mails (a message for one recipient) that came into a state of the ledger; forwarding is not counted.",
            ["tenant", "disposition"],
            registry=registry,
        )
        self.disposition_bytes = Counter(
            "mailguard_disposition_bytes", "Bytes of those mails.", ["tenant", "disposition"], registry=registry
        )
        self.decisions = Counter(
            "mailguard_decisions",
            "What the policies decided for each recipient, and why.",
            ["action", "reason"],
            registry=registry,
        )
        _start_at_zero(self.stage_duration, ["parse", "check", "decide", "intend", "carry_out", "record"])

    def _checks(self) -> None:
        registry = self.registry
        self.check_duration = Histogram(
            "mailguard_check_duration_seconds", "Time in each check.", ["check"], buckets=FAST, registry=registry
        )
        self.check_results = Counter(
            "mailguard_check_results",
            "How each check ended; temperror is a check that failed, crashed or ran out of time.",
            ["check", "status"],
            registry=registry,
        )
        self.auth_results = Counter(
            "mailguard_auth_results",
            "Results of sender authentication, one for each signature or identity.",
            ["method", "result"],
            registry=registry,
        )
        self.malware_found = Counter(
            "mailguard_malware_found", "Messages in which the virus scanner found something.", registry=registry
        )

        self.list_lookups = Counter(
            "mailguard_list_lookups",
            "Look-ups in each DNS list that is configured: listed, clear, failed, refused (its terms of use, or our resolver), "
            "or skipped since it failed not long ago.",
            ["list", "result"],
            registry=registry,
        )
        self.sandbox_jobs = Counter(
            "mailguard_sandbox_jobs",
            "Files given to the sandbox, by function and end: ok; error (broken files); time, cpu, memory, crash (its process was "
            "killed or died); busy, unable (not looked into).",
            ["function", "result"],
            registry=registry,
        )
        self.sandbox_duration = Histogram(
            "mailguard_sandbox_job_duration_seconds",
            "Time of each of these, the waiting for a process included.",
            ["function"],
            buckets=FAST,
            registry=registry,
        )
        self.sandbox_processes = Gauge(
            "mailguard_sandbox_processes",
            "Processes of the sandbox, over all workers.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.sandbox_started = Counter(
            "mailguard_sandbox_processes_started",
            "Processes of the sandbox that were started, by what holds them (docs/sandbox.md); unable: could not be started.",
            ["protection"],
            registry=registry,
        )
        self.feedback = Counter(
            "mailguard_feedback",
            "Copies of mail that users sent to a feedback address, by what it was said to be and what came of it.",
            ["label", "result"],
            registry=registry,
        )
        for label in ("spam", "ham"):
            for result in FeedbackResult:
                self.feedback.labels(label, result.value)

    def _delivery(self) -> None:
        registry = self.registry
        self.delivery_attempts = Counter(
            "mailguard_delivery_attempts",
            "Delivery attempts at next hops, one for each recipient.",
            ["tenant", "purpose", "result"],
            registry=registry,
        )
        self.delivery_duration = Histogram(
            "mailguard_delivery_duration_seconds",
            "Time of one delivery attempt, from asking for a connection to the last reply.",
            ["result"],
            buckets=SLOW,
            registry=registry,
        )
        _start_at_zero(self.delivery_duration, AttemptResult)
        self.next_hop_refusals = Counter(
            "mailguard_next_hop_refusals",
            "5xx of a next hop before any recipient was named: its configuration refuses us, not the mail.",
            ["tenant"],
            registry=registry,
        )
        self.next_hop_unprotected = Counter(
            "mailguard_next_hop_unprotected",
            "Attempts given up since TLS, a certificate or AUTH that is asked of the next hop could not be had.",
            ["tenant"],
            registry=registry,
        )
        self.next_hop_connections = Counter(
            "mailguard_next_hop_connections",
            "Connections to next hops: new, reused from the pool, or failed.",
            ["result"],
            registry=registry,
        )
        _start_at_zero(self.next_hop_connections, ["new", "reused", "failed"])
        self.next_hop_tls = Counter(
            "mailguard_next_hop_tls",
            "New connections to next hops by TLS version; none is in clear.",
            ["version"],
            registry=registry,
        )
        self.queue_wait = Histogram(
            "mailguard_queue_wait_seconds",
            "How long a mail had been in the queue when it was delivered from it.",
            buckets=WAITS,
            registry=registry,
        )
        self.dsns = Counter(
            "mailguard_dsns",
            "Reports to senders: of failures after our 250 (sent), delays (delayed) and mail passed on to servers that do not "
            "report (relayed). suppressed: failures kept instead, since the sender may not or would not be told.",
            ["result"],
            registry=registry,
        )
        _start_at_zero(self.dsns, ["sent", "suppressed", "delayed", "relayed"])

    def _inside(self) -> None:
        registry = self.registry
        self.event_commit_duration = Histogram(
            "mailguard_event_commit_duration_seconds",
            "Time of each database transaction, the group commit's waiting included.",
            buckets=FAST,
            registry=registry,
        )
        self.journal_writes = Counter(
            "mailguard_journal_writes",
            "Outcomes that could not be committed and went to the journal instead.",
            registry=registry,
        )
        self.reconciled = Counter(
            "mailguard_reconciled",
            "What did not fit after a start, and daily: waiting mail put back into the queue (requeued), places in it of mail "
            "that does not wait (dequeued), unmarked bodies (marked), bodies of nothing (orphans), needed bodies that are gone (missing).",
            ["what"],
            registry=registry,
        )
        _start_at_zero(self.reconciled, ["requeued", "dequeued", "marked", "missing", "orphans"])
        self.dns_queries = Counter(
            "mailguard_dns_queries",
            "DNS questions, by how they were answered; cached ones asked nobody.",
            ["result"],
            registry=registry,
        )
        self.policy_reloads = Counter(
            "mailguard_policy_reloads",
            "Loads of the policies after a change; with an error the last good ones stay in force.",
            ["result"],
            registry=registry,
        )
        _start_at_zero(self.policy_reloads, ["ok", "error"])
        self.errors = Counter("mailguard_errors", "Failures on our own side, by kind.", ["kind"], registry=registry)
        _start_at_zero(self.errors, ErrorKind)
        self.worker_restarts = Counter(
            "mailguard_worker_restarts", "Workers that died and were replaced.", registry=registry
        )
        self.workers_ready = Gauge(
            "mailguard_workers_ready",
            "Workers that take mail now.",
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self.build_info = Gauge(
            "mailguard_build_info",
            "1, with the version that runs.",
            ["version"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.build_info.labels(__version__).set(1)

    def families(self) -> Iterator[MetricWrapperBase]:
        """Every metric, in the order of this file."""
        return (value for value in vars(self).values() if isinstance(value, MetricWrapperBase))

    def _of(self, metric: M, *labels: str) -> M:
        """The series of a metric. Kept: a mail counts in fifty, and to ask the library for one costs as much as two counts."""
        found = self._kept.get((metric, labels))
        if found is None:
            found = self._kept[metric, labels] = metric.labels(*labels)
        return cast(M, found)

    def decided(self, action: Action, reason: str) -> None:
        """Count one decision."""
        self._of(self.decisions, action.value, reason).inc()

    def moved(self, tenant: str, state: State, size: int) -> None:
        """Count a mail of `size` bytes that came into `state`; `forwarding` is not an outcome and is left out."""
        if state is not State.FORWARDING:
            self._of(self.dispositions, tenant, state.value).inc()
            self._of(self.disposition_bytes, tenant, state.value).inc(size)

    def staged(self, stage: str, seconds: float) -> None:
        """Count the time of one stage of a message's life."""
        self._of(self.stage_duration, stage).observe(seconds)

    def replied(self, code: int, seconds: float) -> None:
        """Count the reply to a message, and the time that it took from the end of the data."""
        self.message_duration.observe(seconds)
        self._of(self.smtp_data_replies, f"{code // 100}xx").inc()

    def checked(self, check: str, status: CheckStatus, seconds: float) -> None:
        """Count the end of one check and its time."""
        found = self._ended.get((check, status))
        if found is None:
            found = self.check_duration.labels(check), self.check_results.labels(check, status.value)
            self._ended[check, status] = found
        duration, results = found
        duration.observe(seconds)
        results.inc()
        if status is CheckStatus.TEMPERROR:
            self.failed(ErrorKind.CHECK)

    def looked_up(self, result: str) -> None:
        """Count one DNS look-up by how it was answered: a member of the closed set net.dns_aio.QueryResult."""
        self._of(self.dns_queries, result).inc()

    def authenticated(self, method: AuthMethod, outcome: AuthOutcome) -> None:
        """Count one authentication result."""
        self._of(self.auth_results, method.value, outcome.value).inc()

    def called_ahead(self, result: CallAheadResult, seconds: float) -> None:
        """Count one question to a next hop and its time."""
        self._of(self.call_ahead_duration, result.value).observe(seconds)

    def connected(self, result: str) -> None:
        """Count a connection to a next hop: new, reused or failed."""
        self._of(self.next_hop_connections, result).inc()

    def attempted(self, tenant: str, purpose: AttemptPurpose, result: AttemptResult, seconds: float) -> None:
        """Count one delivery attempt for one recipient and its time."""
        self._of(self.delivery_attempts, tenant, purpose.value, result.value).inc()
        self._of(self.delivery_duration, result.value).observe(seconds)

    def failed(self, kind: ErrorKind) -> None:
        """Count a failure on our own side."""
        self._of(self.errors, kind.value).inc()


def _start_at_zero(metric: Counter | Histogram, label_values: Iterable[str]) -> None:
    # A series that appears only with its first event hides that event from rate() and increase().
    for value in label_values:
        metric.labels(str(value))
