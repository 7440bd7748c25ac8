"""XML as text: elements that are built and then written, with every text escaped and without what XML 1.0 cannot hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

from mailguard.billing.render.text import plain


@dataclass(frozen=True, slots=True)
class Element:
    """An element with either children or a text. None among the children are left out."""

    name: str
    children: Sequence[Element | None] = ()
    text: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


def text_of(name: str, text: str, **attributes: str) -> Element | None:
    """An element with foreign text, as one line; None when nothing is left of it."""
    line = plain(text)
    return Element(name, text=line, attributes=attributes) if line else None


def document(root: Element) -> str:
    """The document, in UTF-8 once it is encoded, indented, its lines ended by LF."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>']
    _write(root, 0, lines)
    return "\n".join(lines) + "\n"


def fragment(root: Element) -> str:
    """An element on one line, to stand within another document."""
    attributes = "".join(f" {name}={quoteattr(value)}" for name, value in root.attributes.items())
    inner = "".join(fragment(child) for child in root.children if child is not None) or escape(root.text)
    return f"<{root.name}{attributes}>{inner}</{root.name}>"


def _write(element: Element, depth: int, lines: list[str]) -> None:
    indent = "  " * depth
    attributes = "".join(f" {name}={quoteattr(value)}" for name, value in element.attributes.items())
    children = [child for child in element.children if child is not None]
    if not children:
        lines.append(f"{indent}<{element.name}{attributes}>{escape(element.text)}</{element.name}>")
        return
    lines.append(f"{indent}<{element.name}{attributes}>")
    for child in children:
        _write(child, depth + 1, lines)
    lines.append(f"{indent}</{element.name}>")
