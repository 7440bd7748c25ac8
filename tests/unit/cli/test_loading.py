"""What a command loads: no more than it needs, or each of the thousands that a day's scripts run pays for the whole relay."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mailguard.cli import main
from mailguard.cli.commands import COMMANDS

SCRIPT = """
import json, sys
from mailguard.cli import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code, ended.code
print()
print(json.dumps(sorted(sys.modules)))
"""

RELAY = {
    "aiosmtpd", "alembic", "dkim", "fontTools", "jinja2", "numpy", "re2", "scipy", "selectolax", "sklearn", "spf",
    "starlette", "typst", "uvicorn", "uvloop", "mailguard.app", "mailguard.checks", "mailguard.pipeline", "mailguard.smtp",
}  # fmt: skip
"""What the relay takes in mail, judges and reports with."""
DATABASE = {"sqlalchemy", "psycopg", "mailguard.store", "mailguard.config"}


def loaded(*arguments: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture
def config(tmp_path: Path) -> str:
    """Settings with a database that is there."""
    path = tmp_path / "mailguard.toml"
    path.write_text(f"""[database]\nurl = "sqlite:///{tmp_path}/mail.db"\n[storage]\npath = "{tmp_path}/data"\n""")
    with pytest.raises(SystemExit):
        main(["--config", str(path), "db", "upgrade"])
    return str(path)


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), ("tenant", "add", "--help"), ("scan", "--help")], ids=" ".join
)
def test_help_needs_neither_the_relay_nor_the_database(arguments: tuple[str, ...]) -> None:
    assert not loaded(*arguments) & (RELAY | DATABASE)


@pytest.mark.parametrize("arguments", [("tenant", "list"), ("queue", "list"), ("lessons", "list")], ids=" ".join)
def test_what_reads_the_database_needs_the_database_alone(config: str, arguments: tuple[str, ...]) -> None:
    modules = loaded("--config", config, *arguments)
    assert not modules & RELAY
    assert "mailguard.store.db" in modules
    assert "psycopg" not in modules  # it is SQLite's


def test_a_command_loads_no_other_command(config: str) -> None:
    modules = loaded("--config", config, "tenant", "list")
    others = {f"mailguard.cli.{place.partition(':')[0]}" for place in COMMANDS.values()} - {"mailguard.cli.tenant"}
    assert not modules & others
