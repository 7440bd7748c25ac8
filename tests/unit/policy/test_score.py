"""Points, shares and forbidden attachments of a Verdict."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.core.verdict import Attachment, CheckResult, DmarcPolicy, Findings, Symbol
from mailguard.policy.file_rules import is_forbidden
from mailguard.policy.names import extension
from mailguard.policy.profile import Policy, SymbolRule
from tests.unit.policy.building import findings, verdict_of


def test_points_are_summed_and_shared_out_by_check() -> None:
    found = Findings(
        (
            CheckResult("spf", symbols=(Symbol("SPF_FAIL", 3.0), Symbol("SPF_SEEN"))),
            CheckResult("rules", symbols=(Symbol("LOTTERY", 4.5), Symbol("NICE", -1.0))),
        )
    )
    verdict = verdict_of(found)
    assert verdict.score == 6.5
    assert verdict.shares == {"spf": 3.0, "rules": 3.5}
    assert [symbol.name for symbol in verdict.symbols] == ["SPF_FAIL", "SPF_SEEN", "LOTTERY", "NICE"]


def test_the_profile_sets_other_points() -> None:
    policy = Policy(symbols={"LOTTERY": SymbolRule(score=0.5), "OTHER": SymbolRule(score=9)})
    verdict = verdict_of(findings(symbols=[Symbol("LOTTERY", 4.5)]), policy=policy)
    assert verdict.score == 0.5


def test_a_symbol_seen_twice_counts_once_with_the_gravest_points() -> None:
    found = findings(symbols=[Symbol("X", 1.0), Symbol("X", 2.0, "worse"), Symbol("X", 1.5)])
    verdict = verdict_of(found)
    assert verdict.score == 2.0
    assert [symbol.description for symbol in verdict.symbols] == ["worse"]


def test_ten_tenths_reach_one() -> None:
    assert verdict_of(findings(symbols=[Symbol(f"S{i}", 0.1) for i in range(10)])).score == 1.0


def test_facts_are_carried_over() -> None:
    found = findings(malware=["Eicar"], dmarc=DmarcPolicy.REJECT, failed_checks=["spf", "dkim"], attachments=["a.exe"])
    verdict = verdict_of(found)
    assert verdict.malware == ("Eicar",)
    assert verdict.dmarc_failed is DmarcPolicy.REJECT
    assert verdict.failed_checks == ("spf", "dkim")
    assert verdict.forbidden_attachments == ("a.exe",)
    assert verdict.tenant == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("invoice.exe", "exe"),
        ("invoice.pdf.EXE", "exe"),
        ("invoice.exe. .", "exe"),
        ("archive.zip/inner/run.js", "js"),
        ("archive.zip\\run.vbs", "vbs"),
        ("inv\u202efdp.exe", "exe"),
        ("run.e\u200bxe", "exe"),
        ("run.\uff45\uff58\uff45", "exe"),
        ("run.exe::$DATA", "exe"),
        ("run.exe:stream", "exe"),
        ("README", ""),
        ("", ""),
        ("v1.0/README", ""),
        (".bat", "bat"),
    ],
)
def test_an_extension_is_what_the_receiving_system_will_see(name: str, expected: str) -> None:
    assert extension(name) == expected


def test_a_program_is_forbidden_whatever_it_is_called() -> None:
    program = Attachment("holiday.jpg", "image/jpeg", "application/x-dosexec", 1, "00")
    picture = Attachment("holiday.jpg", "image/jpeg", "image/jpeg", 1, "00")
    assert is_forbidden(program, Policy().files)
    assert not is_forbidden(picture, Policy().files)


def test_a_nameless_forbidden_part_is_named_by_its_type() -> None:
    found = Findings(attachments=(Attachment("", "application/octet-stream", "application/x-dosexec", 1, "00"),))
    assert verdict_of(found).forbidden_attachments == ("application/x-dosexec",)


@given(st.text(max_size=60))
def test_an_extension_is_found_in_any_name(name: str) -> None:
    found = extension(name)
    assert "/" not in found
    assert found == found.strip(". ").lower()


@given(st.lists(st.tuples(st.sampled_from("ABCDE"), st.floats(-50, 50)), max_size=12))
def test_shares_add_up_to_the_score(seen: list[tuple[str, float]]) -> None:
    verdict = verdict_of(findings(symbols=[Symbol(name, points) for name, points in seen]))
    assert verdict.score == pytest.approx(sum(verdict.shares.values()), abs=0.01)
