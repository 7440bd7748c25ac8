"""The result of a probe as one signed line of JSON, which any host can make and only the database's host takes in.

`read` believes nothing: a line must have every field, in its type, and the HMAC of all of them by the key.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from mailguard.watch.probe_mark import Kind, sign
from mailguard.watch.probe_verdict import Finding, ProbeMail

LINE_LIMIT = 65_536
"""Characters of a line; one of ours has some two thousand."""


@dataclass(frozen=True, slots=True)
class MailResult:
    """What came of one mail. Times in milliseconds; None: did not come to that, or nobody looked."""

    kind: str
    id: str
    reply: str
    connect_ms: int | None
    reply_ms: int | None
    arrival_ms: int | None
    ok: bool | None
    problem: str


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came of one run for a tenant (its name). The fields as of store.probes.ProbeResult; `at` is in ms UTC."""

    v: int
    run: str
    tenant: str
    at: int
    place: str
    server: str
    recipient: str
    ok: bool
    up: bool
    delivered: bool | None
    virus_stopped: bool | None
    spam_stopped: bool | None
    door_ms: int | None
    delivery_ms: int | None
    detail: str
    mails: tuple[MailResult, ...]


def result_of(
    mails: Sequence[ProbeMail],
    findings: Sequence[Finding],
    *,
    run: str,
    tenant: str,
    at: int,
    place: str,
    server: str,
    recipient: str,
) -> RunResult:
    """Put together what was sent and what was found. Without a clean mail nothing is known of the door, and `up` is False."""
    of = {finding.kind: finding for finding in findings}
    clean = next((mail for mail in mails if mail.mark.kind is Kind.CLEAN), None)
    problems = [finding.problem for finding in findings if finding.problem]

    def ok(kind: Kind) -> bool | None:
        return of[kind].ok if kind in of else None

    return RunResult(
        v=1,
        run=run,
        tenant=tenant,
        at=at,
        place=place,
        server=server,
        recipient=recipient,
        ok=not problems,
        up=clean is not None and clean.door_is_up,
        delivered=ok(Kind.CLEAN),
        virus_stopped=ok(Kind.EICAR),
        spam_stopped=ok(Kind.GTUBE),
        door_ms=clean.said.reply_ms if clean is not None and clean.said.taken else None,
        delivery_ms=of[Kind.CLEAN].arrival_ms if Kind.CLEAN in of else None,
        detail="; ".join(problems),
        mails=tuple(
            MailResult(
                mail.mark.kind.value,
                mail.mark.id,
                mail.said.text,
                mail.said.connect_ms,
                mail.said.reply_ms,
                of[mail.mark.kind].arrival_ms,
                of[mail.mark.kind].ok,
                of[mail.mark.kind].problem,
            )
            for mail in mails
        ),
    )


def line_of(result: RunResult, *, key: str) -> str:
    """The signed line, in ASCII and without its end."""
    data = asdict(result)
    return _canonical({**data, "mac": sign(_canonical(data), key=key)})


def read(line: str, *, key: str) -> RunResult:
    """The result of a line. Raises ValueError with what is wrong with it."""
    if len(line) > LINE_LIMIT:
        raise ValueError(f"is longer than {LINE_LIMIT} characters")
    try:
        data = json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise ValueError("is not a line of `mailguard probe --json`") from None
    if not isinstance(data, dict) or not isinstance(data.get("mac"), str):
        raise ValueError("is not a line of `mailguard probe --json`")
    mac = data.pop("mac")
    try:
        genuine = hmac.compare_digest(sign(_canonical(data), key=key), mac)
    except (TypeError, UnicodeEncodeError):  # a mac that is not ASCII; a lone surrogate
        genuine = False
    if not genuine:
        raise ValueError("was not signed with this [probe] key: it was changed, or made with another key")
    return _result(data)


def _result(data: dict[str, object]) -> RunResult:
    mails = data.pop("mails", None)
    if not isinstance(mails, list) or not all(isinstance(mail, dict) for mail in mails):
        raise ValueError("has no mails")
    _check(data, RunResult, without=("mails",))
    for mail in mails:
        _check(mail, MailResult)
    if data["v"] != 1:
        raise ValueError("was made by another version of mailguard, which this one does not understand")
    return RunResult(**data, mails=tuple(MailResult(**mail) for mail in mails))  # type: ignore[arg-type]


_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "int | None": (int, type(None)),
    "str": (str,),
    "bool": (bool,),
    "bool | None": (bool, type(None)),
}


def _check(data: dict[str, object], kind: type[RunResult | MailResult], *, without: Sequence[str] = ()) -> None:
    wanted = {field.name: _TYPES[str(field.type)] for field in fields(kind) if field.name not in without}
    if data.keys() != wanted.keys():
        raise ValueError(f"has not the fields of a result: {', '.join(sorted(data.keys() ^ wanted.keys()))[:200]}")
    for name, types in wanted.items():
        value = data[name]
        if type(value) not in types or (isinstance(value, int) and not 0 <= value < 1 << 53):
            raise ValueError(f"has a {name} that is none")


def _canonical(data: object) -> str:
    return json.dumps(data, ensure_ascii=True, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _no_number(text: str) -> float:
    raise ValueError(text)
