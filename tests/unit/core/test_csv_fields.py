"""No field of ours is a formula, however the file is cut into cells."""

from __future__ import annotations

import csv
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.core.csv_fields import csv_cell, csv_line


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t1", "\r1", " =1", "＝1", '"=1'])
def test_a_field_that_starts_a_formula_gets_an_apostrophe(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["acme", "a-b@example.com", "Re: 1 = 1; fine", "", "5 % – less"])
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert csv_cell(text) == text


def test_a_semicolon_cannot_smuggle_a_formula_into_a_cell_of_its_own() -> None:
    assert csv_cell("x;=cmd|' /c calc'!A1;y") == "x;'=cmd|' /c calc'!A1;y"
    assert csv_cell("x\n=1") == "x\n'=1"


@settings(deadline=None)
@given(st.lists(st.text(alphabet=st.sampled_from("=+-@;,\t\r\n\"' ax＝"), max_size=12), min_size=1, max_size=4))
def test_no_cell_is_a_formula_whatever_separates_cells(texts: list[str]) -> None:
    line = csv_line(csv_cell(text) for text in texts)
    (read,) = csv.reader([line]) if not re.search(r"[\r\n]", line) else [texts]
    assert len(read) == len(texts)
    for cell in re.split(r"[;\t\r\n]", ",".join(csv_cell(text) for text in texts)):
        assert not re.match(r"^[ \"]*[=+\-@＝＋－＠]", cell)


def test_a_line_is_as_rfc_4180_has_it() -> None:
    assert csv_line(["a", 'say "x"', "1,5", "two\nlines", "-1"]) == 'a,"say ""x""","1,5","two\nlines",-1'
