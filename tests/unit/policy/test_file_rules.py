"""Rules for attachments: which fits, which comes first, what a sender's word is worth, and how profiles say it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.core.decision import Action
from mailguard.core.envelope import Envelope, Session
from mailguard.core.tenant import Tenant
from mailguard.core.verdict import (
    Attachment,
    AuthMethod,
    AuthOutcome,
    AuthResult,
    CheckResult,
    Findings,
    Ground,
    Symbol,
)
from mailguard.policy.decide import decide
from mailguard.policy.file_rules import STRICTNESS, FileRule
from mailguard.policy.profile import IGNORE, Policy, SymbolRule
from mailguard.policy.read import read_profiles
from mailguard.policy.score import score
from tests.unit.policy.building import NOW, to

DOCM = "application/vnd.ms-word.document.macroenabled.12"
PASS = AuthResult(AuthMethod.DMARC, AuthOutcome.PASS, "partner.example")
RULE = FileRule("r", Action.REJECT)


def file(name: str = "a.docm", **facts: object) -> Attachment:
    """An attached file."""
    values = {"declared_type": DOCM, "true_type": DOCM, "size": 1_000, "sha256": f"sha of {name}", **facts}
    return Attachment(name, **values)  # type: ignore[arg-type]


def decided(
    *files: Attachment,
    rules: tuple[FileRule, ...] = (),
    author: str = "",
    auth: tuple[AuthResult, ...] = (),
    symbols: tuple[str, ...] = (),
    waited: int = 0,
    client: str = "192.0.2.1",
    policy: Policy | None = None,
) -> tuple[Action, str]:
    """What a mail with these files gets, and the explanation."""
    policy = policy or Policy(file_rules=rules)
    found = Findings(
        (CheckResult("c", auth=auth, symbols=tuple(map(Symbol, symbols))),), attachments=files, from_address=author
    )
    verdict = score(
        found,
        tenant=Tenant(2, "acme"),
        policy=policy,
        envelope=Envelope("01J8ZQ4W2M7T5RKX3F9C1B6NDE", ""),
        session=Session("s", client),
        now_ms=NOW,
        waited_ms=waited,
    )
    decision = decide(verdict, policy, to())
    return decision.action, decision.explanation


# One rule that rejects, one file → whether it fits.
@pytest.mark.parametrize(
    ("conditions", "one", "fits"),
    [
        ({"symbols": frozenset({"OFFICE_MACRO", "X"})}, file(found=("OFFICE_MACRO",)), True),
        ({"symbols": frozenset({"OFFICE_MACRO"})}, file(found=("OTHER",)), False),
        ({"types": ("application/vnd.ms-*",)}, file(), True),
        ({"types": ("application/vnd.ms-*",)}, file(declared_type="image/png"), True),
        ({"types": ("image/*",)}, file(declared_type="Image/PNG"), True),
        ({"types": ("application/vnd.ms-excel*",)}, file(), False),
        ({"extensions": frozenset({"docm"})}, file("x.zip/b.DOCM ", depth=1), True),
        ({"extensions": frozenset({"docm"})}, file("b.docm.txt"), False),
        ({"larger": 999}, file(), True),
        ({"larger": 1_000}, file(), False),
        ({"within": True}, file("b.zip/a.docm", depth=1), True),
        ({"within": True}, file(), False),
        ({"within": False}, file(), True),
        ({"within": False}, file("b.zip/a.docm", depth=1), False),
        ({"extensions": frozenset({"docm"}), "larger": 1_000}, file(), False),
        ({"extensions": frozenset({"docm"}), "symbols": frozenset({"X"})}, file(found=("X",)), True),
    ],
)
def test_all_conditions_must_hold(conditions: dict[str, object], one: Attachment, fits: bool) -> None:
    rule = FileRule("r", Action.REJECT, **conditions)  # type: ignore[arg-type]
    assert (decided(one, rules=(rule,))[0] is Action.REJECT) is fits


def test_conditions_must_hold_for_one_and_the_same_file() -> None:
    rule = FileRule("big macros", Action.REJECT, extensions=frozenset({"docm"}), larger=10_000)
    assert decided(file("a.docm"), file("b.pdf", size=20_000), rules=(rule,))[0] is Action.DELIVER
    assert decided(file("a.docm", size=20_000), rules=(rule,)) == (
        Action.REJECT,
        "attachment a.docm by rule big macros",
    )


def test_the_first_rule_that_fits_decides_before_the_lists_but_never_before_malware() -> None:
    rules = (
        FileRule("ours", IGNORE, symbols=frozenset({"OURS"})),
        FileRule("any", Action.REJECT, extensions=frozenset({"exe"})),
    )
    program = file("a.exe", true_type="application/x-dosexec", found=("OURS", "UNPACK_BROKEN"))
    assert decided(program, rules=rules)[0] is Action.DELIVER
    assert decided(program, file("b.exe"), rules=rules)[0] is Action.REJECT
    assert decided(program, rules=rules[1:])[0] is Action.REJECT
    assert decided(program)[0] is Action.QUARANTINE
    found = Findings((CheckResult("c", malware=("E",)),), attachments=(program,))
    policy = Policy(file_rules=rules)
    envelope = Envelope("01J8ZQ4W2M7T5RKX3F9C1B6NDE", "")
    session = Session("s", "192.0.2.1")
    verdict = score(found, tenant=Tenant(2, "a"), policy=policy, envelope=envelope, session=session, now_ms=NOW)
    assert decide(verdict, policy, to()).action is Action.QUARANTINE


PARTNER = FileRule("partner", IGNORE, extensions=frozenset({"docm"}), senders=("partner.example", "198.51.100.0/24"))
MACROS = FileRule("macros", Action.QUARANTINE, extensions=frozenset({"docm"}))


@pytest.mark.parametrize(
    ("author", "auth", "client", "action"),
    [
        ("ann@partner.example", (PASS,), "192.0.2.1", Action.DELIVER),
        ("ann@partner.example", (), "192.0.2.1", Action.QUARANTINE),
        ("ann@partner.example", (), "198.51.100.9", Action.DELIVER),
        ("ann@other.example", (PASS,), "192.0.2.1", Action.QUARANTINE),
    ],
)
def test_only_an_authenticated_sender_loosens(
    author: str, auth: tuple[AuthResult, ...], client: str, action: Action
) -> None:
    assert decided(file(), rules=(PARTNER, MACROS), author=author, auth=auth, client=client)[0] is action
    others = (FileRule("macros", Action.QUARANTINE, extensions=frozenset({"docm"}), others=PARTNER.senders),)
    assert decided(file(), rules=others, author=author, auth=auth, client=client)[0] is action


def test_a_sender_is_taken_at_its_word_to_its_disadvantage() -> None:
    rival = FileRule("rival", Action.REJECT, senders=("rival.example",))
    assert decided(file(), rules=(rival,), author="eve@rival.example")[0] is Action.REJECT
    but_rival = FileRule("fine", IGNORE, extensions=frozenset({"docm"}), others=("rival.example",))
    rules = (but_rival, MACROS)
    assert decided(file(), rules=rules, author="eve@rival.example")[0] is Action.QUARANTINE
    assert decided(file(), rules=rules, author="ann@other.example")[0] is Action.DELIVER


def test_a_declared_type_loosens_nothing() -> None:
    pictures = FileRule("pictures", IGNORE, types=("image/*",))
    program = file("a.exe", declared_type="image/png", true_type="application/x-dosexec")
    assert decided(program, rules=(pictures,))[0] is Action.QUARANTINE


def test_a_hold_gives_way_when_its_time_is_over() -> None:
    hold = FileRule("new", Action.HOLD, extensions=frozenset({"docm"}))
    policy = Policy(file_rules=(hold,), hold_for=1_000)
    assert decided(file(), policy=policy) == (Action.HOLD, "attachment a.docm by rule new")
    assert decided(file(), policy=policy, waited=999)[0] is Action.HOLD
    assert decided(file(), policy=policy, waited=1_000)[0] is Action.DELIVER
    then = Policy(file_rules=(FileRule("new", Action.HOLD, extensions=frozenset({"docm"}), then=Action.TAG),))
    assert decided(file(), policy=then, waited=4 * 3_600_000)[0] is Action.TAG


def test_what_cannot_be_looked_into_has_its_own_action() -> None:
    closed = file("a.zip", found=("ARCHIVE_ENCRYPTED",))
    policy = Policy(uninspectable=Action.QUARANTINE)
    assert decided(closed, policy=policy) == (
        Action.QUARANTINE,
        "attachment a.zip cannot be looked into (ARCHIVE_ENCRYPTED)",
    )
    assert decided(symbols=("CLAMAV_ENCRYPTED",), policy=policy)[0] is Action.QUARANTINE
    # A symbol with an action of its own is left to that; so is what a file's facts account for.
    own = Policy(uninspectable=Action.QUARANTINE, symbols={"CLAMAV_LIMIT": SymbolRule(action=Action.TAG)})
    assert decided(symbols=("CLAMAV_LIMIT",), policy=own)[0] is Action.TAG
    opened = file("a.zip", found=("ARCHIVE_PASSWORD",))
    assert decided(opened, symbols=("CLAMAV_ENCRYPTED",), policy=policy)[0] is Action.DELIVER
    trusted = Policy(uninspectable=Action.QUARANTINE, file_rules=(FileRule("t", IGNORE, senders=("192.0.2.0/24",)),))
    assert decided(file("a.7z"), symbols=("CLAMAV_ENCRYPTED",), policy=trusted)[0] is Action.DELIVER
    assert decided(file("a.7z"), symbols=("CLAMAV_ENCRYPTED",), policy=trusted, client="203.0.113.1")[0] is (
        Action.QUARANTINE
    )
    assert decided(symbols=("CLAMAV_LIMIT",), policy=Policy(uninspectable=Action.STRIP))[0] is Action.QUARANTINE


def test_a_file_within_an_archive_leads_to_the_attachment() -> None:
    files = (
        file("a.zip", true_type="application/zip"),
        file("a.zip/b.zip", depth=1),
        file("a.zip/b.zip/c.exe", depth=2),
        file("d.txt"),
        Attachment("e.zip", "", "application/zip", 9, "e"),
        Attachment("e.zip/f.exe", "", "", 9, ""),  # as older releases recorded it
    )
    found = Findings(attachments=files)
    policy = Policy()
    envelope, session = Envelope("01J8ZQ4W2M7T5RKX3F9C1B6NDE", ""), Session("s", "192.0.2.1")
    verdict = score(found, tenant=Tenant(2, "a"), policy=policy, envelope=envelope, session=session, now_ms=NOW)
    assert [(one.name, one.ground, one.root, one.sha256) for one in verdict.ruled_files] == [
        ("a.zip/b.zip/c.exe", Ground.LIST, "a.zip", "sha of a.zip"),
        ("e.zip/f.exe", Ground.LIST, "e.zip", "e"),
    ]


rules = st.builds(
    FileRule,
    name=st.just("r"),
    action=st.sampled_from([IGNORE, Action.TAG, Action.STRIP, Action.QUARANTINE, Action.REJECT, Action.HOLD]),
    extensions=st.sampled_from([frozenset(), frozenset({"exe"}), frozenset({"docm"})]),
    types=st.sampled_from([(), ("image/*",), ("application/*",)]),
    senders=st.sampled_from([(), ("partner.example",)]),
    others=st.sampled_from([(), ("partner.example",), ("other.example",)]),
)
files = st.builds(
    file,
    st.sampled_from(["a.exe", "b.docm", "c.png"]),
    declared_type=st.sampled_from(["image/png", "application/pdf"]),
    true_type=st.sampled_from(["image/png", "application/pdf"]),
)


@settings(deadline=None)
@given(st.lists(rules, max_size=4).map(tuple), st.lists(files, min_size=1, max_size=3))
def test_to_forge_a_name_never_makes_it_milder(some: tuple[FileRule, ...], attached: list[Attachment]) -> None:
    """Whoever writes as a partner without proof gets no less than a stranger does."""
    forged = decided(*attached, rules=some, author="x@partner.example")[0]
    stranger = decided(*attached, rules=some, author="x@stranger.example")[0]
    assert STRICTNESS[forged] >= STRICTNESS[stranger]


@settings(deadline=None)
@given(st.lists(rules, max_size=4).map(tuple), files, files)
def test_one_more_file_never_makes_it_milder(some: tuple[FileRule, ...], one: Attachment, more: Attachment) -> None:
    assert STRICTNESS[decided(one, more, rules=some)[0]] >= STRICTNESS[decided(one, rules=some)[0]]


# --- in files --------------------------------------------------------------------------------------------------------


def profiles(directory: Path, **texts: str) -> tuple[dict[str, Policy], list[str]]:
    """Profiles by name, and what is wrong."""
    for name, text in {"default": "", **texts}.items():
        (directory / f"{name}.yaml").write_text(text)
    found, problems = read_profiles(directory)
    return found, [str(problem) for problem in problems]


WRONG = {
    "- {action: tag}": "must say which files: symbols, types, extensions, larger, senders, not_senders or within_archives",
    "- {extensions: [exe], action: delete}": "'delete' is not one of",
    "- {extensions: ['*.exe'], action: tag}": "must be an extension such as exe",
    "- {larger: big, action: tag}": "'big' must be a size such as 10MB, 512KiB or 1000000 (octets)",
    "- {types: [pdf], action: tag}": "'pdf' must be a MIME type such as application/pdf or application/vnd.ms-*",
    "- {sender: [a.example], action: tag}": "unknown key; did you mean senders?",
    "- {senders: ['a b'], action: tag}": "must be an address",
    "- {symbols: [macro], action: tag}": "must be the name of a symbol",
    "- {extensions: [exe], action: tag, then: tag}": "then is for action hold alone",
    "- {extensions: [exe], action: hold, then: reject}": "'reject' is not one of",
    "- {action: none}": "action none takes an inherited rule back",
    "- {within_archives: 'sometimes', action: tag}": "must be true or false",
}


@pytest.mark.parametrize(("rule", "told"), WRONG.items())
def test_mistakes_are_told_at_their_path(tmp_path: Path, rule: str, told: str) -> None:
    _, problems = profiles(tmp_path, acme=f"extends: default\nattachments:\n  rules:\n    {rule}\n")
    assert len(problems) == 1
    assert problems[0].startswith("acme.yaml:4 attachments.rules[0]")
    assert told in problems[0]


def test_wrong_times_are_told(tmp_path: Path) -> None:
    _, problems = profiles(tmp_path, acme="attachments: {hold_for: 8d}")
    assert problems == ["acme.yaml:1 attachments.hold_for: '8d' must be a time span such as 30m, 4h or 2d, 7d at most"]


def test_own_rules_stand_before_inherited_ones(tmp_path: Path) -> None:
    found, problems = profiles(
        tmp_path,
        base=(
            "attachments:\n  rules:\n    - {name: macros, extensions: [docm], action: quarantine}\n"
            "    - {name: films, types: [video/*], larger: 20MiB, action: strip}\n    - {larger: 1GB, action: reject}\n"
        ),
        acme=(
            "extends: base\nattachments:\n  rules:\n    - {name: partner, senders: [p.example], action: ignore}\n"
            "    - {name: films, action: none}\n"
        ),
        again="extends: acme\nattachments: {hold_for: 90s, uninspectable: strip}",
    )
    assert not problems
    assert [rule.name for rule in found["acme"].file_rules] == ["partner", "macros", "#4"]
    assert found["base"].file_rules[1].larger == 20 * 2**20
    assert found["again"].file_rules == found["acme"].file_rules
    assert (found["again"].hold_for, found["again"].uninspectable) == (90_000, Action.STRIP)
    assert found["again"].hash != found["acme"].hash != found["base"].hash
