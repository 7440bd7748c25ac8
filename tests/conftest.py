"""What every test may use. Fixtures of one room belong in a conftest of that room."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
import typer.main
from hypothesis import settings

from tests.servers.postgres import postgres

# One server for a test process: each conftest that imported the fixture for itself would start another.
__all__ = ["postgres"]

# A slow machine is no bug: no example of a property test has a time limit of its own, only the whole test has (pyproject.toml).
settings.register_profile("mailguard", deadline=None)
settings.load_profile("mailguard")

# Whoever starts a test process may tell it how wide a terminal is. The tests read the tables that a pipe gets: those are not cut.
for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def commands_made_once() -> Iterator[None]:
    """The command line is made of its functions once a test process, not at each of the thousands of commands that it runs:
    that is four fifths of what one costs."""
    with mock.patch.object(typer.main, "get_command", functools.cache(typer.main.get_command)):
        yield


@pytest.fixture(scope="session")
def corpora() -> Callable[[str], Path]:
    """`corpora("auth_suites")` is the folder of that corpus, unpacked once into a cache that test processes share.

    The archives are sought in `../shared/corpora`, or where MAILGUARD_CORPORA says. Without them the test is skipped.
    """
    archives = Path(os.environ.get("MAILGUARD_CORPORA") or ROOT.parent / "shared" / "corpora")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mailguard-corpora"

    def unpack(name: str) -> Path:
        archive = archives / f"{name}.tar.xz"
        if not archive.exists():
            pytest.skip(f"CORPUS MISSING: {archive} is not there, so this was not tested (set MAILGUARD_CORPORA)")
        stamp = archive.stat()
        folder = cache / f"{name}-{stamp.st_size}-{int(stamp.st_mtime)}"
        if not folder.exists():
            cache.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(dir=cache))
            subprocess.run(["tar", "-xJf", str(archive), "-C", str(scratch)], check=True)
            try:
                scratch.rename(folder)  # atomic: whoever comes first wins
            except OSError:
                shutil.rmtree(scratch)
        inner = folder / name
        return inner if inner.is_dir() else folder

    return unpack
