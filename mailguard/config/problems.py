"""What pydantic found wrong, as Problems for people: the key, the value as it is, and what is allowed.

Used for settings and for policy files alike. Knows nothing of where a key was written: the caller says so.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from mailguard.core.errors import Problem

Location = tuple[str | int, ...]

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text (in quotes)",
    "str": "text (in quotes)",
    "path": "a path",
    "tuple": "a list",
    "list": "a list",
    "dict": "a table of keys and values",
    "model": "a table of keys and values",
    "mapping": "a table of keys and values",
}
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean X?` when a known name is near, else the known names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}" if names else "none is known here"


def dotted(location: Location) -> str:
    """`("thresholds", 0, "score")` as `thresholds[0].score`."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def problems_of(
    error: ValidationError,
    model: type[BaseModel],
    where: Callable[[Location], str],
    *,
    secret: Callable[[Location], bool] = lambda location: False,
) -> tuple[Problem, ...]:
    """One Problem for each thing in `error`. `where` names the place of a key; values of `secret` keys are not shown."""
    return tuple(_problem(detail, model, where, secret) for detail in error.errors(include_url=False))


def _problem(
    detail: Any, model: type[BaseModel], where: Callable[[Location], str], secret: Callable[[Location], bool]
) -> Problem:
    kind, location = detail["type"], tuple(step for step in detail["loc"] if step != "[key]")
    place = where(location)
    if kind == "extra_forbidden":
        return Problem(place, f"unknown key; {nearest(str(location[-1]), _known(model, location[:-1]))}")
    if kind == "missing":
        return Problem(place, "is missing")
    if kind == "value_error" and not location:
        return Problem(place, _text(detail))
    shown = "the value" if secret(location) else _shown(detail["input"])
    if kind == "value_error":
        # An error about the entries of a table or list says which itself; all of it as a value would only bury it.
        plain = not isinstance(detail["input"], (dict, list, tuple))
        return Problem(place, f"{shown} {_text(detail)}" if plain else _text(detail))
    return Problem(place, f"{shown} {_allowed(kind, detail)}")


def _text(detail: Any) -> str:
    return str(detail["ctx"]["error"])


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(str(value)) if not isinstance(value, (int, float, str, list, tuple, dict)) else repr(value)
    return text if len(text) <= 80 else f"{text[:76]} …"


def _allowed(kind: str, detail: Any) -> str:
    context = detail.get("ctx", {})
    if kind in {"literal_error", "enum"}:
        return f"is not one of {str(context['expected']).replace(' or ', ', ').replace(chr(39), '')}"
    for bound, words in _BOUNDS.items():
        if bound in context:
            return f"must be {words} {context[bound]}"
    if kind == "string_pattern_mismatch":
        return f"must match {context['pattern']}"
    if kind == "too_short":
        return f"must have at least {context['min_length']} entries"
    base = kind.partition("_")[0]
    if base in _KINDS:
        return f"must be {_KINDS[base]}"
    message = str(detail["msg"])
    return f"is not allowed: {message[:1].lower()}{message[1:]}"


def _known(model: type[BaseModel], location: Location) -> Iterator[str]:
    """The keys of the table at `location`, found by walking the models' annotations."""
    current: type[BaseModel] | None = model
    for step in location:
        if current is None:
            return
        if isinstance(step, str) and step in current.model_fields:
            current = _model_in(current.model_fields[step].annotation)
    if current is not None:
        yield from (field.alias or name for name, field in current.model_fields.items())


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation such as `tuple[Model, ...]` or `Model | None` holds, if any."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for argument in get_args(annotation) if (found := _model_in(argument))), None)
