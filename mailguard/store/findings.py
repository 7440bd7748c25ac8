"""Findings as JSON in `messages.findings` and `units.found`, and back. Empty fields are left out; what an older release wrote can be read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
    # What the classifier saw, and sealers said, is for those who judge the mail now; symbols say what came of it.
    kept = tuple(
        replace(one, classification=None, vouched=(), link_hosts=())
        if one.classification or one.vouched or one.link_hosts
        else one
        for one in findings.results
    )
    return to_json(replace(findings, results=kept))


def results_to_json(results: Sequence[CheckResult]) -> str:
    """The JSON of `units.found`, which `results_from_json` reads: what checks found with one tenant's eyes."""
    return to_json([replace(one, classification=None) if one.classification else one for one in results])


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
