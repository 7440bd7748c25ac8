"""The log: structured lines on standard error, JSON or for people, and one function a mail event.

Strings from mail are hostile: they are values, never part of the event's name or of a format string, and are cut and escaped
on their way out. Bodies, subjects and secrets are not logged.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from mailguard.core.clock import to_iso
from mailguard.core.decision import Decision, Reason
from mailguard.core.envelope import Session
from mailguard.core.errors import Problem
from mailguard.core.reply import Reply
from mailguard.core.verdict import CheckResult

VALUE_LIMIT = 500
"""Longest string value of a log line, in characters."""

_SECRET_KEYS = frozenset({"password", "secret", "token", "authorization", "api_key", "private_key"})
_URL_PASSWORD = re.compile(r"(://[^/\s:@]*):[^/\s@]+@")
# C0, DEL and C1; bidirectional and other invisible format characters; line separators; lone surrogates
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def escape_controls(text: str) -> str:
    r"""`text` with every control, bidirectional and surrogate character as its escape (`\x1b`), for a terminal or a log."""
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def _safe(value: object) -> object:
    if isinstance(value, bytes):
        value = value.decode("ascii", "backslashreplace")
    if isinstance(value, str):
        if len(value) > VALUE_LIMIT:
            value = f"{value[:VALUE_LIMIT]}… ({len(value)} characters)"
        if "://" in value:
            value = _URL_PASSWORD.sub(r"\1:***@", value)
        return escape_controls(value)
    if isinstance(value, Mapping):
        return {escape_controls(str(key)): _safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_safe(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _safe(str(value))


def make_safe(_logger: object, _method: str, event: MutableMapping[str, Any]) -> EventDict:
    """The processor that cuts and escapes every value and hides secrets, whoever logged it."""
    trace = event.pop("exception", None)
    safe: EventDict = {
        key: "***" if key.lower() in _SECRET_KEYS else round(value, 6) if isinstance(value, float) else _safe(value)
        for key, value in event.items()
    }
    if isinstance(trace, str):  # of many lines, and ours: whole, but an exception's text may quote hostile data
        safe["exception"] = "\n".join(escape_controls(line) for line in trace.splitlines())
    return safe


def _timestamp(_logger: object, _method: str, event: EventDict) -> EventDict:
    event["at"] = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


class _Unfailing:
    """A stream whose failures (a full disk, a reader that has gone) cost lines of the log, never a mail."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """As of a stream."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: it was closed
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """As of a stream."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def configure(*, level: str = "info", form: str = "auto", stream: TextIO | None = None) -> None:
    """Set up the process's log, the standard library's included (uvicorn, alembic, aiosmtpd).

    `level` is debug, info, warning or error; `form` is json, console, or auto (console on a terminal, else json).
    """
    out = sys.stderr if stream is None else stream
    console = form == "console" or (form == "auto" and out.isatty())
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.format_exc_info,
        _timestamp,
        make_safe,
    ]
    render: Processor = (
        structlog.dev.ConsoleRenderer(colors=out.isatty(), timestamp_key="at", pad_event_to=24, sort_keys=False)
        if console
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Unfailing(out))),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)


def get_logger(room: str) -> FilteringBoundLogger:
    """The logger of a part of the program (`queue`, `store`), for what is not a mail event. Event names are constants."""
    logger: FilteringBoundLogger = structlog.get_logger(room=room)
    return logger


def _unit(unit: str, **facts: object) -> dict[str, object]:
    return {"unit": unit} | {key: value for key, value in facts.items() if value not in ("", None, ())}


class MailLog:
    """One method a mail event. The ids (session, message, unit) join the lines of one mail with each other and the trace."""

    def __init__(self, logger: FilteringBoundLogger | None = None) -> None:
        # Bound now: an unbound one is bound for each line, said or not, which took two thirds of a line that is not said.
        self._log: FilteringBoundLogger = get_logger("mail").bind() if logger is None else logger

    # at the door

    def connected(self, session: Session) -> None:
        """A client is here."""
        self._log.debug(
            "connected",
            session=session.id,
            client=session.client_ip,
            port=session.client_port,
            listener=session.listener,
        )

    def refused(
        self, session: Session, *, reply: Reply, reason: Reason, mail_from: str | None = None, recipient: str = ""
    ) -> None:
        """Refused before the data was complete; `mail_from` is None before MAIL."""
        self._log.info(
            "refused",
            session=session.id,
            client=session.client_ip,
            helo=session.helo,
            mail_from=mail_from,
            recipient=recipient,
            reason=reason.value,
            reply=str(reply),
        )

    def called_ahead(
        self, address: str, *, result: str, next_hop: str, stage: str, reply: Reply | None, error: str, seconds: float
    ) -> None:
        """A next hop was asked whether it has a recipient."""
        facts = {"next_hop": next_hop, "stage": stage, "reply": _text(reply), "error": error}
        self._log.info(
            "called_ahead",
            recipient=address,
            result=result,
            **{name: fact for name, fact in facts.items() if fact},
            seconds=seconds,
        )

    def accepts_any(self, domain: str, *, next_hop: str) -> None:
        """A next hop accepts an address that cannot exist: recipients of the domain are not verified."""
        self._log.warning("accepts_any", domain=domain, next_hop=next_hop)

    def received(
        self,
        message: str,
        *,
        session: Session,
        mail_from: str,
        recipients: int,
        size: int,
        header_message_id: str = "",
    ) -> None:
        """A message's data is complete."""
        self._log.info(
            "received",
            message=message,
            session=session.id,
            client=session.client_ip,
            helo=session.helo,
            tls=session.tls,
            mail_from=mail_from,
            recipients=recipients,
            size=size,
            header_message_id=header_message_id,
        )

    # what we think of it

    def check_failed(self, message: str, *, result: CheckResult) -> None:
        """A check ended in TEMPERROR."""
        self._log.warning(
            "check_failed", message=message, check=result.check, detail=result.detail, seconds=result.elapsed
        )

    def list_refuses_us(self, title: str, *, answer: str) -> None:
        """A DNS list does not answer us any more: its terms of use, or the resolver that we ask by."""
        self._log.error("list_refuses_us", list=title, answer=answer)

    def decided(
        self, unit: str, *, decision: Decision, tenant: str, recipient: str, score: float, symbols: Sequence[str]
    ) -> None:
        """A policy decided for one recipient."""
        self._log.info(
            "decided",
            unit=unit,
            tenant=tenant,
            recipient=recipient,
            action=decision.action.value,
            reason=decision.reason.value,
            explanation=decision.explanation,
            policy=decision.policy,
            policy_hash=decision.policy_hash[:12],
            score=score,
            symbols=symbols,
        )

    def replied(self, message: str, *, reply: Reply, seconds: float) -> None:
        """The sender has its one reply."""
        self._log.info("replied", message=message, reply=str(reply), seconds=seconds)

    # what became of it

    def delivered(
        self,
        unit: str,
        *,
        next_hop: str,
        reply: Reply | None,
        tls: str = "",
        seconds: float = 0.0,
        attempts: int = 1,
        released: bool = False,
    ) -> None:
        """The next hop took it; `released` when it came out of quarantine."""
        self._log.info(
            "released_and_delivered" if released else "delivered",
            **_unit(unit, next_hop=next_hop, tls=tls, reply=_text(reply)),
            seconds=seconds,
            attempts=attempts,
        )

    def attempt_failed(
        self,
        unit: str,
        *,
        next_hop: str,
        stage: str,
        reply: Reply | None = None,
        error: str = "",
        attempts: int = 1,
        due_at: int = 0,
    ) -> None:
        """A next hop did not take it this time; `due_at` (milliseconds) is when it is tried again."""
        self._log.info(
            "attempt_failed",
            **_unit(unit, next_hop=next_hop, stage=stage, reply=_text(reply), error=error, due_at=_time(due_at)),
            attempts=attempts,
        )

    def spooled(self, unit: str, *, reason: Reason, due_at: int = 0) -> None:
        """Durable in the queue."""
        self._log.info("spooled", **_unit(unit, reason=reason.value, due_at=_time(due_at)))

    def quarantined(self, unit: str, *, reason: Reason) -> None:
        """In quarantine."""
        self._log.info("quarantined", **_unit(unit, reason=reason.value))

    def rejected(self, unit: str, *, reason: Reason, reply: Reply) -> None:
        """The sender heard 5yz after the data; nothing is kept."""
        self._log.info("rejected", **_unit(unit, reason=reason.value, reply=str(reply)))

    def bounced(self, unit: str, *, reason: Reason, dsn: str) -> None:
        """Given up; the sender is told by the message `dsn`."""
        self._log.warning("bounced", **_unit(unit, reason=reason.value, dsn=dsn))

    def undeliverable(self, unit: str, *, reason: Reason) -> None:
        """Given up and kept: the sender may not be told."""
        self._log.warning("undeliverable", **_unit(unit, reason=reason.value))

    def sender_told(self, unit: str, *, told: str, dsn: str) -> None:
        """By the message `dsn`, of what is no failure: `delayed`, or `relayed` to a server that does not report."""
        self._log.info("sender_told", **_unit(unit, told=told, dsn=dsn))

    def parked(self, unit: str, *, crashes: int) -> None:
        """Out of the queue after crashes on it."""
        self._log.error("parked", unit=unit, crashes=crashes)

    def next_hop_refuses_us(self, unit: str, *, tenant: str, next_hop: str, stage: str, reply: Reply) -> None:
        """A 5xx before any recipient was named: the client's server refuses us, whatever the mail."""
        self._log.error(
            "next_hop_refuses_us", unit=unit, tenant=tenant, next_hop=next_hop, stage=stage, reply=str(reply)
        )

    def next_hop_unprotected(self, unit: str, *, tenant: str, next_hop: str, stage: str, error: str) -> None:
        """The TLS, the certificate or the AUTH that is asked of the client's server could not be had: nothing was sent."""
        self._log.error("next_hop_unprotected", unit=unit, tenant=tenant, next_hop=next_hop, stage=stage, error=error)

    # our own side

    def policies_reloaded(self) -> None:
        """Profiles or rules were changed, and the new ones are in force."""
        self._log.info("policies_reloaded")

    def policies_invalid(self, problems: Sequence[Problem]) -> None:
        """Changed policies are wrong; the last good ones stay."""
        self._log.error("policies_invalid", problems=[str(problem) for problem in problems])

    def reconciled(self, counts: Mapping[str, int], *, units: Sequence[str], missing: Sequence[str]) -> None:
        """After a start, and daily: what of rows and bodies did not fit; `units` were mended, bodies are `missing`."""
        tell = self._log.error if missing else self._log.warning if any(counts.values()) else self._log.info
        tell("reconciled", **counts, units=list(units)[:20], bodies=list(missing)[:20])

    def journalled(self, units: Sequence[str], *, error: str) -> None:
        """Outcomes could not be committed; they are in the journal."""
        self._log.error("journalled", units=units, error=error)

    def feedback(self, message: str, *, mail_from: str, tenant: str, label: str, results: Mapping[str, int]) -> None:
        """A user's mail to a feedback address: what came of the copies in it, by how many."""
        self._log.info(
            "feedback", message=message, mail_from=mail_from, tenant=tenant, label=label, results=dict(results)
        )

    def taught(
        self, unit: str, *, tenant: str, teacher: str, label: str, result: str, before: float, after: float
    ) -> None:
        """A user taught something of one mail, or it was not taken; mail like it went from one score to the other."""
        self._log.info(
            "taught", unit=unit, tenant=tenant, teacher=teacher, label=label, result=result, score=[before, after]
        )

    def unforeseen(self, where: str, *, message: str = "", error: BaseException) -> None:
        """Something we did not foresee, with its traceback: 451 at the door, TEMPERROR in a check."""
        self._log.error("unforeseen", where=where, message=message, exc_info=error)


def _text(reply: Reply | None) -> str:
    return "" if reply is None else str(reply)


def _time(milliseconds: int) -> str:
    return to_iso(milliseconds) if milliseconds else ""
