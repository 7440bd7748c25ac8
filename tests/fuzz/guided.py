"""One target under atheris (libFuzzer) in a process of its own: for so many seconds, past every find, with its figures in a file.

    python -m tests.fuzz.guided MODULE TARGET SECONDS FOLDER

FOLDER gets `figures.json`, and in `corpus/` the inputs that reached something new: the next run goes on from there.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import atheris

FINDS_LIMIT = 20
"""Finds after which a target is given up: whatever is broken wants mending first."""
WARM_UP = 0.3
"""The part of the time after which memory should be flat."""
BACKSTOP = 60
"""Seconds of real time that an input may take. Only what Python cannot interrupt comes to that."""


@dataclass
class Figures:
    """What a run of one target came to. Memory in KiB."""

    target: str
    seconds: float = 0.0
    executions: int = 0
    finds: dict[str, str] = field(default_factory=dict)
    """Place → trace."""
    peak: int = 0
    warm: int = 0
    last: int = 0
    slowest: float = 0.0
    """CPU seconds of the slowest input."""
    complete: bool = False


def resident() -> int:
    """KiB that the process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


def main(module: str, name: str, seconds: float, folder: Path) -> None:
    """Fuzz, then exit: 0 when nothing was found."""
    logging.disable(logging.CRITICAL)
    atheris.enabled_hooks.add("str")
    with atheris.instrument_imports(include=["mailguard"]):
        from tests.fuzz.harness import keep, try_input
        from tests.fuzz.registry import targets_in

        (target,) = (target for target in targets_in(module) if target.name == name)
    corpus, seeds = folder / "corpus", folder / "seeds"
    for directory in (corpus, seeds):
        directory.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (seeds / f"{number:03}").write_bytes(seed)
    words = folder / "words.dict"
    words.write_text("".join(map(_entry, target.tokens)))
    figures = Figures(name)
    begin = time.monotonic()
    noted = begin

    def finish() -> None:
        figures.complete = True
        note()
        os._exit(1 if figures.finds else 0)

    def note() -> None:
        figures.seconds = time.monotonic() - begin
        figures.last = resident()
        figures.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if figures.seconds < WARM_UP * seconds:
            figures.warm = max(figures.warm, figures.last)
        (folder / "figures.json").write_text(json.dumps(asdict(figures)))

    def one(data: bytes) -> None:
        nonlocal noted
        started = time.process_time()
        find = try_input(target, data)
        figures.slowest = max(figures.slowest, time.process_time() - started)
        figures.executions += 1
        if find is not None and find.place not in figures.finds:
            figures.finds[find.place] = find.trace
            keep(find, name)
            note()
        now = time.monotonic()
        if now - noted >= 0.5:
            noted = now
            note()
            if now - begin >= seconds or len(figures.finds) >= FINDS_LIMIT:
                finish()

    options = (
        f"-dict={words}",
        f"-max_len={target.max_length}",
        f"-timeout={BACKSTOP}",
        f"-artifact_prefix={folder}/stuck-",
        "-rss_limit_mb=2048",
        "-print_final_stats=0",
        "-verbosity=0",
    )
    atheris.Setup([sys.argv[0], *options, str(corpus), str(seeds)], one)
    atheris.Fuzz()


def _entry(word: bytes) -> str:
    """A word in a dictionary of libFuzzer."""
    return '"' + "".join(f"\\x{octet:02x}" for octet in word) + '"\n'


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), Path(sys.argv[4]))
