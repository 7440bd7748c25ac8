"""The command line in this process, on a configuration and a SQLite database of the test's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mailguard.cli import main
from tests.ledger_of import World


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output as JSON."""
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A mailguard.toml whose data lie in the test's directory."""
    (tmp_path / "policies").mkdir()
    for profile in ("default", "strict"):
        (tmp_path / "policies" / f"{profile}.yaml").write_text("{}\n")
    path = tmp_path / "mailguard.toml"
    path.write_text('[server]\nhostname = "mx.provider.test"\nlisten = ["127.0.0.1:2525", "[::]:2526"]\n')
    return path


@pytest.fixture
def mailguard(config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `mailguard …` and returns what came of it."""
    monkeypatch.setenv("MAILGUARD_CONFIG", str(config))
    monkeypatch.setenv("USER", "ann")
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)  # parallel test processes have one

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        output = capsys.readouterr()
        return Ran(int(ended.value.code or 0), output.out, output.err)

    return run


@pytest.fixture
def world(config: Path) -> Iterator[World]:
    """The database of the same configuration, with tenant `acme`."""
    world = World(config.parent)
    yield world
    world.close()
