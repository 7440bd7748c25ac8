"""Rules as they were checked, and all that was worked out from them, kept from one start to the next if nothing has changed.

To read, try and take apart the rules that come with us takes 0.6 s at each start, and this 0.01 s. Text and numbers alone are
kept, nothing that is run.
"""

from __future__ import annotations

import hashlib
import json
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import re2
import yaml
from numpy.typing import NDArray

import mailguard
from mailguard.checks.rules import Derived, Rule, Rules
from mailguard.checks.rules_prefilter import Tables
from mailguard.checks.rules_scanner import KeptScanners
from mailguard.ops.derived import DerivedFiles, NotTrustedError
from mailguard.ops.log import get_logger

NAME = "rules"
_CODE = (
    *("checks/rules.py", "checks/rules_cache.py", "checks/rules_file.py", "checks/rules_literals.py"),
    *("checks/rules_prefilter.py", "checks/identity_symbols.py", "config/problems.py", "config/yaml_source.py"),
)
"""What rules are read, tried and taken apart by: another code finds other things, so it is part of the key."""


class KeptRules:
    """The rules of the last files that were right, kept among `files`. What fails is logged, and costs only time."""

    def __init__(self, files: DerivedFiles) -> None:
        self.scanners = KeptScanners(files)
        self._files = files
        self._log = get_logger("rules")

    def get(self, sources: Mapping[str, bytes]) -> Rules | None:
        """The rules of these files, given by name and content; None when they have to be read."""
        try:
            kept = self._files.get(NAME, _key(sources))
            rules = None if kept is None else decode(kept)
        except (NotTrustedError, OSError) as error:
            self._log.warning("kept_rules_unusable", reason=str(error))
            return None
        if rules is not None:
            self._log.info("kept_rules_used", rules=len(rules))
        return rules

    def put(self, sources: Mapping[str, bytes], rules: Rules) -> None:
        """Keep the rules of these files."""
        try:
            self._files.put(NAME, _key(sources), encode(rules))
        except (NotTrustedError, OSError) as error:
            self._log.warning("rules_not_kept", reason=str(error))
        else:
            self._log.info("rules_kept", rules=len(rules))


def encode(rules: Rules) -> bytes:
    """Rules with all that was worked out from them, as JSON."""
    derived = rules.derived
    kept = {
        "hash": rules.hash,
        "rules": [[getattr(rule, field.name) for field in fields(Rule)] for rule in rules.rules],
        "branches": {pattern: list(some) for pattern, some in derived.branches.items()},
        "text": _encoded(derived.text),
        "source": _encoded(derived.source),
    }
    return json.dumps(kept).encode()


def decode(octets: bytes) -> Rules:
    """What `encode` made."""
    kept = json.loads(octets)
    derived = Derived(kept["branches"], _decoded(kept["text"]), _decoded(kept["source"]))
    rules = [Rule(*map(_tupled, values)) for values in kept["rules"]]
    return Rules(rules, hash=kept["hash"], derived=derived)


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _encoded(tables: Tables | None) -> dict[str, tuple[str, tuple[int, ...], str]] | None:
    """Its arrays by name: the kind of their numbers, their shape, and the numbers as they are in memory."""
    if tables is None:
        return None
    arrays: dict[str, NDArray[np.intp]] = {field.name: getattr(tables, field.name) for field in fields(Tables)}
    return {name: (array.dtype.str, array.shape, b64encode(array.tobytes()).decode()) for name, array in arrays.items()}


def _decoded(kept: dict[str, tuple[str, tuple[int, ...], str]] | None) -> Tables | None:
    if kept is None:
        return None
    arrays = {
        name: np.frombuffer(b64decode(octets), dtype=kind).reshape(shape)
        for name, (kind, shape, octets) in kept.items()
    }
    return Tables(**arrays)


def _key(sources: Mapping[str, bytes]) -> bytes:
    """SHA-256 of all that what is kept depends on. Raises OSError when our own code cannot be read."""
    digest = hashlib.sha256()
    for name, octets in _parts(sources):
        digest.update(f"{name}\0{len(octets)}\0".encode("utf-8", "surrogateescape"))
        digest.update(octets)
    return digest.digest()


def _parts(sources: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    # RE2 does not say its version: a library is known by its size and time.
    library = Path(re2._re2.__file__).stat()
    versions = (mailguard.__version__, sys.version, sys.byteorder, np.__version__, pydantic.VERSION, yaml.__version__)
    yield "versions", repr((*versions, library.st_size, library.st_mtime_ns)).encode()
    package = Path(mailguard.__path__[0])
    yield from ((name, (package / name).read_bytes()) for name in _CODE)
    yield from sources.items()
