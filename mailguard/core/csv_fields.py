"""CSV as a sink (RFC 4180): fields that no spreadsheet takes for a formula, and lines of them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

_FORMULA = re.compile(r'(^|[;\t\r\n])([ "\']*)(?=[=+\-@\t\r\n＝＋－＠])')
"""Where a cell could begin with a sign that starts a formula.

A comma-separated file that is opened where the list separator is a semicolon is cut at semicolons, in quoted fields too.
"""


def csv_cell(text: str) -> str:
    """`text` as a field that no spreadsheet takes for a formula: an apostrophe stands before each sign that could start one.

    For foreign text. Numbers of our own, with their minus signs, go as they are.
    """
    return _FORMULA.sub(r"\1'\2", text)


def csv_line(fields: Iterable[str]) -> str:
    """The fields as one record, quoted where they must be, without the line break at its end."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(fields)  # its line breaks are what the writer quotes fields for
    return line.getvalue().removesuffix("\r\n")
