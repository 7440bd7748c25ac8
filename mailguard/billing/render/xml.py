"""XML as text: elements that are built and then written, with every text escaped and without what XML 1.0 cannot hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

from mailguard.billing.render.text import plain

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


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
    inner = "".join(fragment(child) for child in root.children if child is not None) or _escaped(root.text)
    return f"<{_start(root)}>{inner}</{root.name}>"


def _write(element: Element, depth: int, lines: list[str]) -> None:
    indent = "  " * depth
    children = [child for child in element.children if child is not None]
    if not children:
        lines.append(f"{indent}<{_start(element)}>{_escaped(element.text)}</{element.name}>")
        return
    lines.append(f"{indent}<{_start(element)}>")
    for child in children:
        _write(child, depth + 1, lines)
    lines.append(f"{indent}</{element.name}>")


def _start(element: Element) -> str:
    pairs = element.attributes.items()
    return element.name + "".join(f" {name}={quoteattr(_NOT_XML.sub('', value))}" for name, value in pairs)


def _escaped(text: str) -> str:
    return escape(_NOT_XML.sub("", text))
