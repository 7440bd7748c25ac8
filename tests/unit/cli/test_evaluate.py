"""`mailguard evaluate`: what it prints and writes, which mail counts, and what it says of wrong arguments."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from mailguard.cli.several import spread
from tests.servers.ports import free_port
from tests.unit.cli.conftest import Run

RULES = """\
rules:
  - name: WINNER
    description: somebody has won
    score: 9.0
    where: subject
    patterns: 'winner'
    hits: ['a winner']
    misses: ['a loser']
  - name: LISTED
    description: it says that it is from a list
    score: 6.0
    where: header
    header: List-Id
    patterns: '.'
    hits: ['x']
    misses: ['']
"""


def message(subject: str, *, extra: str = "", day: int = 1) -> str:
    return (
        f"From: Ann <ann@a.test>\nTo: b@client.test\nDate: Mon, {day} Nov 2026 10:00:00 +0000\n{extra}Subject: {subject}\n"
        f"Message-ID: <{day}@a.test>\n\nSome text.\n"
    )


@pytest.fixture
def corpus(tmp_path: Path, config: Path) -> Path:
    """Two sources of ham, one with families, and one of spam, with a rule that knows most of it."""
    with config.open("a") as file:  # what the other checks make of these mails is not the matter here
        file.write('[checks]\nenabled = ["spf", "dkim", "dmarc", "rules"]\n')
    (tmp_path / "policies" / "rules").mkdir()
    (tmp_path / "policies" / "rules" / "own.yaml").write_text(RULES)
    mails = {
        "ham/notes/ham/1.eml": message("Notes", day=1),
        "ham/notes/ham/2.eml": message("Notes", extra="List-Id: <l.test>\n", day=3),
        "ham/shops/ham/1.eml": message("You are a winner", day=5),
        "spam/1.eml": message("Be a winner", day=2),
        "spam/2.eml": message("Be a winner now", day=4),
        "spam/3.eml": message("Hello", day=6),
    }
    for name, text in mails.items():
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    lines = [
        {"file": "spam/1.eml", "spf": "pass", "dmarc": "pass", "mail_from": "ann@a.test"},
        {"file": "spam/2.eml", "spf": "fail", "dmarc": "bestguesspass", "mail_from": "ann@a.test"},
    ]
    (tmp_path / "set" / "envelope.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path / "set"


def arguments(corpus: Path, *more: str) -> list[str]:
    return ["evaluate", "--ham", str(corpus / "ham"), "--spam", str(corpus / "spam"), "--jobs", "1", *more]


def test_the_report(mailguard: Run, corpus: Path) -> None:
    done = mailguard(*arguments(corpus))
    assert done.code == 0, done.err
    assert f"| {corpus / 'ham'} | 3 | 33.33 % (1; 0.84–90.57) | 33.33 % (1; 0.84–90.57) |" in done.out
    assert f"| {corpus / 'spam'} | 3 | 66.67 % (2; 9.43–99.16) |" in done.out
    assert f"| {corpus / 'ham'}: shops | 1 | 100.00 % (1; 2.50–100.00) |" in done.out
    assert "| `WINNER` | rules | +9.00 | 33.33 % | 66.67 % |" in done.out
    positive = done.out.index("### False positives")
    negative = done.out.index("### False negatives")
    assert positive < done.out.index(f"`{corpus / 'ham/shops/ham/1.eml'}`") < negative
    assert negative < done.out.index(f"`{corpus / 'spam/3.eml'}`")
    assert "LISTED" not in done.out
    assert "CPU: median" in done.out


def test_json_and_files_say_the_same(mailguard: Run, corpus: Path, tmp_path: Path) -> None:
    out, plot = tmp_path / "out", tmp_path / "curve.svg"
    found = mailguard(*arguments(corpus, "--json", "--out", str(out), "--plot", str(plot))).json
    (run,) = found["runs"]
    assert run["ham"]["reached"]["quarantine"]["count"] == 1
    # Of 9 pairs: the ham of 9 ties with two spams and is over one; two hams tie with the spam that nothing knows.
    assert run["spam"]["roca_percent"] == pytest.approx(100 * (1 + 4 / 2) / 9, abs=0.01)
    assert json.loads((out / "report.json").read_text()) == found
    assert "33.33 % (1;" in (out / "report.md").read_text()
    rows = [line.split("\t") for line in (out / "scores.tsv").read_text().splitlines()]
    assert rows[0] == ["path", "source", "label", "score", "action", "symbols"]
    assert [row[2] for row in rows[1:]] == ["ham"] * 3 + ["spam"] * 3
    assert rows[3][3:5] == ["9.000", "quarantine"]
    assert plot.read_text() == (out / "roc.svg").read_text()
    assert plot.read_text().startswith("<svg ")


def test_fields_that_tell_are_kept_on_request(mailguard: Run, corpus: Path) -> None:
    for more in (["--keep-leaks"], ["--keep", "List-*", "X-Other"]):
        assert "| `LISTED` | rules | +6.00 | 33.33 % | 0.00 % |" in mailguard(*arguments(corpus, *more)).out
    assert "WINNER" not in mailguard(*arguments(corpus, "--drop", "Subject")).out


def test_the_three_arms(mailguard: Run, corpus: Path) -> None:
    recorded = ["--envelope", str(corpus / "envelope.jsonl"), "--json"]

    def spam(*more: str) -> tuple[int, set[str]]:
        (run,) = mailguard(*arguments(corpus, *recorded, *more)).json["runs"]
        return run["spam"]["n"], {use["name"] for use in run["symbols"]}

    n, symbols = spam()
    assert n == 3
    assert {"SPF_PASS", "SPF_FAIL", "DMARC_PASS", "DMARC_NONE"} <= symbols
    n, symbols = spam("--dmarc-pass-only")
    assert n == 1
    assert "SPF_FAIL" not in symbols
    n, symbols = spam("--no-auth")
    assert n == 3
    assert not {name for name in symbols if name.startswith(("SPF", "DMARC"))}
    assert spam("--no-auth", "--dmarc-pass-only")[0] == 1


def test_online_learns_in_the_order_of_dates(mailguard: Run, corpus: Path) -> None:
    found = mailguard(*arguments(corpus, "--online", "--block", "2", "--json")).json["online"]
    assert found["told"] == 5
    assert [(block["first"], block["static"]["spam"]["n"]) for block in found["blocks"]] == [(1, 1), (3, 1), (5, 1)]
    assert "Told of 5 of 6 mails" in mailguard(*arguments(corpus, "--online")).out
    index = corpus / "index"
    index.write_text("spam spam/1.eml\nham ham/notes/ham/1.eml\n")
    done = mailguard("evaluate", "--online", "--index", str(index), "--feedback-delay", "1d", "--jobs", "1", "--json")
    assert done.json["online"]["static"]["spam"]["n"] == done.json["online"]["static"]["ham"]["n"] == 1


def test_a_sample_is_spread_evenly(mailguard: Run, corpus: Path) -> None:
    (run,) = mailguard(*arguments(corpus, "--sample", "2", "--json")).json["runs"]
    assert (run["ham"]["n"], run["spam"]["n"]) == (2, 2)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ([], "give folders"),
        (["--ham", "/nowhere"], "/nowhere: is no folder"),
        (["--ham", "HAM", "--envelope", "ENVELOPE"], "names none of these messages"),
        (["--ham", "HAM", "--spam", "HAM", "--dmarc-pass-only"], "of no spam is it recorded"),
        (["--ham", "HAM", "--index", "x"], "goes with --online"),
        (["--ham", "HAM", "--index", "x", "--online"], "names all mail"),
        (["--ham", "HAM", "--online", "--feedback-delay", "soon"], "not a time span"),
        (["--ham", "HAM", "--keep-leaks", "--keep", "X"], "goes without --keep-leaks"),
        (["--ham", "HAM", "--policy", "missing"], "missing"),
    ],
)
def test_wrong_arguments(mailguard: Run, corpus: Path, more: Sequence[str], says: str) -> None:
    given = [
        one.replace("HAM", str(corpus / "ham")).replace("ENVELOPE", str(corpus / "envelope.jsonl")) for one in more
    ]
    done = mailguard("evaluate", *given, "--jobs", "1")
    assert done.code == 2
    assert says in done.err


def test_a_filter_that_is_away_is_named(mailguard: Run, corpus: Path) -> None:
    done = mailguard(*arguments(corpus, "--baseline", "rspamd", "--rspamd-address", f"127.0.0.1:{free_port()}"))
    assert done.code == 2
    assert "--rspamd-address" in done.err
    assert "cannot be reached" in done.err


def test_several_values_of_one_option() -> None:
    repeated = ["--ham", "--spam"]
    assert spread(["--ham", "a", "b", "--json", "--spam", "c", "--jobs", "1"], repeated) == [
        "--ham", "a", "--ham", "b", "--json", "--spam", "c", "--jobs", "1",
    ]  # fmt: skip
    assert spread(["--ham", "a", "--ham", "b"], repeated) == ["--ham", "a", "--ham", "b"]
    assert spread(["--ham=a", "--jobs", "1"], repeated) == ["--ham=a", "--jobs", "1"]
