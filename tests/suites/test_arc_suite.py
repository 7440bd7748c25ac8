"""The ValiMail ARC test suite: every case of chain validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from mailguard.checks.arc_chain import verify_arc
from mailguard.net.dns import StaticResolver, Zone
from tests.suites.mail_dkim import crlf

pytestmark = pytest.mark.corpora

ENDED = {"cv_fail_i1_as_cv_fail", "cv_fail_i2_as2_fail", "cv_fail_i2_as1_fail"}
"""Cases with an empty `cv`: a seal says cv=fail, so the chain has ended. RFC 8617 §5.2 step 2 calls that a failed chain."""


@dataclass(frozen=True, slots=True)
class Case:
    """A mail, the keys in DNS, and the chain status expected."""

    name: str
    raw: bytes
    zone: Zone
    status: str


def cases(path: Path) -> Iterator[Case]:
    for section in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        if not section:
            continue
        zone = {name: {"TXT": [record]} for name, record in (section.get("txt-records") or {}).items()}
        for name, test in section["tests"].items():
            yield Case(name, crlf(test["message"].encode()), zone, (test.get("cv") or "").lower())


OLDER = {
    "ams_fields_a_sha1": "passes there; RFC 8301 and the suite's later state forbid rsa-sha1",
    "as_fields_a_sha1": "the same",
    "ams_fields_c_na": "fails there; passes in the suite's later state: without c= it is relaxed/relaxed",
}
"""What Mail::DKIM's older copy of the suite expects otherwise."""


@pytest.mark.parametrize(
    ("copy", "total", "known"),
    [("arc/valimail_arc_test_suite/tests", 171, {}), ("dkim/mail-dkim/t/arc_test_suite", 170, OLDER)],
)
async def test_validation(corpora: Callable[[str], Path], copy: str, total: int, known: dict[str, str]) -> None:
    """171 of 171; of the older copy 167 of 170."""
    path = corpora("auth_suites") / copy / "arc-draft-validation-tests.yml"
    count, wrong = 0, {}
    for case in cases(path):
        count += 1
        result = await verify_arc(StaticResolver(case.zone), case.raw, now=1_700_000_000)
        expected = "fail" if case.name in ENDED else case.status
        if result.outcome != expected:
            wrong[case.name] = (str(result.outcome), result.reason)
    assert wrong.keys() == known.keys(), wrong
    assert count == total
