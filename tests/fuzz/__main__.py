"""Fuzz all targets, or those named, one after the other; say what came of it, and exit with 1 when anything was found.

python -m tests.fuzz [--seconds 3600] [TARGET…]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

from tests.fuzz.harness import FINDS, FOLDER, Find, keep
from tests.fuzz.registry import all_targets, module_of

ROOT = FOLDER.parents[1]
WORK = ROOT / "build" / "fuzz"
"""What a run learned: the next one goes on from there. No part of the project."""
MEMORY_GROWTH = 32 * 1024
"""KiB by which a target's process may grow after its warm-up; its corpus and the fuzzer's own notes take some."""
PATIENCE = 120
"""Seconds beyond its time after which a target's process is ended."""
ROW = "{:<16} {:>12} {:>9} {:>10} {:>10} {:>10} {:>6}"


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=3600, help="for all targets together (3600)")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="default: all")
    options = parser.parse_args(arguments)
    if importlib.util.find_spec("atheris") is None:
        print("atheris is missing: `make fuzz` installs it (there are wheels for Linux on x86-64)", file=sys.stderr)
        return 2
    try:
        targets = {name: module_of(name) for name in options.targets or [target.name for target in all_targets()]}
    except KeyError as error:
        parser.error(str(error.args[0]))
    share = options.seconds / len(targets)
    print(f"{len(targets)} targets, {share:.0f} s each")
    print(ROW.format("target", "executions", "slowest", "peak MiB", "warm MiB", "last MiB", "finds"))
    outcomes = [_fuzz(name, module, share) for name, module in targets.items()]
    problems = [problem for found in outcomes for problem in found[1]]
    print(f"{sum(found[0] for found in outcomes):,} executions, {len(problems)} problems")
    for problem in problems:
        print(f"\n{problem}")
    return 1 if problems else 0


def _fuzz(name: str, module: str, seconds: float) -> tuple[int, list[str]]:
    """Executions of one target, and what was wrong."""
    folder = WORK / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in (folder / "figures.json", *folder.glob("stuck-*")):
        old.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.fuzz.guided", module, name, str(seconds), str(folder)]
    with (folder / "log").open("wb") as log:
        try:
            code = subprocess.run(
                command, check=False, cwd=ROOT, stdout=log, stderr=log, timeout=seconds + PATIENCE
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
    problems = [f"{name}: {path}" for path in _stuck(name, folder)]
    path = folder / "figures.json"
    if not path.exists():
        return 0, [*problems, f"{name}: the fuzzer did not start (exit code {code}); see {folder / 'log'}"]
    figures = json.loads(path.read_text())
    problems += [f"{name}: {place}\n{trace}" for place, trace in figures["finds"].items()]
    if not figures["complete"]:
        problems.append(f"{name}: the process ended before its time (exit code {code}); see {folder / 'log'}")
    growth = figures["last"] - figures["warm"]
    if figures["warm"] and growth > MEMORY_GROWTH:
        problems.append(f"{name}: memory grew by {growth / 1024:.0f} MiB after the warm-up")
    sizes = (f"{figures[key] / 1024:.0f}" for key in ("peak", "warm", "last"))
    slowest = f"{figures['slowest']:.2f} s"
    print(ROW.format(name, f"{figures['executions']:,}", slowest, *sizes, len(problems)), flush=True)
    return figures["executions"], problems


def _stuck(name: str, folder: Path) -> list[Path]:
    """What libFuzzer itself left: inputs on which the process hung or died. Kept like every other find."""
    return [keep(Find(path.read_bytes(), "", ""), name, FINDS) for path in folder.glob("stuck-*")]


if __name__ == "__main__":
    sys.exit(main())
