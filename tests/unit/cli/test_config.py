"""`mailguard config`: what it prints, and that it hides passwords."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mailguard.cli.config import app
from mailguard.cli.context import Cli
from mailguard.config.reference import example, markdown
from mailguard.core.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mailguard.toml"
    path.write_text('[database]\nurl = "postgresql://mg:hunter2@db/mg"\n[dns]\nnameservers = ["127.0.0.1:5300"]\n')
    return path


def run(file: Path, *arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, obj=Cli(file), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_settings_in_order_are_said_to_be(file: Path) -> None:
    assert run(file, "check") == "the settings are in order\n"


def test_wrong_settings_are_an_error(file: Path) -> None:
    file.write_text("[dns]\ntimeout = 'x'")
    with pytest.raises(ConfigError, match=r"dns\.timeout: 'x' must be a number"):
        run(file, "check")


def test_settings_are_shown_without_passwords(file: Path) -> None:
    shown = run(file, "show")
    assert "hunter2" not in shown
    assert "postgresql://mg:***@db/mg" in shown
    as_json = json.loads(run(file, "show", "--json"))
    assert as_json["dns"]["nameservers"] == ["127.0.0.1:5300"]
    assert as_json["database"]["url"] == "postgresql://mg:***@db/mg"


def test_the_reference_is_printed_as_it_is_kept(file: Path) -> None:
    assert run(file, "reference") == markdown()
    assert run(file, "reference", "--toml") == example()
