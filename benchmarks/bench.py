"""`make bench`: MailGuard with every check on, beside what a user would run instead, all in one run.

    python -m benchmarks.bench [--peers FOLDER] [--paths cut-through,spool,…] [--count 1000] [--rounds 3] [--connections 10]

Prints a table for each path and keeps the figures as JSON in benchmarks/results. Starts what it needs on loopback (ports
2500 to 2600) and stops only that. Peers that run already are used and left running.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.figures import Figures, table, write
from benchmarks.mails import templates_of
from benchmarks.paths import PATHS, World
from benchmarks.peers import BARE, FILTERING, Peers
from mailguard.ops import log as logs

RESULTS = Path(__file__).parent / "results"
DEFAULT = ("cut-through", "spool", "quarantine", "reject", "large", "tls")


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The options. Ends the program with a message when one is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="folder of peers.sh, relay_bench.py and messages/")
    parser.add_argument(
        "--paths",
        type=_paths,
        default=DEFAULT,
        metavar="NAMES",
        help=f"of {', '.join(PATHS)}; or all; by default {', '.join(DEFAULT)}",
    )
    parser.add_argument("--count", type=_positive, default=1_000, help="mails a round")
    parser.add_argument("--rounds", type=_positive, default=3)
    parser.add_argument("--connections", type=_positive, default=10)
    parser.add_argument("--signatures", type=_positive, default=1_000_000, help="of the path `signatures`")
    parser.add_argument("--postgres", default="", metavar="URL", help="an empty database, of the path `postgresql`")
    parser.add_argument("--latest", action="store_true", help="also keep the figures as results/latest.json")
    return parser.parse_args(given)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _paths(text: str) -> tuple[str, ...]:
    names = tuple(PATHS) if text == "all" else tuple(name for name in text.split(",") if name)
    unknown = [name for name in names if name not in PATHS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown) or 'nothing'}; there are {', '.join(PATHS)}")
    return tuple(dict.fromkeys(names))


def available(folder: Path | None) -> Peers | None:
    """The peers, if they can be started; else says loudly why they are not measured."""
    problem = "no folder is given with --peers"
    if folder is not None:
        found = Peers(folder.resolve())
        problem = found.problem()
        if not problem:
            return found
    print(f"{'!' * 100}\nNO COMPARISON: {problem}.\nMailGuard is measured alone.\n{'!' * 100}\n", flush=True)
    return None


@contextmanager
def prepared(folder: Path | None, name: str) -> Iterator[tuple[Peers | None, Path]]:
    """The peers, at work and stopped again at the end if they were not before, and a folder for what is measured."""
    peers = available(folder)
    with ExitStack() as stack:
        if peers is not None and not peers.running:
            stack.callback(peers.stop)
            peers.start()
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"mailguard-{name}-")))
        root.chmod(0o755)
        yield peers, root


def measure(options: argparse.Namespace, peers: Peers | None, root: Path) -> int:
    """Measure each path and keep the figures; the exit code: 1 when a path could not be measured."""
    world = World(
        root=root,
        count=options.count,
        rounds=options.rounds,
        connections=options.connections,
        templates=templates_of(peers.messages if peers else None),
        peers=peers,
        signatures=options.signatures,
        postgres=options.postgres,
    )
    results: dict[str, dict[str, Figures]] = {}
    failed = False
    for path in options.paths:
        print(f"{path}: {(PATHS[path].__doc__ or '').strip()}", flush=True)
        try:
            results[path] = dict(PATHS[path](world))
        except (RuntimeError, OSError, AssertionError) as error:  # the other paths are measured all the same
            failed = True
            print(f"  NOT MEASURED: {error}\n", file=sys.stderr, flush=True)
            continue
        print("\n" + table(path, results[path], against=[FILTERING, BARE]) + "\n", flush=True)
    if results:
        kept = {name: value for name, value in vars(options).items() if name not in ("peers", "latest", "postgres")}
        path = write(RESULTS, results, options={**kept, "compared": peers is not None})
        if options.latest:
            shutil.copyfile(path, RESULTS / "latest.json")
        print(f"kept as {path}")
    return int(failed)


def main() -> int:
    """The command."""
    options = arguments()
    logs.configure(level="error", form="console")
    with prepared(options.peers, "bench") as (peers, root):
        return measure(options, peers, root)


if __name__ == "__main__":
    sys.exit(main())
