"""Findings as JSON in `messages.findings` and `units.found`, and back. Empty fields are left out; what an older release wrote can be read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _text
from typing import Any

from mailguard.core.verdict import (
    Attachment,
    AuthMethod,
    AuthOutcome,
    AuthResult,
    CheckResult,
    CheckStatus,
    DmarcPolicy,
    Findings,
    ScoredSymbol,
    Symbol,
)
from mailguard.store.texts import to_json

_DECODER = json.JSONDecoder()


def findings_to_json(findings: Findings) -> str:
    """The JSON that `findings_from_json` reads."""
    rest = {
        "attachments": findings.attachments,
        "link_hosts": findings.link_hosts,
        "from_address": findings.from_address,
    }
    results = [f'"results":{results_to_json(findings.results)}'] if findings.results else []
    return _object([*results, *_members(rest)])


def results_to_json(results: Sequence[CheckResult]) -> str:
    """The JSON of `units.found`, which `results_from_json` reads: what checks found with one tenant's eyes."""
    return _array(map(_result_json, results))


def points_to_json(symbols: Iterable[ScoredSymbol]) -> str:
    """The JSON of `units.symbols`: pairs of a name and its points."""
    return _array([_pair(symbol.name, symbol.points) for symbol in symbols])


def results_from_json(text: str) -> tuple[CheckResult, ...]:
    """The results that were written."""
    return tuple(map(_result, json.loads(text or "[]")))


def result_from_json(text: str, check: str) -> Mapping[str, Any] | None:
    """One check's result in `units.found`, as its plain object, without reading those of the others; None: there is none.

    By what `results_to_json` writes first of each, which nothing that mail says can be: within strings each quote is escaped.
    """
    start = text.find(f'{{"check":{_text(check)}')
    return None if start < 0 else _DECODER.raw_decode(text, start)[0]


def findings_from_json(text: str) -> Findings:
    """The Findings that were written."""
    value = json.loads(text)
    return Findings(
        results=tuple(map(_result, value.get("results", ()))),
        attachments=tuple(
            Attachment(
                item.get("name", ""),
                item.get("declared_type", ""),
                item.get("true_type", ""),
                item.get("size", 0),
                item.get("sha256", ""),
                item.get("depth", 0),
                tuple(item.get("found", ())),
            )
            for item in value.get("attachments", ())
        ),
        link_hosts=tuple(value.get("link_hosts", ())),
        from_address=value.get("from_address", ""),
    )


# Written as text, piece by piece: to let the encoder ask about each object took two and a half times as long as to make it plain ones
# first, and these twice as long again as to keep what is the same in all mail: 0.04 ms a mail, a quarter of what recording its begin takes.


def _result_json(result: CheckResult) -> str:
    """What the classifier saw, and sealers said, is for those who judge the mail now; symbols say what came of it."""
    members = [f'"check":{_text(result.check)},"status":{_text(result.status)},"elapsed":{result.elapsed!r}']
    if result.symbols:
        members.append(f'"symbols":{_array(map(_symbol_json, result.symbols))}')
    if result.auth:
        members.append(f'"auth":{_array(map(_auth_json, result.auth))}')
    if result.malware or result.dmarc_policy or result.detail or result.attachments or result.dmarc_override:
        members += _members(
            {
                "malware": result.malware,
                "dmarc_policy": result.dmarc_policy,
                "detail": result.detail,
                "attachments": result.attachments,
                "dmarc_override": result.dmarc_override,
            }
        )
    return _object(members)


def _symbol_json(symbol: Symbol) -> str:
    opening = _symbol_opening(symbol.name, symbol.score, symbol.description)
    return f'{opening},"evidence":{_array(map(_text, symbol.evidence))}}}' if symbol.evidence else opening + "}"


@lru_cache(maxsize=4096)
def _symbol_opening(name: str, score: float, description: str) -> str:
    """A symbol's JSON up to its evidence. Kept: the names and what they mean are the same few hundred in all mail."""
    return to_json({"name": name, "score": score} | ({"description": description} if description else {}))[:-1]


@lru_cache(maxsize=4096)
def _pair(name: str, points: float) -> str:
    return to_json([name, points])


def _members(fields: Mapping[str, object]) -> list[str]:
    """Those fields that hold something, as members of an object."""
    filled = {name: value for name, value in fields.items() if value}
    return [to_json(filled)[1:-1]] if filled else []


def _object(members: Iterable[str]) -> str:
    return "{" + ",".join(members) + "}"


def _array(items: Iterable[str]) -> str:
    return "[" + ",".join(items) + "]"


def _auth_json(auth: AuthResult) -> str:
    members = [f'"method":{_text(auth.method)},"outcome":{_text(auth.outcome)}']
    if auth.domain:
        members.append(f'"domain":{_text(auth.domain)}')
    if auth.reason:
        members.append(f'"reason":{_text(auth.reason)}')
    if auth.properties:
        members.append(f'"properties":{_array(_array(map(_text, pair)) for pair in auth.properties)}')
    return _object(members)


def _result(value: Mapping[str, Any]) -> CheckResult:
    asked = value.get("dmarc_policy")
    return CheckResult(
        check=value["check"],
        status=CheckStatus(value.get("status", CheckStatus.OK)),
        symbols=tuple(map(_symbol, value.get("symbols", ()))),
        auth=tuple(map(_auth, value.get("auth", ()))),
        malware=tuple(value.get("malware", ())),
        dmarc_policy=None if asked is None else DmarcPolicy(asked),
        detail=value.get("detail", ""),
        elapsed=value.get("elapsed", 0.0),
        dmarc_override=value.get("dmarc_override", ""),
    )


def _symbol(value: Mapping[str, Any]) -> Symbol:
    return Symbol(
        value["name"], value.get("score", 0.0), value.get("description", ""), tuple(value.get("evidence", ()))
    )


def _auth(value: Mapping[str, Any]) -> AuthResult:
    return AuthResult(
        AuthMethod(value["method"]),
        AuthOutcome(value["outcome"]),
        value.get("domain", ""),
        value.get("reason", ""),
        tuple((name, text) for name, text in value.get("properties", ())),
    )
