"""All fuzz targets: every module of `targets` names its own as TARGET or TARGETS."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from tests.fuzz import targets
from tests.fuzz.target import Target


def all_targets() -> tuple[Target, ...]:
    """In the order of their names."""
    return tuple(sorted((target for name in _modules() for target in targets_in(name)), key=lambda target: target.name))


def targets_in(module: str) -> tuple[Target, ...]:
    """Those of one module of `targets`; no other is imported."""
    loaded = import_module(f"{targets.__name__}.{module}")
    return getattr(loaded, "TARGETS", None) or (loaded.TARGET,)


def module_of(name: str) -> str:
    """The module of the target called `name`. KeyError says which targets there are."""
    found = {target.name: module for module in _modules() for target in targets_in(module)}
    if name not in found:
        raise KeyError(f"no fuzz target is called {name!r}; there are {', '.join(sorted(found))}")
    return found[name]


def _modules() -> list[str]:
    return [module.name for module in iter_modules(targets.__path__)]
