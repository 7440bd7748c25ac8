"""A result's line: what is read is what was signed, and nothing else is read."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.watch.probe_mark import sign
from mailguard.watch.probe_result import MailResult, RunResult, line_of, read

KEY = "k" * 32
MAIL = MailResult("clean", "01KAVT0000000000000000000A", "250 Ok", 1, 2, 3, True, "")
RESULT = RunResult(
    1,
    "01KAVT",
    "acme",
    1_764_000_000_000,
    "here",
    "mx:25",
    "c@client.test",
    True,
    True,
    True,
    True,
    None,
    2,
    3,
    "",
    (MAIL,),
)


def signed(data: object) -> str:
    """A line signed as one is, whatever it holds."""
    assert isinstance(data, dict)
    text = json.dumps(data, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return json.dumps({**data, "mac": sign(text, key=KEY)})


@given(
    detail=st.text(max_size=50),
    place=st.text(st.characters(codec="utf-8"), max_size=20),
    up=st.booleans(),
    stopped=st.sampled_from([True, False, None]),
    door=st.none() | st.integers(0, 1 << 40),
)
@settings(deadline=None)
def test_what_was_signed_is_read(detail: str, place: str, up: bool, stopped: bool | None, door: int | None) -> None:
    result = replace(RESULT, detail=detail, place=place, up=up, virus_stopped=stopped, door_ms=door)
    line = line_of(result, key=KEY)
    assert line.isascii()
    assert "\n" not in line
    assert read(line, key=KEY) == result
    assert read(json.dumps(json.loads(line), indent=1), key=KEY) == result  # however it is written


@pytest.mark.parametrize("field", [field.name for field in fields(RunResult)])
def test_no_field_can_be_changed(field: str) -> None:
    data = json.loads(line_of(RESULT, key=KEY))
    value = data[field]
    data[field] = not value if isinstance(value, bool) else [] if isinstance(value, list) else "x"
    with pytest.raises(ValueError, match="was not signed"):
        read(json.dumps(data), key=KEY)
    with pytest.raises(ValueError, match="was not signed"):
        read(line_of(RESULT, key="K" * 32), key=KEY)


def test_what_was_signed_but_is_no_result_is_told() -> None:
    good = asdict(RESULT)
    good["mails"] = [asdict(MAIL)]
    assert read(signed(good), key=KEY) == RESULT
    for change, word in (
        ({"v": 2}, "another version"),
        ({"at": "yesterday"}, "has a at"),
        ({"at": -1}, "has a at"),
        ({"at": 1 << 60}, "has a at"),
        ({"at": True}, "has a at"),
        ({"up": None}, "has a up"),
        ({"more": 1}, "more"),
        ({"mails": 1}, "no mails"),
        ({"mails": [{**asdict(MAIL), "ok": 1}]}, "has a ok"),
        ({"mails": [{}]}, "has not the fields"),
    ):
        with pytest.raises(ValueError, match=word):
            read(signed({**good, **change}), key=KEY)


@given(
    st.text(max_size=60)
    | st.sampled_from(['{"mac":1}', '{"mac":"\\ud800"}', "[" * 50_000, '{"mac":"","at":NaN}', "[]"])
)
@settings(deadline=None)
def test_nonsense_is_told_and_breaks_nothing(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a line|was not signed|is longer"):
        read(text, key=KEY)
