"""The documentation against the code: generated pages, metrics, alerts, log events, links, and commands that are there."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import typer.main
import yaml
from prometheus_client import CollectorRegistry

from mailguard.cli.commands import app
from mailguard.config.settings import CHECKS
from mailguard.core.decision import Action
from mailguard.core.events import State
from mailguard.ops.metrics import AttemptPurpose, Metrics

ROOT = Path(__file__).parents[2]
MONITORING = (ROOT / "docs" / "monitoring.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def write_docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_docs", ROOT / "tools" / "write_docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def alerts() -> list[dict[str, str]]:
    (group,) = yaml.safe_load((ROOT / "docker" / "prometheus" / "alerts.yml").read_text())["groups"]
    rules: list[dict[str, str]] = group["rules"]
    return rules


@pytest.mark.parametrize("name", write_docs().pages())
def test_generated_pages_have_not_drifted(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == write_docs().pages()[name], "run `make docs`"


def test_every_metric_is_listed_and_no_other() -> None:
    families = {family._name for family in Metrics(CollectorRegistry()).families()}
    listed = {name.removesuffix("_total") for name, *_ in write_docs().metric_rows()}
    assert families < listed
    for name in re.findall(r"\bmailguard_[a-z_]+[a-z]\b", MONITORING):
        assert re.sub(r"_(total|bucket|sum|count)$", "", name) in listed | {"mailguard_queue", "mailguard_kept"}, name


@pytest.mark.parametrize(
    "value", [*(s for s in State if s is not State.FORWARDING), *Action, *AttemptPurpose], ids=lambda v: v.value
)
def test_every_value_of_a_closed_label_is_listed(value: State | Action | AttemptPurpose) -> None:
    assert f"`{value.value}`" in MONITORING


def test_every_alert_is_documented_with_its_severity() -> None:
    documented = dict(re.findall(r"^\| `(MailGuard\w+)` \| (\w+) \| .+ \|$", MONITORING, re.MULTILINE))
    assert documented == {rule["alert"]: rule["labels"]["severity"] for rule in alerts()}  # type: ignore[index]


def test_every_event_of_the_mail_log_is_documented() -> None:
    (log,) = (
        node
        for node in ast.parse((ROOT / "mailguard" / "ops" / "log.py").read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == "MailLog"
    )
    events = {
        constant.value
        for call in ast.walk(log)
        if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("self._log.")
        for constant in ast.walk(call.args[0])
        if isinstance(constant, ast.Constant)
    }
    assert len(events) > 15
    section = MONITORING.partition("## The log")[2]
    assert {event for event in events if f"`{event}`" not in section} == set()


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_profiles_are_told_of_every_check_that_can_fail() -> None:
    (row,) = re.findall(r"^\| `failed_checks` .*", (ROOT / "docs" / "policies.md").read_text(), re.MULTILINE)
    assert re.findall(r"`(\w+)`", row.partition("By check (")[2].partition(")")[0]) == list(CHECKS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def commands(page: Path) -> Iterator[list[str]]:
    """The `mailguard …` commands that a page shows, in code spans and blocks, as words."""
    text = page.read_text()
    shown = re.findall(r"`(?:[\w./]*/)?mailguard ([a-z][^`\n]*)`", text)
    shown += re.findall(r"^(?:    |)(?:\$ )?(?:[\w./]*/)?mailguard ([a-z].*)$", text, re.MULTILINE)
    for line in shown:
        yield re.split(r"\s+", line.strip())


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "cli.md"], ids=lambda page: page.name)
def test_commands_that_pages_show_exist(page: Path) -> None:
    for words in commands(page):
        command: object = typer.main.get_command(app)
        rest = list(words)
        while hasattr(command, "commands") and rest and re.fullmatch(r"[a-z][a-z-]*", rest[0]):
            assert rest[0] in command.commands, f"mailguard {' '.join(words)}"
            command = command.commands[rest.pop(0)]
        parameters = getattr(command, "params", ())
        known = {option for parameter in parameters for option in (*parameter.opts, *parameter.secondary_opts)}
        options = {word.partition("=")[0].rstrip("…],).") for word in rest if word.startswith("--")}
        assert options <= known | {"--help"}, f"mailguard {' '.join(words)}"
