"""The layers: imports go only leftward, siblings between bars do not import each other, and the core needs nothing but Python.

core ← config, ops ← net, store, message, sandbox ← checks | policy | delivery ← queue ← quarantine | billing | learning | watch
     ← pipeline ← smtp | web ← app ← cli
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mailguard"

STEPS: tuple[frozenset[str], ...] = (
    frozenset({"core"}),
    frozenset({"config", "ops"}),
    frozenset({"net", "store", "message", "sandbox"}),
    frozenset({"checks", "policy", "delivery"}),
    frozenset({"queue"}),
    frozenset({"quarantine", "billing", "learning", "watch"}),
    frozenset({"pipeline"}),
    frozenset({"smtp", "web"}),
    frozenset({"app"}),
    frozenset({"cli"}),
)
"""The rooms, lowest step first."""

BARRED = tuple(
    frozenset(rooms)
    for rooms in (
        {"checks", "policy", "delivery"},
        {"quarantine", "billing", "learning", "watch"},
        {"smtp", "web"},
    )
)
"""Rooms of one step that must not import each other."""

ROOM_OF_FILE = {
    "pipeline": "pipeline",
    "__main__": "cli",
}
"""Which room a file (or a package) at the top of the package belongs to, when its name is not the room's."""

RANK = {room: rank for rank, rooms in enumerate(STEPS) for room in rooms}
IMPURE = frozenset(
    {"asyncio", "io", "logging", "os", "pathlib", "random", "secrets", "socket", "subprocess", "threading", "time"}
)


@dataclass(frozen=True)
class Import:
    """`importer` (a module) imports `imported` (a module, or a name in one) on `line`."""

    importer: str
    imported: str
    line: int

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str | None:
    """The room of a module of ours; None for `mailguard` itself, which holds only the version."""
    parts = module.split(".")
    if len(parts) == 1 or parts[1] == "__version__":
        return None
    return parts[1] if parts[1] in RANK else ROOM_OF_FILE.get(parts[1], f"unknown room {parts[1]!r}")


def imports_of(path: Path) -> Iterator[Import]:
    importer = module_name(path)
    package = importer if path.name == "__init__.py" else importer.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (Import(importer, alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) + 1 - node.level]) if node.level else ""
            source = ".".join(part for part in (base, node.module) if part)
            yield from (Import(importer, f"{source}.{alias.name}", node.lineno) for alias in node.names)


@cache
def all_imports() -> tuple[Import, ...]:
    return tuple(found for path in sorted(PACKAGE.rglob("*.py")) for found in imports_of(path))


def ours() -> Iterator[tuple[Import, str, str]]:
    """Imports between rooms, with both rooms."""
    for found in all_imports():
        if found.imported.split(".")[0] == "mailguard":
            importer, imported = room_of(found.importer), room_of(found.imported)
            if importer is not None and imported is not None and importer != imported:
                yield found, importer, imported


def test_every_file_has_a_room() -> None:
    homeless = {found.importer for found in all_imports() if (room_of(found.importer) or "core") not in RANK}
    assert not homeless, f"say in ROOM_OF_FILE to which layer these belong: {sorted(homeless)}"


def test_imports_go_only_leftward() -> None:
    wrong = [str(found) for found, importer, imported in ours() if RANK.get(importer, 0) < RANK.get(imported, 0)]
    assert not wrong, "\n".join(wrong)


def test_siblings_between_bars_do_not_import_each_other() -> None:
    wrong = [
        str(found)
        for found, importer, imported in ours()
        if any(importer in rooms and imported in rooms for rooms in BARRED)
    ]
    assert not wrong, "\n".join(wrong)


def test_rooms_of_one_step_do_not_import_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for _, importer, imported in ours():
        graph.setdefault(importer, set()).add(imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"rooms import each other: {' → '.join(error.args[1])}")


def test_the_core_needs_nothing_but_python() -> None:
    allowed = sys.stdlib_module_names | {"mailguard"}
    wrong = [
        str(found)
        for found in all_imports()
        if room_of(found.importer) == "core" and found.imported.split(".")[0] not in allowed
    ]
    assert not wrong, "\n".join(wrong)


def test_checks_know_neither_the_store_nor_each_other() -> None:
    checks = {
        module_name(path)
        for path in (PACKAGE / "checks").glob("*.py")
        if path.name != "base.py"
        and any(
            isinstance(node, ast.ClassDef) and node.name.endswith("Check") for node in ast.parse(path.read_text()).body
        )
    }
    assert checks
    wrong = [
        str(found)
        for found in all_imports()
        if (
            found.importer in checks
            and {found.imported, found.imported.rpartition(".")[0]} & (checks - {found.importer})
        )
        or (room_of(found.importer) == "checks" and found.imported.startswith("mailguard.store"))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("module", ["mailguard.policy.score", "mailguard.policy.decide"])
def test_scoring_and_deciding_are_pure(module: str) -> None:
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    wrong = [
        str(found)
        for found in imports_of(path)
        if found.imported.split(".")[0] in IMPURE
        or (found.imported.startswith("mailguard.") and room_of(found.imported) not in ("core", "policy"))
    ]
    assert not wrong, "\n".join(wrong)


def test_relative_and_inner_imports_are_seen() -> None:
    tree = PACKAGE / "ops" / "log.py"
    assert any(found.imported == "mailguard.core.reply.Reply" for found in imports_of(tree))
