"""All fuzz targets: every module of `targets` names its own as TARGET or TARGETS."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from tests.fuzz import targets
from tests.fuzz.target import Target


def all_targets() -> tuple[Target, ...]:
    """In the order of their names."""
    found: list[Target] = []
    for module in iter_modules(targets.__path__):
        loaded = import_module(f"{targets.__name__}.{module.name}")
        found += getattr(loaded, "TARGETS", None) or (loaded.TARGET,)
    return tuple(sorted(found, key=lambda target: target.name))


def target_named(name: str) -> Target:
    """One of them. KeyError says which there are."""
    known = {target.name: target for target in all_targets()}
    if name not in known:
        raise KeyError(f"no fuzz target is called {name!r}; there are {', '.join(known)}")
    return known[name]
