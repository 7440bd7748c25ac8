"""Content rules: where patterns are looked for, how rules combine, what is wrong with a file of rules, and the rules we ship."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from textwrap import dedent

import pytest

from mailguard.checks.rules import PLACES, Rule, Rules, RulesCheck
from mailguard.checks.rules_file import RulesFiles, load_rules
from mailguard.core.errors import ConfigError
from mailguard.core.verdict import CheckResult, Symbol
from tests.unit.checks.contexts import PLAIN, context

SHIPPED = Path(__file__).parents[3] / "policies" / "rules"
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*" + "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

MAIL = (
    b"""\
From: "Ceo@Bank.example" <a@b.example>
To: c@d.example
Date: today
Message-ID: <1@b.example>
Subject: =?utf-8?q?F=C3=BCr_you?=
List-Id: first
List-Id: second list
Content-Type: multipart/mixed; boundary=x

--x
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: base64

"""
    + base64.encodebytes("Plain wörds http://p.example/x\nsecond line".encode())
    + b"""
--x
Content-Type: text/html

<b>html</b> words <a href="https://h.example/?q=1">Shown text</a>
--x
Content-Type: application/pdf; name="Invoice.PDF"

x
--x--
"""
)


def matches(place: str, pattern: str, raw: bytes = MAIL, **more: str) -> tuple[str, ...] | None:
    """What `pattern` finds in a place; None when it finds nothing."""
    rules = Rules([Rule("R", "", 1.0, (place,), (pattern,))])
    return rules.match(context(raw.replace(b"\n", b"\r\n"), **more)).get("R")


@pytest.mark.parametrize(
    ("place", "pattern", "evidence"),
    [
        ("subject", "(?i)^für YOU$", "Für you"),
        ("from", '^"Ceo@Bank', '"Ceo@Bank'),
        ("header:list-id", "(?m)^second.*$", "second list"),
        ("header:no-such", ".", None),
        ("body", "wörds", "wörds"),
        ("body", "html words Shown", "html words Shown"),
        ("body", "(?m)^second line$", "second line"),
        ("html", "<b>html", "<b>html"),
        ("raw", "--x--", "--x--"),
        ("raw", "wörds", None),  # encoded
        ("raw", "List-Id", None),  # the header is no body
        ("url", r"(?m)^http://p\.example/x$", "http://p.example/x"),
        ("url", r"q=1", "q=1"),
        ("link_text", "(?m)^Shown text$", "Shown text"),
        ("mail_from", "^a@b", "a@b"),
        ("helo", "^mail", "mail"),
        ("attachment", r"\.PDF$", ".PDF"),
        ("structure", "(?m)^missing:", None),
    ],
)
def test_places(place: str, pattern: str, evidence: str | None) -> None:
    assert matches(place, pattern) == (None if evidence is None else (evidence,))


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b"Subject: x\n\nx", "missing:date"),
        (b"From: a@b\nFrom: a@b\n\nx", "repeated:from"),
        (b"From: a@b, c@d\n\nx", "several:from"),
        (b"From: nobody\n\nx", "no-address:from"),
        (b"Content-Type: text/html\n\n<p>x", "html-only"),
        (b"Content-Type: application/pdf\n\nx", "no-text"),
        (b"Content-Type: multipart/mixed; boundary=x\n\nx", "defect:boundary_not_found"),
        (b"Content-Type: text/html\n\n" + b"<i>" * 9_000, "html-too-complex"),
    ],
)
def test_structure(raw: bytes, line: str) -> None:
    assert matches("structure", f"(?m)^{line}$", raw) == (line,)


def test_every_place_has_a_text() -> None:
    for place in PLACES:
        matches("header:subject" if place == "header" else place, "x")


def test_octets_that_are_no_utf8_do_no_harm() -> None:
    assert matches("raw", "needle", b"Subject: x\n\n\xff\xfe needle \xc3") == ("needle",)
    assert matches("mail_from", "a@b", mail_from="\udcff a@b") == ("a@b",)


def test_combinations() -> None:
    parts = [Rule(f"_{name}", "", 0, ("body",), (f"word{name}",)) for name in "ABC"]
    combined = [
        Rule("ALL", "", 1, all_of=("_A", "_B")),
        Rule("ANY", "", 2, any_of=("_A", "_B")),
        Rule("NOT", "", 3, all_of=("_A",), none_of=("_C",)),
        Rule("OF_COMBINED", "", 4, all_of=("ALL",), any_of=("NOT", "_C")),
    ]
    rules = Rules([*parts, *combined])

    def names(body: bytes) -> list[str]:
        return [symbol.name for symbol in rules.symbols(context(b"Subject: x\r\n\r\n" + body))]

    assert names(b"none") == []
    assert names(b"wordA") == ["ANY", "NOT"]
    assert names(b"wordA wordB") == ["ALL", "ANY", "NOT", "OF_COMBINED"]
    assert names(b"wordA wordB wordC") == ["ALL", "ANY", "OF_COMBINED"]
    assert names(b"wordC") == []


async def test_combinations_name_what_identity_says_and_never_report_it() -> None:
    rules = Rules(
        [
            Rule("BODY", "", 1, ("body",), ("body",)),
            Rule("FOREIGN", "", 2, all_of=("BODY",), none_of=("AUTHOR_AUTHENTIC",)),
            Rule("OWN", "", 3, all_of=("BODY", "AUTHOR_AUTHENTIC")),
        ]
    )
    check = RulesCheck(lambda: rules)
    identity = CheckResult("identity", symbols=(Symbol("AUTHOR_AUTHENTIC", -0.5, ""), Symbol("OTHER", 0, "")))

    async def names(results: dict[str, CheckResult]) -> list[str]:
        return [symbol.name for symbol in (await check.run(context(), results)).symbols]

    assert await names({}) == ["BODY", "FOREIGN"]  # it does not run, or failed
    assert await names({"identity": identity}) == ["BODY", "OWN"]


async def test_the_check_takes_the_rules_that_are_current() -> None:
    current = Rules()
    check = RulesCheck(lambda: current)
    assert (await check.run(context(), {})).symbols == ()
    current = Rules([Rule("BODY", "says body", 1.5, ("body",), ("body",))])
    assert (await check.run(context(), {})).symbols == (Symbol("BODY", 1.5, "says body", ("body",)),)


def test_a_hostile_text_takes_linear_time() -> None:
    rules = Rules([Rule(f"R{i}", "", 1, ("body",), (f"(?i)(a+)+{i}$|(x|y|xy)*z{i}",)) for i in range(50)])
    raw = b"Subject: x\r\n\r\n" + b"a" * 200_000 + b"xy" * 100_000
    started = time.process_time()
    assert rules.match(context(raw)) == {}
    assert time.process_time() - started < 1.0


# files


def problems(tmp_path: Path, text: str, **more: str) -> list[str]:
    (tmp_path / "a.yaml").write_text(dedent(text))
    for name, content in more.items():
        (tmp_path / f"{name}.yaml").write_text(dedent(content))
    try:
        load_rules(tmp_path)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


GOOD = """\
    rules:
      - name: GOOD
        description: good
        score: 1
        where: body
        patterns: good
        hits: [good]
"""


def test_a_good_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(dedent(GOOD))
    rules = load_rules(tmp_path)
    assert rules.rules == (Rule("GOOD", "good", 1.0, ("body",), ("(?im)good",)),)
    assert len(rules.hash) == 64
    assert load_rules(tmp_path / "a.yaml").hash == rules.hash


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("score: 1", "score: many"), "a.yaml:4 rules[0].score: 'many' must be a number"),
        (("score: 1", "score: 5000"), "a.yaml:4 rules[0].score: 5000 must be at most 1000.0"),
        (("score: 1", "scoer: 1"), "a.yaml:4 rules[0].scoer: unknown key; did you mean score?"),
        (("where: body", "where: bodi"), "a.yaml:5 rules[0].where[0]: 'bodi' is not one of"),
        (("where: body", "where: header"), "a.yaml:2 rules[0]: `where: header` and `header: NAME` go together"),
        (("patterns: good", "patterns: '(good'"), "a.yaml:6 rules[0].patterns[0]: is not a pattern of RE2: missing ): (?im)(good"),
        (("patterns: good", "patterns: '(?<=x)good'"), "a.yaml:6 rules[0].patterns[0]: is not a pattern of RE2: invalid perl operator"),
        (("patterns: good", "patterns: 'g*'"), "a.yaml:6 rules[0].patterns[0]: matches the empty text"),
        (("hits: [good]", "hits: [bad]"), "a.yaml:7 rules[0].hits[0]: 'bad' should match, but does not"),
        (("hits: [good]", "hits: [good]\n        misses: [goodly]"), "a.yaml:8 rules[0].misses[0]: 'goodly' should not match, but does"),
        (("hits: [good]", ""), "a.yaml:2 rules[0]: needs `hits`"),
        (("description: good", ""), "a.yaml:2 rules[0].name: needs a description"),
        (("name: GOOD", "name: good"), "a.yaml:2 rules[0].name: 'good' must match"),
        (("patterns: good", "patterns: [good, other]"), "a.yaml:6 rules[0].patterns[1]: no example in `hits` matches it"),
        (("patterns: good", "patterns: good\n        all_of: [GOOD]"), "a.yaml:2 rules[0]: needs either patterns, or all_of"),
        (("rules:", "rules: ["), "a.yaml:2: is not YAML"),
        (("rules:", "ruls:"), "a.yaml:1 ruls: unknown key; did you mean rules?"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, change: tuple[str, str], expected: str) -> None:
    found = problems(tmp_path, GOOD.replace(*change))
    assert any(problem.startswith(expected) for problem in found), found


def test_all_problems_of_all_files_are_said_at_once(tmp_path: Path) -> None:
    combination = "rules:\n  - {name: CC, description: x, all_of: [NOBODY, GOOD]}\n  - {name: GOOD, description: x, any_of: [CC]}\n"
    found = problems(tmp_path, GOOD.replace("patterns: good", "patterns: '('"), b=combination, c="rules: 1")
    assert len(found) == 4
    assert found[1].startswith("b.yaml:3 rules[1].name: there is a rule GOOD already, at a.yaml:2")
    assert found[2].startswith("c.yaml:1 rules: 1 must be a list")
    assert found[3].startswith("b.yaml:2 rules[0].all_of[0]: there is no rule NOBODY")


def test_rules_combine_only_those_before_them(tmp_path: Path) -> None:
    text = "rules:\n  - {name: AA, description: x, all_of: [BB]}\n  - {name: BB, description: x, all_of: [AA]}\n"
    assert problems(tmp_path, text) == ["a.yaml:2 rules[0].all_of[0]: BB must stand before the rules that combine it"]


def test_rules_combine_symbols_of_identity_and_have_none_of_their_names(tmp_path: Path) -> None:
    text = "rules:\n  - {name: AA, description: x, none_of: [AUTHOR_AUTHENTIC]}\n"
    assert problems(tmp_path, text) == []
    assert problems(tmp_path, text.replace("AUTHOR_AUTHENTIC", "AUTHOR_AUTENTIC")) == [
        "a.yaml:2 rules[0].none_of[0]: there is no rule AUTHOR_AUTENTIC; did you mean AUTHOR_AUTHENTIC?"
    ]
    (named,) = problems(tmp_path, "rules:\n  - {name: AUTHOR_AUTHENTIC, description: x, none_of: [SPAM_URL]}\n")[:1]
    assert named.startswith("a.yaml:2 rules[0].name: AUTHOR_AUTHENTIC is a symbol of the identity check")


def test_a_change_that_does_not_pass_leaves_the_last_good_rules(tmp_path: Path) -> None:
    heard: list[int] = []
    files = RulesFiles(tmp_path, on_problems=lambda found: heard.append(len(found)))
    path = tmp_path / "a.yaml"
    path.write_text(dedent(GOOD))
    files.load()
    good = files.current
    assert not files.reload_if_changed()
    path.write_text("rules: [{name: XX}]")
    assert files.reload_if_changed()
    assert (files.current, heard) == (good, [2])
    assert not files.reload_if_changed()  # said once
    path.write_text(dedent(GOOD).replace("score: 1", "score: 2"))
    assert files.reload_if_changed()
    assert files.current.rules[0].score == 2


# what we ship


@pytest.fixture(scope="module")
def shipped() -> Rules:
    return load_rules(SHIPPED)


def test_the_shipped_rules_pass_their_own_examples(shipped: Rules) -> None:
    assert 120 <= len([rule for rule in shipped.rules if not rule.hidden]) <= 400
    assert all(rule.score <= 5 for rule in shipped.rules if rule.name != "GTUBE")


def test_an_ordinary_mail_matches_none(shipped: Rules) -> None:
    assert shipped.symbols(context(PLAIN)) == ()


@pytest.mark.parametrize(
    "raw",
    [
        PLAIN + GTUBE.encode() + b"\r\n",
        PLAIN.replace(b"Subject: x", b"Subject: " + GTUBE.encode()),
        PLAIN.replace(b"\r\n\r\n", b"\r\nContent-Type: text/html\r\n\r\n<p>" + GTUBE.replace("GTUBE", "<b>GTUBE</b>").encode()),
        PLAIN.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n") .replace(b"body", base64.b64encode(GTUBE.encode())),
    ],
    ids=["body", "subject", "html", "base64"],
)  # fmt: skip
def test_gtube_is_found_however_it_is_wrapped(shipped: Rules, raw: bytes) -> None:
    assert [(symbol.name, symbol.score) for symbol in shipped.symbols(context(raw)) if symbol.score > 100] == [
        ("GTUBE", 1000)
    ]


def test_a_service_that_shares_its_own_documents_lures_nobody(shipped: Rules) -> None:
    notice = PLAIN.replace(b"Subject: x", b"Subject: Ann shared a file by OneDrive with you")
    notice = notice.replace(b"body", b"Open it: https://northwind-my.sharepoint.com/:x:/g/abc")
    lures = {"LURE_ON_FREE_HOSTING", "DOCUMENT_SERVICE_ON_ODD_HOST"}
    assert lures <= {symbol.name for symbol in shipped.symbols(context(notice))}
    assert not lures & {symbol.name for symbol in shipped.symbols(context(notice), ["LINKS_ALL_OWN_AUTHENTIC"])}


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b"The sum of $15,500,000.00 is with me as next of kin.", {"ADVANCE_FEE"}),
        (b"Your account has been suspended. Verify your account: http://192.0.2.1/login.php", {"ACCOUNT_PHISH", "URL_IP_ADDRESS", "URL_CREDENTIAL_PAGE", "LURE_ON_ODD_HOST"}),
        (b"I recorded a video by your webcam. Pay to 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", {"EXTORTION_BITCOIN", "BITCOIN_ADDRESS"}),
        (b"View the invoice at https://abc.web.app/x#bob@client.example", {"URL_FREE_HOSTING", "LURE_ON_FREE_HOSTING", "URL_CARRIES_ADDRESS", "LURE_WITH_ADDRESS_IN_LINK"}),
        (b"Your mail\r\nbox is almost\r\nfull", {"MAILBOX_QUOTA"}),
        ("Your m\u0430ilb\u043ex is f\u200bull".encode(), {"MAILBOX_QUOTA"}),
        (b"The budget is $1,500,000 now. Bob", set()),
    ],
)  # fmt: skip
def test_examples(shipped: Rules, body: bytes, names: set[str]) -> None:
    mail = PLAIN.replace(b"\r\n\r\n", b"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n").replace(b"body", body)
    found = {symbol.name for symbol in shipped.symbols(context(mail))}
    assert found == names
