"""Which of many patterns may match a text, told by Vectorscan in one pass; what it names too much, RE2 sorts out.

To compile the patterns takes 5 s and 190 MB: once, in a process of its own at the lowest priority, which runs this file. What comes out
is kept from start to start, and code to Vectorscan: so it is used only where it must be our own, and for the same patterns, library and processor.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import hyperscan

import mailguard
from mailguard.checks.rules_octets import ANYTHING, octet_pattern
from mailguard.ops.derived import DerivedFiles, NotTrustedError
from mailguard.ops.log import get_logger

NAME = "rules-scanner"
PATIENCE = 10.0
"""Seconds for which the same patterns must have been in force: rules that are being written change again and again."""
TIME_LIMIT = 600.0
"""Seconds after which compiling is given up."""
_CODE = ("checks/rules_octets.py", "checks/rules_scanner.py")
_OF_PROCESSOR = (
    *("vendor_id", "cpu family", "model", "stepping", "flags"),
    *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "Features"),
)
"""What tells a processor from others in /proc/cpuinfo, on x86-64 and on aarch64."""


class Scanner:
    """A set of patterns, compiled. May be used by several threads at once."""

    def __init__(self, database: bytes) -> None:
        """Of what `compiled` returned. Raises hyperscan.error when this library or processor cannot use it."""
        self._database = hyperscan.loadb(database, hyperscan.HS_MODE_BLOCK)
        self._of_thread = threading.local()

    def candidates(self, text: bytes) -> list[int]:
        """Numbers of the patterns that may match a text without ſ and K, in order: all that do, and few more."""
        try:
            scratch = self._of_thread.scratch
        except AttributeError:
            scratch = self._of_thread.scratch = hyperscan.Scratch(self._database)
        found: list[int] = []
        # `^` is not at the end of a text after its last line feed, as it is in RE2: so that is not the end.
        self._database.scan(text + b"\n\n", _note, context=found, scratch=scratch)
        return sorted(found)


def _note(number: int, start: int, end: int, flags: int, found: object) -> None:
    found.append(number)  # type: ignore[attr-defined]  # the list that `candidates` gave


def compiled(patterns: Sequence[str]) -> bytes:
    """What Scanner is made of. Takes 3 ms a pattern. Raises hyperscan.error."""
    flags = [_flags(pattern) for pattern in patterns]
    octets = [octet_pattern(pattern).encode() for pattern in patterns]
    try:
        return _compiled(octets, flags)
    except hyperscan.error:  # one is too much for Vectorscan, which does not say which
        known = [one if _compiles(one, flag) else ANYTHING.encode() for one, flag in zip(octets, flags, strict=True)]
        return _compiled(known, flags)


def _flags(pattern: str) -> int:
    caseless = hyperscan.HS_FLAG_CASELESS if "i" in pattern.partition(")")[0] else 0
    return caseless | hyperscan.HS_FLAG_MULTILINE | hyperscan.HS_FLAG_SINGLEMATCH


def _compiled(octets: Sequence[bytes], flags: Sequence[int]) -> bytes:
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(expressions=octets, ids=range(len(octets)), elements=len(octets), flags=flags)
    return bytes(hyperscan.dumpb(database))


def _compiles(octets: bytes, flags: int) -> bool:
    try:
        _compiled([octets], [flags])
    except hyperscan.error:
        return False
    return True


class KeptScanners:
    """The scanner of the patterns in force, kept among `files` and made when it is not there. What fails is logged, and costs only time."""

    def __init__(self, files: DerivedFiles) -> None:
        self._files = files
        self._log = get_logger("rules")
        self._since = (b"", 0.0)
        self._job: _Job | None = None
        self._given_up = b""

    def get(self, patterns: Sequence[str]) -> Scanner | None:
        """The one of these patterns, if it is there."""
        return self._kept(_key(patterns))

    def obtain(self, patterns: Sequence[str]) -> Scanner | None:
        """The same; when it is not there, have it made, unless another worker does. To be asked again every few seconds."""
        if self._job is not None and not self._job.ended:
            return None
        key = _key(patterns)
        scanner = self._kept(key)
        if scanner is None and key != self._given_up:
            try:
                self._make(patterns, key)
            except (NotTrustedError, OSError) as error:
                self._give_up(key, str(error))
        return scanner

    def _give_up(self, key: bytes, reason: str) -> None:
        self._log.warning("scanner_not_made", reason=reason)
        self._given_up = key

    def _kept(self, key: bytes) -> Scanner | None:
        try:
            kept = self._files.get(NAME, key)
            scanner = None if kept is None else Scanner(kept)
        except (NotTrustedError, hyperscan.error) as error:
            if key != self._given_up:
                self._log.warning("kept_scanner_unusable", reason=str(error) or type(error).__name__)
            return None
        if scanner is not None:
            self._log.info("scanner_used")
        return scanner

    def _make(self, patterns: Sequence[str], key: bytes) -> None:
        if self._job is not None and self._job.key == key:  # it has ended, and there is nothing
            self._give_up(key, self._job.error())
            return
        if self._since[0] != key:
            self._since = (key, time.monotonic())
        if time.monotonic() - self._since[1] < PATIENCE:
            return
        lock = self._files.lock(NAME)
        if lock is None:
            return
        try:
            self._job = _Job(patterns, key, self._files.folder, lock)
            self._log.info("scanner_being_made", patterns=len(patterns))
        finally:
            os.close(lock)  # the process holds it until it ends


class _Job:
    """A process that compiles patterns and keeps what comes out."""

    def __init__(self, patterns: Sequence[str], key: bytes, folder: Path, lock: int) -> None:
        self.key = key
        self._until = time.monotonic() + TIME_LIMIT
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - read when the process has ended
        with tempfile.TemporaryFile() as given:  # a pipe would have to be written while it is read
            given.write(json.dumps(list(patterns)).encode())
            given.seek(0)
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-m", "mailguard.checks.rules_scanner", folder.absolute()],
                stdin=given,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env={"LANG": "C.UTF-8", "PATH": os.defpath},
                pass_fds=[lock],
                start_new_session=True,
                cwd="/",
            )

    @property
    def ended(self) -> bool:
        """Whether it is over; it is killed when it takes too long."""
        if self._process.poll() is None and time.monotonic() > self._until:
            self._process.kill()
            self._process.wait()
        return self._process.returncode is not None

    def error(self) -> str:
        """What it said last."""
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), f"exit code {self._process.returncode}")


def _key(patterns: Sequence[str]) -> bytes:
    """SHA-256 of all that a compiled database depends on."""
    digest = hashlib.sha256()
    for octets in _parts(patterns):
        digest.update(len(octets).to_bytes(8, "little") + octets)
    return digest.digest()


def _parts(patterns: Sequence[str]) -> Iterator[bytes]:
    library = Path(import_module("hyperscan._hs_ext").__file__ or "").stat()
    versions = (mailguard.__version__, version("hyperscan"), library.st_size, library.st_mtime_ns, platform.machine())
    yield repr(versions).encode()
    with suppress(FileNotFoundError):
        lines = Path("/proc/cpuinfo").read_text(errors="replace").partition("\n\n")[0].split("\n")
        yield "\n".join(line for line in lines if line.partition(":")[0].strip() in _OF_PROCESSOR).encode()
    package = Path(mailguard.__path__[0])
    yield from ((package / name).read_bytes() for name in _CODE)
    yield from (pattern.encode() for pattern in patterns)


def main() -> None:
    """Compile the patterns that standard input holds as JSON, and keep what comes out in the folder that is given."""
    os.nice(19)
    with suppress(OSError):  # when memory is short, it is this process that ends and not one that has mail
        Path("/proc/self/oom_score_adj").write_text("1000")
    patterns = json.load(sys.stdin)
    DerivedFiles(Path(sys.argv[1])).put(NAME, _key(patterns), compiled(patterns))


if __name__ == "__main__":
    main()
