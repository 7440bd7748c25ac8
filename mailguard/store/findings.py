"""Findings as JSON in `messages.findings` and `units.found`, and back. Empty fields are left out; what an older release wrote can be read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
    Symbol,
)
from mailguard.store.texts import to_json


def findings_to_json(findings: Findings) -> str:
    """The JSON that `findings_from_json` reads."""
    return to_json(
        _filled(
            {
                "results": list(map(_result_object, findings.results)),
                "attachments": findings.attachments,
                "link_hosts": findings.link_hosts,
                "from_address": findings.from_address,
            }
        )
    )


def results_to_json(results: Sequence[CheckResult]) -> str:
    """The JSON of `units.found`, which `results_from_json` reads: what checks found with one tenant's eyes."""
    return to_json(list(map(_result_object, results)))


def results_from_json(text: str) -> tuple[CheckResult, ...]:
    """The results that were written."""
    return tuple(map(_result, json.loads(text or "[]")))


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


# Written out, field by field, as they are read: to let the encoder ask about each object took two and a half times as long: 0.06 ms a mail more.


def _result_object(result: CheckResult) -> dict[str, object]:
    """What the classifier saw, and sealers said, is for those who judge the mail now; symbols say what came of it."""
    found: dict[str, object] = {"check": result.check, "status": result.status, "elapsed": result.elapsed}
    if result.symbols:
        found["symbols"] = list(map(_symbol_object, result.symbols))
    if result.auth:
        found["auth"] = list(map(_auth_object, result.auth))
    if result.malware:
        found["malware"] = result.malware
    if result.dmarc_policy:
        found["dmarc_policy"] = result.dmarc_policy
    if result.detail:
        found["detail"] = result.detail
    if result.attachments:
        found["attachments"] = result.attachments
    if result.dmarc_override:
        found["dmarc_override"] = result.dmarc_override
    return found


def _symbol_object(symbol: Symbol) -> dict[str, object]:
    found: dict[str, object] = {"name": symbol.name, "score": symbol.score}
    if symbol.description:
        found["description"] = symbol.description
    if symbol.evidence:
        found["evidence"] = symbol.evidence
    return found


def _auth_object(auth: AuthResult) -> dict[str, object]:
    return _filled(
        {
            "method": auth.method,
            "outcome": auth.outcome,
            "domain": auth.domain,
            "reason": auth.reason,
            "properties": auth.properties,
        }
    )


def _filled(fields: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value}


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
