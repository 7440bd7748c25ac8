"""Profiles as files: every error at its line, `extends`, list files, reload with the last good ones kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.config.yaml_source import parse
from mailguard.core.decision import Action
from mailguard.core.errors import ConfigError, NotFoundError, Problem
from mailguard.core.tenant import ListEntry, ListKind
from mailguard.core.verdict import DmarcPolicy
from mailguard.policy.file_rules import FileRule
from mailguard.policy.files import PolicyFiles
from mailguard.policy.profile import IGNORE, Policy, SymbolRule, Threshold
from mailguard.policy.read import read_profiles
from mailguard.policy.shape import to_data

SHIPPED = Path(__file__).parents[3] / "policies"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes profiles by name (and list files by path) beside a plain default; gives the directory."""

    def write(files: dict[str, str] | None = None, /, **profiles: str) -> Path:
        (tmp_path / "lists").mkdir(exist_ok=True)
        for name, text in {"default": "", **profiles}.items():
            (tmp_path / f"{name}.yaml").write_text(text)
        for path, text in (files or {}).items():
            (tmp_path / path).write_text(text)
        return tmp_path

    return write


def problems(directory: Path) -> list[str]:
    return [str(problem) for problem in read_profiles(directory)[1]]


# --- the shipped profiles --------------------------------------------------------------------------------------------


def test_the_shipped_default_is_the_built_in_one() -> None:
    profiles, wrong = read_profiles(SHIPPED)
    assert not wrong
    assert profiles["default"].hash == Policy().hash


def test_strict_and_tag_only_build_on_default() -> None:
    profiles, _ = read_profiles(SHIPPED)
    strict, tag_only = profiles["strict"], profiles["tag-only"]
    assert strict.forbidden_extensions == profiles["default"].forbidden_extensions
    assert strict.uninspectable is Action.QUARANTINE
    assert tag_only.uninspectable is Action.TAG
    assert strict.failed_checks["clamav"] is Action.DEFER
    assert strict.malware is tag_only.malware is Action.QUARANTINE
    assert all(threshold.action is Action.TAG for threshold in tag_only.thresholds)
    assert {tag_only.deny_list, tag_only.forbidden_attachment, *tag_only.failed_checks.values()} == {Action.TAG}
    assert {rule.action for rule in tag_only.symbols.values()} == {Action.TAG}
    assert set(tag_only.dmarc.values()) == {Action.TAG, IGNORE}


# --- errors ----------------------------------------------------------------------------------------------------------

WRONG = """\
thresholds:
  - {score: x, action: tag}
  - {score: 1, acton: tag}
malwre: reject
malware: tag
malware: reject
dmarc: {none: ignore, reject: 25}
symbols:
  clam: {score: 3}
  X: 5
  Y: {score: .inf, action: bla}
attachments: {extensions: [no, exe, "*.x"]}
lists:
  deny:
    - a b
    - 5
  deny_files: [../x, /etc/passwd]
tags: {headers: maybe, subject: "a\\nb"}
retention:
failed_checks:
  clamav: reject
"""


def test_every_error_is_told_at_its_line(write: Write) -> None:
    assert problems(write(default=WRONG)) == [
        "default.yaml:6 malware: is given twice, first in line 5",
        "default.yaml:2 thresholds[0].score: 'x' must be a number",
        "default.yaml:3 thresholds[1].action: is missing",
        "default.yaml:3 thresholds[1].acton: unknown key; did you mean action?",
        "default.yaml:5 malware: 'tag' is not one of quarantine, reject, discard",
        "default.yaml:7 dmarc.reject: 25 is not one of ignore, tag, quarantine, reject",
        "default.yaml:12 attachments.extensions[0]: false must be text (in quotes)",
        "default.yaml:12 attachments.extensions[2]: '*.x' must be an extension such as exe, without dot or wildcard",
        "default.yaml:21 failed_checks.clamav: 'reject' is not one of ignore, tag, hold, defer",
        "default.yaml:9 symbols.clam: 'clam' must be the name of a symbol: capital letters, digits and underscores, "
        "such as SPF_FAIL",
        "default.yaml:10 symbols.X: 5 must be a table of keys and values",
        "default.yaml:11 symbols.Y.score: inf is not allowed: input should be a finite number",
        "default.yaml:11 symbols.Y.action: 'bla' is not one of ignore, tag, quarantine, reject, discard",
        "default.yaml:15 lists.deny[0]: 'a b' must be an address (a@b.example), a domain (b.example) or a range "
        "(192.0.2.0/24)",
        "default.yaml:16 lists.deny[1]: 5 must be text (in quotes)",
        "default.yaml:17 lists.deny_files[0]: '../x' must be a file in the lists directory beside the profiles, "
        "such as lists/deny.txt",
        "default.yaml:17 lists.deny_files[1]: '/etc/passwd' must be a file in the lists directory beside the profiles, "
        "such as lists/deny.txt",
        "default.yaml:18 tags.subject: 'a\\nb' must be at most 40 printable ASCII characters",
        "default.yaml:18 tags.headers: 'maybe' must be true or false",
        "default.yaml:19 retention: nothing must be a table of keys and values",
        "default.yaml:4 malwre: unknown key; did you mean malware?",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [\n b", "x.yaml:3: is not YAML"),
        ("- a", "x.yaml:1: ['a'] must be a table"),
        ("a: &x [*x]", "an alias holds itself"),
        ("? [a]\n: b", "x.yaml:1: a key must be a word"),
        ("a: 1\n---\nb: 2", "x.yaml:2: is not YAML: expected a single document"),
        ("description: 2026-13-45", "x.yaml: is not YAML"),
        ("description: !!python/object:os.system x", "is not YAML"),
        (
            "thresholds: [{score: 5, action: quarantine}, {score: 6, action: tag}]",
            "x.yaml:1 thresholds: must not be milder (tag) at a higher score (6)",
        ),
        (
            "thresholds: [{score: 5, action: tag}, {score: 5, action: tag}]",
            "x.yaml:1 thresholds: must be in order of rising score, each score once",
        ),
        ("extends: nowhere", "x.yaml:1 extends: there is no profile 'nowhere'; known are default, x"),
        ("extends: defualt", "x.yaml:1 extends: there is no profile 'defualt'; did you mean default?"),
        ("lists: {deny_files: [lists/none.txt]}", "lists.deny_files[0]: 'lists/none.txt' cannot be read"),
    ],
)
def test_what_is_wrong_with_one_profile(write: Write, text: str, expected: str) -> None:
    told = problems(write(x=text))
    assert len(told) == 1
    assert expected in told[0]


def test_aliases_of_aliases_are_stopped(write: Write) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
    )
    assert any("too large" in problem for problem in problems(write(x=bomb)))


def test_a_circle_is_told_by_its_members_alone(write: Write) -> None:
    assert problems(write(a="extends: b", b="extends: c", c="extends: b", d="extends: a")) == [
        "b.yaml:1 extends: the profile extends itself: b → c → b",
        "c.yaml:1 extends: the profile extends itself: c → b → c",
    ]


def test_an_error_in_a_base_is_told_once(write: Write) -> None:
    assert problems(write(default="malware: no", a="extends: default", b="extends: a")) == [
        "default.yaml:1 malware: false is not one of quarantine, reject, discard"
    ]


def test_a_list_file_is_checked_line_by_line_and_told_once(write: Write) -> None:
    lists = {"lists/deny.txt": "# spammers\n\nb.example  # the worst\nnot an entry\n192.0.2.0/24\n"}
    directory = write(lists, default="lists: {deny_files: [lists/deny.txt]}", x="extends: default")
    told = problems(directory)
    assert len(told) == 1
    assert told[0].startswith("lists/deny.txt:4: 'not an entry' must be an address")


def test_the_default_profile_must_be_there(tmp_path: Path) -> None:
    assert "default.yaml: is not in" in problems(tmp_path)[0]
    assert "is not a directory" in problems(tmp_path / "gone")[0]


def test_a_name_is_told_when_it_cannot_be_one(write: Write) -> None:
    assert problems(write(Strict="")) == [
        "Strict.yaml: the name must be of lower-case letters, digits, hyphens and underscores"
    ]


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    found: list[Problem] = []
    assert parse(text, "x.yaml", found) is not None or found


# --- what a profile says ---------------------------------------------------------------------------------------------


def test_tables_are_merged_and_lists_replaced(write: Write) -> None:
    directory = write(
        default="symbols: {X: {score: 1, action: tag}}\nlists: {deny: [b.example]}",
        x="extends: default\nsymbols: {X: {score: 2}}\nlists: {allow: [c.example]}",
        y="extends: x\nlists: {deny: [d.example]}\nthresholds: []",
    )
    profiles, wrong = read_profiles(directory)
    assert not wrong
    assert profiles["x"].symbols["X"] == SymbolRule(2, Action.TAG)
    assert profiles["x"].symbols["CLAMAV_PUA"] == SymbolRule(action=Action.TAG)
    assert [entry.pattern for entry in profiles["x"].lists] == ["c.example", "b.example"]
    assert [entry.pattern for entry in profiles["y"].lists] == ["c.example", "d.example"]
    assert profiles["y"].thresholds == ()


def test_list_files_become_entries(write: Write) -> None:
    lists = {"lists/deny.txt": "B.example\n192.0.2.0/24\n", "lists/allow.txt": "ann@c.example"}
    directory = write(lists, default="lists: {deny_files: [lists/deny.txt], allow_files: [lists/allow.txt]}")
    assert [(entry.kind, entry.pattern, entry.author) for entry in read_profiles(directory)[0]["default"].lists] == [
        (ListKind.ALLOW, "ann@c.example", "lists/allow.txt"),
        (ListKind.DENY, "b.example", "lists/deny.txt"),
        (ListKind.DENY, "192.0.2.0/24", "lists/deny.txt"),
    ]


def test_the_hash_is_of_what_a_profile_says_not_of_its_name_or_form(write: Write) -> None:
    profiles, _ = read_profiles(
        write(a="extends: default\ndescription: same", b="tags: {subject: '[x]'}", c="extends: b\n# the same again")
    )
    assert profiles["a"].hash == profiles["default"].hash
    assert profiles["b"].hash == profiles["c"].hash != profiles["a"].hash


severities = st.sampled_from([Action.TAG, Action.QUARANTINE, Action.REJECT])
policies = st.builds(
    Policy,
    thresholds=st.lists(st.floats(-100, 100), max_size=3, unique=True).map(
        lambda scores: tuple(Threshold(score, Action.TAG) for score in sorted(scores))
    ),
    malware=st.sampled_from([Action.QUARANTINE, Action.REJECT, Action.DISCARD]),
    dmarc=st.fixed_dictionaries(dict.fromkeys(DmarcPolicy, severities)),
    forbidden_extensions=st.frozensets(st.sampled_from(["exe", "js", "no"])),
    forbidden_attachment=severities,
    uninspectable=severities,
    file_rules=st.lists(
        st.builds(
            FileRule,
            name=st.sampled_from(["#1", "macros"]),
            action=st.sampled_from([IGNORE, Action.TAG, Action.STRIP, Action.REJECT]),
            symbols=st.sampled_from([frozenset(), frozenset({"OFFICE_MACRO"})]),
            types=st.sampled_from([(), ("application/vnd.ms-*",)]),
            extensions=st.sampled_from([frozenset({"docm"}), frozenset({"docm", "no"})]),
            larger=st.sampled_from([0, 1, 10**7]),
            senders=st.sampled_from([(), ("b.example", "192.0.2.0/24")]),
            others=st.sampled_from([(), ("a@b.example",)]),
            within=st.sampled_from([None, True, False]),
        ),
        max_size=1,
    ).map(tuple),
    hold_for=st.sampled_from([4 * 3_600_000, 90_000, 86_400_000]),
    ask=st.sampled_from(["", "help@b.example"]),
    failed_checks=st.dictionaries(st.sampled_from(["clamav", "spf"]), st.sampled_from([Action.HOLD, Action.DEFER])),
    deny_list=severities,
    lists=st.sampled_from([(), (ListEntry(ListKind.DENY, "b.example"),)]),
    symbols=st.dictionaries(
        st.sampled_from(["ON", "SPF_FAIL"]), st.builds(SymbolRule, st.none() | st.floats(-9, 9), st.none() | severities)
    ),
    subject_tag=st.sampled_from(["", "[SPAM]", "no"]),
    headers=st.booleans(),
)


@settings(max_examples=40, deadline=None)
@given(policies)
def test_a_profile_written_out_and_read_again_says_the_same(
    tmp_path_factory: pytest.TempPathFactory, policy: Policy
) -> None:
    directory = tmp_path_factory.mktemp("policies")
    data = to_data(policy)
    # Inherited rules have to be taken back: a profile always builds on the built-in one.
    data["symbols"] = {**{name: {"action": "ignore"} for name in to_data(Policy())["symbols"]}, **data["symbols"]}
    (directory / "default.yaml").write_text(yaml.safe_dump(data))
    profiles, wrong = read_profiles(directory)
    assert not wrong
    read_back = to_data(profiles["default"])
    assert {**read_back, "symbols": {}} == {**data, "symbols": {}} | {
        "failed_checks": {"clamav": "defer", **data["failed_checks"]}
    }
    assert read_back["symbols"] == data["symbols"]


# --- reload ----------------------------------------------------------------------------------------------------------


class Heard:
    """What `on_problems` was told."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, told: Sequence[Problem]) -> None:
        self.calls.append([str(problem) for problem in told])


def test_a_good_change_is_taken(write: Write) -> None:
    directory, heard = write(), Heard()
    files = PolicyFiles(directory, on_problems=heard)
    files.load()
    assert not files.reload_if_changed()
    write(default="malware: reject", new="extends: default")
    assert files.reload_if_changed()
    assert files.get("default").malware is Action.REJECT
    assert files.names == ("default", "new")
    assert heard.calls == []


def test_a_bad_change_leaves_all_as_it_was_and_is_told_once(write: Write) -> None:
    directory, heard = write(x="extends: default"), Heard()
    files = PolicyFiles(directory, on_problems=heard)
    files.load()
    before = {name: files.find(name) for name in files.names}
    write(default="malware: perhaps", x="extends: default\nmalware: reject")
    assert files.reload_if_changed()
    assert files.get("x") is before["x"]
    assert heard.calls == [["default.yaml:1 malware: 'perhaps' is not one of quarantine, reject, discard"]]
    assert not files.reload_if_changed()
    assert len(heard.calls) == 1
    write(x="extends: default\nmalware: reject")
    assert files.reload_if_changed()
    assert files.get("x").malware is Action.REJECT


def test_a_change_of_a_list_file_counts(write: Write) -> None:
    directory = write({"lists/deny.txt": "b.example"}, default="lists: {deny_files: [lists/deny.txt]}")
    files = PolicyFiles(directory)
    files.load()
    (directory / "lists/deny.txt").write_text("c.example, but wrong")
    assert files.reload_if_changed()
    assert files.get("default").lists[0].pattern == "b.example"
    (directory / "lists/deny.txt").write_text("c.example")
    assert files.reload_if_changed()
    assert files.get("default").lists[0].pattern == "c.example"


def test_a_removed_directory_leaves_all_as_it_was(write: Write) -> None:
    directory, heard = write(), Heard()
    files = PolicyFiles(directory, on_problems=heard)
    files.load()
    directory.rename(directory.with_name("gone"))
    assert files.reload_if_changed()
    assert "is not a directory" in heard.calls[0][0]
    assert files.get("default").name == "default"


def test_a_start_with_bad_profiles_is_refused_with_all_problems(write: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        PolicyFiles(write(default="malware: x", other="deny_list: x")).load()
    assert len(caught.value.problems) == 2


def test_a_profile_that_is_not_there_gives_the_default_and_is_told_once(write: Write) -> None:
    heard = Heard()
    files = PolicyFiles(write(), on_problems=heard)
    files.load()
    assert files.get("gone").name == "default"
    assert files.get("gone").name == "default"
    assert heard.calls == [["gone.yaml: a tenant's profile is not there; default is used in its place"]]
    with pytest.raises(NotFoundError, match="no profile 'gone'; there are default"):
        files.find("gone")


def test_nothing_loaded_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no profiles are loaded"):
        PolicyFiles(tmp_path).get("default")
