"""What a probe's mails came to, and whether that is as it must be. Values and pure functions; how they are got is elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from mailguard.core.decision import Action, Reason
from mailguard.core.events import State
from mailguard.core.reply import Reply
from mailguard.watch.probe_mark import Kind, Mark

_TAG = re.compile(rb"^X-MailGuard-Verdict: tag; reason=([a-z_]+)", re.MULTILINE)
_HEADER = re.compile(rb"(?:[!-9;-~]+:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)*")
_ON_THE_WAY = frozenset({State.FORWARDING, State.SPOOLED, State.HELD})
_STOPPED = frozenset(
    {State.QUARANTINED, State.REJECTED, State.DISCARDED, State.EXPIRED, State.DELETED, State.UNDELIVERABLE}
)
WANTED: Mapping[Kind, Reason] = MappingProxyType({Kind.EICAR: Reason.MALWARE, Kind.GTUBE: Reason.SPAM_SCORE})
"""For which reason a bad mail must be stopped."""


@dataclass(frozen=True, slots=True)
class Said:
    """What the door said to a mail. `reply` to its data, or what ended it before, as `in_time` tells; None: nothing, by `error`.

    In milliseconds: `connect_ms` until it was greeted, `reply_ms` until the last reply, both from the connection's begin.
    `after_data`: the reply is to the whole mail.
    """

    reply: Reply | None = None
    error: str = ""
    after_data: bool = False
    connect_ms: int | None = None
    reply_ms: int | None = None

    @property
    def taken(self) -> bool:
        """Whether the relay took the mail upon itself."""
        return self.after_data and self.reply is not None and self.reply.positive

    @property
    def text(self) -> str:
        """The reply, or why there is none."""
        return str(self.reply) if self.reply is not None else self.error


@dataclass(frozen=True, slots=True)
class Arrived:
    """A mail as it came to the canary. `after_ms`: milliseconds from the end of its data."""

    content: bytes
    after_ms: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the relay recorded of a mail. `reason` and `action` are those of the first decision.

    `after_ms`: milliseconds from its receipt to its delivery; None: it was not delivered. `now`: state and reason in words.
    """

    state: State
    action: Action
    reason: Reason
    probe: bool
    now: str
    after_ms: int | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing more is under way."""
        return self.state not in _ON_THE_WAY


@dataclass(frozen=True, slots=True)
class Seen:
    """Where a mail was looked for, and what was seen: `arrived` is None when it did not arrive, `recorded` likewise.

    `blind`: why it could not be looked for where it should have been.
    """

    at_canary: bool = False
    in_record: bool = False
    arrived: Arrived | None = None
    recorded: Recorded | None = None
    blind: str = ""


@dataclass(frozen=True, slots=True)
class ProbeMail:
    """A mail of a probe as it was sent, without its mark, and all that came of it."""

    mark: Mark
    content: bytes
    said: Said
    seen: Seen = Seen()

    @property
    def door_is_up(self) -> bool:
        """Whether the door did what is its to do: took the mail, or passed on what the client's server said to it."""
        said, recorded = self.said, self.seen.recorded
        passed_on = said.after_data and said.reply is not None and said.reply.permanent and recorded is not None
        return said.taken or (passed_on and recorded is not None and recorded.action is Action.DELIVER)


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether a mail fared as it must. `ok`: None when that cannot be told. `problem` says what is wrong, for people.

    `ok` and yet a problem: what it is for is well (a virus is stopped), something else is not (it is billed).
    """

    kind: Kind
    ok: bool | None
    problem: str = ""
    arrival_ms: int | None = None


def findings(mails: Sequence[ProbeMail], *, patience: float) -> tuple[Finding, ...]:
    """What came of each mail; they were waited for `patience` seconds."""
    arrives = any(mail.mark.kind is Kind.CLEAN and mail.seen.arrived is not None for mail in mails)
    return tuple(
        _clean(mail, patience) if mail.mark.kind is Kind.CLEAN else _bad(mail, canary_works=arrives) for mail in mails
    )


def _clean(mail: ProbeMail, patience: float) -> Finding:
    said, seen = mail.said, mail.seen
    if not said.taken:
        return Finding(Kind.CLEAN, False, f"the door did not take the clean mail: {said.text}")
    problems, faults, after = [], [], None
    if seen.recorded is not None:
        recorded = seen.recorded
        after = recorded.after_ms
        faults += _unknown(recorded)
        if after is None:
            problems.append(f"the clean mail was not delivered within {patience:g} s: it is {recorded.now}")
        elif recorded.action is not Action.DELIVER:
            faults.append(f"the clean mail was marked ({recorded.action}, {recorded.reason})")
    elif seen.in_record:
        problems.append("the relay has no record of the clean mail: is it the relay of this database that was asked?")
    if seen.arrived is not None:
        after = seen.arrived.after_ms
        problems += _altered(mail.content, seen.arrived.content)
        if not (problems or faults) and (tag := _TAG.search(seen.arrived.content)):
            faults.append(f"the clean mail was marked (tag, {tag[1].decode()})")
    elif seen.at_canary:
        after = None
        problems.append(f"the clean mail did not arrive at the canary within {patience:g} s")
    if seen.blind:
        faults.append(f"whether the clean mail arrived could not be looked for: {seen.blind}")
    looked = seen.at_canary or seen.in_record
    return Finding(Kind.CLEAN, not problems if looked else None, "; ".join([*problems, *faults]), after)


def _altered(sent: bytes, came: bytes) -> list[str]:
    """What is wrong with the clean mail as it came: on top of it only fields may stand."""
    if not came.endswith(sent):
        return ["the clean mail arrived altered"]
    top = came[: len(came) - len(sent)]
    if not _HEADER.fullmatch(top):
        return ["the clean mail arrived with something on top that is no header"]
    return []


def _bad(mail: ProbeMail, *, canary_works: bool) -> Finding:
    kind, said, seen = mail.mark.kind, mail.said, mail.seen
    name = kind.value.upper()
    if said.reply is None or not said.after_data:
        return Finding(kind, None, f"{name} could not be sent: {said.text}")
    if said.reply.transient:
        return Finding(
            kind, False, f"{name} was put off, which a scanner that does not answer brings about: {said.text}"
        )
    after = seen.arrived.after_ms if seen.arrived is not None else None
    if seen.arrived is not None and not _is_marked(kind, seen.arrived.content):
        return Finding(kind, False, f"{name} was delivered: {_CAUSE[kind]}", after)
    if seen.recorded is not None:
        return _bad_by_record(kind, seen.recorded, after)
    if seen.in_record:
        problem = f"the relay has no record of {name}: is it the relay of this database that was asked?"
        return Finding(kind, False, problem, after)
    if not said.reply.positive or seen.arrived is not None:
        return Finding(kind, True, "", after)
    if not seen.at_canary:
        return Finding(kind, None, seen.blind and f"whether {name} arrived could not be looked for: {seen.blind}")
    if not canary_works:
        return Finding(kind, None, f"whether {name} was stopped cannot be told: no clean mail arrived either")
    return Finding(kind, True)


def _bad_by_record(kind: Kind, recorded: Recorded, after: int | None) -> Finding:
    name, wanted = kind.value.upper(), WANTED[kind]
    unknown = "; ".join(_unknown(recorded))
    after = recorded.after_ms if after is None else after
    if recorded.reason is wanted and recorded.action in (Action.TAG, Action.DELIVER):
        tagged = kind is Kind.GTUBE and recorded.action is Action.TAG
        return Finding(kind, tagged, unknown if tagged else f"{name} was delivered", after)
    if recorded.state not in _STOPPED or recorded.action in (Action.TAG, Action.DELIVER):
        return Finding(kind, False, f"{name} was not stopped, it is {recorded.now}: {_CAUSE[kind]}", after)
    if recorded.reason is not wanted:
        problem = f"{name} was stopped for another reason than {wanted}: {recorded.action} ({recorded.reason})"
        return Finding(kind, False, problem, after)
    return Finding(kind, True, unknown, after)


def _is_marked(kind: Kind, content: bytes) -> bool:
    """Whether it is spam that the tenant has delivered with a mark."""
    tag = _TAG.search(content)
    return kind is Kind.GTUBE and tag is not None and tag[1].decode() == Reason.SPAM_SCORE


def _unknown(recorded: Recorded) -> list[str]:
    if recorded.probe:
        return []
    return ["the relay did not know it for a probe, so it is billed: is its [probe] key the same, and its clock right?"]


_CAUSE = {
    Kind.EICAR: "the virus scanner is switched off, does not answer, or has no signatures",
    Kind.GTUBE: "the rules are switched off, or the profile lets spam through",
}
