"""Redaction: whole addresses go, in any case and wherever they stand; what only looks alike stays."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.core.verdict import (
    Attachment,
    AuthMethod,
    AuthOutcome,
    AuthResult,
    CheckResult,
    DmarcPolicy,
    Findings,
    Symbol,
)
from mailguard.store.findings import findings_from_json, findings_to_json
from mailguard.store.redact import Redaction, bare

JOE = Redaction(["joe@acme.test", "joe+news@acme.test"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<JOE@acme.test>", "<(erased)>"),
        ("550 5.1.1 joe@acme.test: unknown", "550 5.1.1 (erased): unknown"),
        ("to joe+news@acme.test.", "to (erased)."),
        ("rfc822;joe@acme.test", "rfc822;(erased)"),
        ("(joe@acme.test,ann@acme.test)", "((erased),ann@acme.test)"),
        ("billjoe@acme.test", "billjoe@acme.test"),
        ("bill.joe@acme.test", "bill.joe@acme.test"),
        ("joe@acme.test.example", "joe@acme.test.example"),
        ("joe@acme.test-it", "joe@acme.test-it"),
        ("", ""),
    ],
)
def test_whole_addresses_go(text: str, expected: str) -> None:
    assert JOE.text(text) == expected
    assert JOE.found_in(text) is (text != expected)


def test_whatever_looks_like_an_address_goes_when_none_is_named() -> None:
    assert Redaction().text("from <a.b+c@x.test> to d@y.test; deny list entry x.test") == (
        "from <(erased)> to (erased); deny list entry x.test"
    )


def test_json_stays_json() -> None:
    value = {"reply": 'said "joe@acme.test"', "n": [1, None, "Joe@Acme.Test"], "joe@acme.test": True}
    assert json.loads(JOE.json(json.dumps(value))) == {
        "reply": 'said "(erased)"',
        "n": [1, None, "(erased)"],
        "(erased)": True,
    }
    assert JOE.json("no {json joe@acme.test") == "no {json (erased)"
    accented = Redaction(["jé@acme.test"])
    assert json.loads(accented.json(json.dumps(["jé@acme.test"]))) == ["(erased)"]


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_address_survives_between_texts(before: str, after: str) -> None:
    text = JOE.text(f"{before} <joe@acme.test> {after}")
    assert "<joe@acme.test>" not in text


def test_bare_findings_decide_as_before_but_name_nothing() -> None:
    found = Findings(
        results=(
            CheckResult(
                "spf",
                symbols=(Symbol("A", 1.5, "said", ("joe@acme.test", "http://x.test/joe")),),
                auth=(
                    AuthResult(
                        AuthMethod.SPF, AuthOutcome.PASS, "x.test", "secret", (("smtp.mailfrom", "joe@acme.test"),)
                    ),
                ),
                malware=("Eicar",),
                dmarc_policy=DmarcPolicy.REJECT,
                detail="joe",
                elapsed=0.5,
            ),
        ),
        attachments=(
            Attachment("Joe's CV.pdf.EXE", "a/b", "c/d", 9, "ab" * 32),
            Attachment("joe", "a/b", "c/d", 1, "cd" * 32),
        ),
        link_hosts=("joe.example",),
        from_address="joe@acme.test",
    )
    left = bare(found)
    assert "joe" not in findings_to_json(left).lower()
    assert (left.malware, left.failed_checks) == (found.malware, found.failed_checks)
    assert [(symbol.name, symbol.score) for symbol in left.symbols] == [("A", 1.5)]
    assert [(one.name, one.true_type, one.size) for one in left.attachments] == [
        ("erased.EXE", "c/d", 9),
        ("erased", "c/d", 1),
    ]
    assert findings_from_json(findings_to_json(left)) == left
    assert bare(left) == left
