"""From mailguard.toml and MAILGUARD_* variables to Settings. Every problem is found before any is reported."""

from __future__ import annotations

import contextlib
import json
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from mailguard.config.problems import Location, dotted, nearest, problems_of
from mailguard.config.secrets import is_reference, redact, resolve_secret
from mailguard.config.section import Section
from mailguard.config.settings import Settings
from mailguard.core.errors import ConfigError, Problem

FILE_VARIABLE = "MAILGUARD_CONFIG"
PREFIX = "MAILGUARD_"
SEARCH = (Path("mailguard.toml"), Path("/etc/mailguard/mailguard.toml"))
"""Where the file is looked for when neither `--config` nor MAILGUARD_CONFIG names one; none need be there."""


def load_settings(
    path: Path | str | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    search: Sequence[Path] = SEARCH,
) -> Settings:
    """The Settings of the file at `path` (else MAILGUARD_CONFIG, else the first of `search` that is there, else none).

    Any key is overridden by the variable MAILGUARD_<SECTION>__<KEY>. Relative paths are taken from the file's directory,
    or without a file from the working directory. Raises ConfigError with every problem.
    """
    environ = os.environ if environ is None else environ
    file = _find(path, environ, search)
    problems: list[Problem] = []
    raw = _read(file, problems) if file else {}
    origins: dict[Location, str] = {}
    _overlay(raw, environ, origins, problems)
    _reveal_secrets(raw, environ, problems, lambda location: _where(location, origins, file))
    base = file.absolute().parent if file else Path.cwd()
    try:
        settings = Settings.model_validate(raw, context={"base": base})
    except ValidationError as error:
        problems += problems_of(
            error,
            Settings,
            lambda location: _where(location, origins, file),
            secret=_is_secret,
        )
    if problems:
        raise ConfigError(problems)
    return settings


def fields() -> Iterator[tuple[str, str, FieldInfo]]:
    """Every setting as (section, key, its declaration), in the order of the documentation."""
    for section, declared in Settings.model_fields.items():
        model = declared.annotation
        if isinstance(model, type) and issubclass(model, Section):
            yield from ((section, key, info) for key, info in model.model_fields.items())


def shown(settings: Settings) -> dict[str, dict[str, Any]]:
    """The settings as JSON-able data for display, without passwords."""
    data: dict[str, dict[str, Any]] = settings.model_dump(mode="json")
    for section, key, info in fields():
        if _is_secret((section, key)):
            value, extra = data[section][key], info.json_schema_extra
            whole = isinstance(extra, dict) and extra["secret"] == "whole"  # else a URL with a password in it
            data[section][key] = ("***" if value else "") if whole else redact(value)
    return data


def _find(path: Path | str | None, environ: Mapping[str, str], search: Sequence[Path]) -> Path | None:
    named = path or environ.get(FILE_VARIABLE)
    return Path(named) if named else next((candidate for candidate in search if candidate.is_file()), None)


def _read(file: Path, problems: list[Problem]) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(Problem(str(file), f"cannot be read: {error.strerror}"))
    except UnicodeDecodeError:
        problems.append(Problem(str(file), "is not UTF-8"))
    except tomllib.TOMLDecodeError as error:
        problems.append(Problem(str(file), f"is not TOML: {error}"))
    return {}


def _overlay(
    raw: dict[str, Any], environ: Mapping[str, str], origins: dict[Location, str], problems: list[Problem]
) -> None:
    """Put the variables over what the file says, noting which key came from which variable."""
    known = {(section, key): info for section, key, info in fields()}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX) or variable == FILE_VARIABLE:
            continue
        section, separator, key = variable.removeprefix(PREFIX).lower().partition("__")
        if not separator:
            # MAILGUARD_SERVICE_HOST and the like come from orchestrators; only a slip of one of our own names is an error.
            meant = next((f"{s}__{k}" for s, k in known if f"{s}_{k}" == section), "")
            if meant:
                problems.append(Problem(variable, f"is not a setting; did you mean {PREFIX}{meant.upper()}?"))
            continue
        info = known.get((section, key))
        if info is None:
            names = (f"{PREFIX}{s}__{k}".upper() for s, k in known)
            problems.append(Problem(variable, f"is not a setting; {nearest(variable, names)}"))
            continue
        table = raw.setdefault(section, {})
        if isinstance(table, dict):
            table[key] = parse_value(text, info)
            origins[section, key] = variable


def parse_value(text: str, info: FieldInfo) -> object:
    """A variable's text as the value of a setting: text stays text, a list is TOML, JSON or separated by commas."""
    if get_origin(info.annotation) is tuple:
        stripped = text.strip()
        if not stripped.strip("[] "):
            return []
        if stripped.startswith("[") and any(mark in stripped for mark in "\"'{"):  # else [::1]:25 or the like
            return _structured(stripped)
        return [entry.strip() for entry in stripped.split(",") if entry.strip()]
    if bool in (info.annotation, *get_args(info.annotation)):
        return {"true": True, "false": False}.get(text.strip().lower(), text)
    return text


def _structured(text: str) -> object:
    with contextlib.suppress(tomllib.TOMLDecodeError):
        return tomllib.loads(f"value = {text}")["value"]
    with contextlib.suppress(json.JSONDecodeError):
        return json.loads(text)
    return text


def _reveal_secrets(
    raw: dict[str, Any], environ: Mapping[str, str], problems: list[Problem], where: Callable[[Location], str]
) -> None:
    for section, table in raw.items():
        for key, value in list(table.items()) if isinstance(table, dict) else ():
            if isinstance(value, str) and is_reference(value) and _is_secret((section, key)):
                try:
                    table[key] = resolve_secret(value, environ)
                except ValueError as error:
                    del table[key]
                    problems.append(Problem(where((section, key)), f"{value!r} {error}"))


def _is_secret(location: Location) -> bool:
    return any(
        (section, key) == location[:2]
        and isinstance(info.json_schema_extra, dict)
        and "secret" in info.json_schema_extra
        for section, key, info in fields()
    )


def _where(location: Location, origins: Mapping[Location, str], file: Path | None) -> str:
    variable = origins.get(location[:2])
    if variable:
        return f"{variable}{dotted(('', *location[2:]))}" if location[2:] else variable
    return f"{file} {dotted(location)}" if file else dotted(location)
