"""YARA rules in a real process of the sandbox, which can neither make code nor open files any more."""

from __future__ import annotations

from pathlib import Path

from mailguard.checks.yara_file import load_yara
from mailguard.sandbox.values import Limits, Outcome
from tests.unit.sandbox.test_pool import pool_of, value

REGISTRY = "mailguard.sandbox.registry"


def found(answer_value: object) -> list[list[str]]:
    assert isinstance(answer_value, list)
    return [one for file in answer_value for one in file["found"] if one[0].startswith("YARA_")]


async def test_rules_are_loaded_before_the_process_closes_and_renewed_with_it(tmp_path: Path) -> None:
    rule = 'import "pe" import "math" rule R {{ meta: description = "r" score = 1 strings: $a = "{}" condition: $a and not pe.is_pe }}'
    async with pool_of(Limits(), registry=REGISTRY) as pool:
        for word in ("first", "second"):
            (tmp_path / "own.yar").write_text(rule.format(word))
            pool.renew(options={}, material=load_yara(tmp_path).compiled)
            for raw, expected in ((b"the first", "first"), (b"the second", "second")):
                answer = value(await pool.run("unpack.tree", raw, {"name": "a.txt"}))
                assert found(answer["files"]) == ([["YARA_R", "$a"]] if word == expected else [])


async def test_a_rule_that_never_ends_costs_its_process_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "own.yar").write_text(
        'rule R { meta: description = "r" score = 1 condition: for all i in (1..filesize * 100000) : '
        "(for all j in (1..filesize * 100000) : (uint8(i % j) < 256)) and filesize > 0 }"
    )
    async with pool_of(Limits(cpu_seconds=0.5), registry=REGISTRY) as pool:
        pool.renew(options={}, material=load_yara(tmp_path).compiled)
        answer = await pool.run("unpack.tree", b"x" * 100_000, {})
        assert answer.outcome is Outcome.CPU
