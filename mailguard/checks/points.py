"""The points that checks' symbols were fitted to have (`mailguard train`), in place of those that the code suggests."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

import yaml

FILE = "points.yaml"
"""The file in the package; the points of rules stand with the rules."""


@cache
def fitted_points() -> Mapping[str, float]:
    """Points by symbol."""
    text = (files("mailguard.checks") / "data" / FILE).read_text(encoding="utf-8")
    return MappingProxyType({str(name): float(points) for name, points in (yaml.safe_load(text) or {}).items()})
