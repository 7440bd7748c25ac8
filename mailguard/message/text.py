"""HTML to the text and the links that a reader meets; bounded in size, depth and attributes, since lexbor is quadratic in both."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from selectolax.lexbor import LexborHTMLParser

from mailguard.message.hidden import Hidden, may_hide, style_sheets, take_hidden
from mailguard.message.urls import Link, link_of, links_of_text

__all__ = ["Link", "Rendered", "links_of_text", "render_html"]

HTML_LIMIT = 512 * 1024
"""Characters of HTML that are parsed."""
DEPTH_LIMIT = 1_500
"""Elements within each other up to which the parser is used: 2,000 cost it 3 ms, 20,000 cost 0.4 s."""
ATTRIBUTE_LIMIT = 1_000
"""Attributes of one element up to which the parser is used: 20,000 cost it 0.45 s."""
LINK_LIMIT = 500
"""Links that are kept of one message's HTML."""
LINK_TEXT_LIMIT = 300
"""Characters of a link's text that are kept."""

_SMALL = 16 * 1024
_BLOCK = re.compile(
    r"<(?=/?(?:p|br|div|td|tr|li|ul|ol|table|h[1-6]|blockquote|hr|pre|center|section|title)\b)", re.IGNORECASE
)
_ATTRIBUTE = r"[^\s>/=]++(?:\s*+=\s*+(?:\"[^\"]*+\"|'[^']*+'|[^\s>]*+))?+"
_ELEMENT = re.compile(rf"<[a-zA-Z][^\s>/]*+(?:[\s/=]++|{_ATTRIBUTE})*+")
_ATTRIBUTES = re.compile(_ATTRIBUTE)
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*+)")
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)
_DROPPED = re.compile(
    r"<(script|style|head)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)|<[!/?a-zA-Z](?:[^<>]*+>)?", re.IGNORECASE | re.DOTALL
)
_HREF = re.compile(r"href\s{0,9}=\s{0,9}(?:\"([^\"<>]{0,2048})|'([^'<>]{0,2048})|([^\s<>\"']{1,2048}))", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rendered:
    """The text of HTML, a line for each block, and its links. `complete`: the whole was parsed.

    `visible` is the text without what is `hidden` from the reader by style; the same text when nothing is.
    """

    text: str = ""
    links: tuple[Link, ...] = ()
    complete: bool = True
    visible: str = ""
    hidden: tuple[Hidden, ...] = ()


def render_html(source: str) -> Rendered:
    """The text and links of HTML. What would take the parser too long is read by patterns instead, and not `complete`."""
    if not source:
        return Rendered()
    complete = len(source) <= HTML_LIMIT
    source = source[:HTML_LIMIT]
    if not _affordable(source):
        return _by_patterns(source)
    # Inline tags do not part words; blocks do, and lexbor's text knows no difference.
    tree = LexborHTMLParser(_BLOCK.sub("\n<", source).replace("\0", " "))
    links: dict[str, Link] = {}
    for element in tree.css("a[href],area[href],form[action]"):
        attributes = element.attributes
        link = link_of(attributes.get("href") or attributes.get("action") or "")
        if link and link.url not in links:
            links[link.url] = link._replace(text=_squeeze(element.text()[: 4 * LINK_TEXT_LIMIT])[:LINK_TEXT_LIMIT])
            if len(links) >= LINK_LIMIT:
                break
    may = may_hide(source)
    sheets = style_sheets(tree) if may else ""
    tree.strip_tags(["script", "style", "noscript", "template"])
    text = visible = _text(tree)
    hidden = take_hidden(tree, sheets) if may else ()
    if hidden:
        visible = _text(tree)
    return Rendered(text, tuple(links.values()), complete, visible, tuple(hidden))


def _text(tree: LexborHTMLParser) -> str:
    body = tree.body
    return _squeeze(body.text()) if body else ""


def _squeeze(text: str) -> str:
    """Runs of white space as one blank, no empty lines."""
    lines = []
    for line in map(str.strip, text.split("\n")):
        # What is printable has no other white space than blanks: most lines are as they should be, which is seen sooner.
        if line:
            lines.append(line if "  " not in line and line.isprintable() else " ".join(line.split()))
    return "\n".join(lines)


def _affordable(source: str) -> bool:
    """Whether the parser will be done with it in some milliseconds."""
    if source.count("<") - 2 * source.count("</") > DEPTH_LIMIT and _is_deep(source):
        return False
    if len(source) <= _SMALL:
        return True
    for match in _ELEMENT.finditer(source):
        element = match[0]
        if len(element) > 3 * ATTRIBUTE_LIMIT and len(_ATTRIBUTES.findall(element)) > ATTRIBUTE_LIMIT:
            return False
    return True


def _is_deep(source: str) -> bool:
    """Whether more elements than DEPTH_LIMIT may be open at once, as far as tags tell."""
    depth = 0
    for tag in _TAG.finditer(source):
        closing, name = tag.groups()
        if closing:
            depth = max(0, depth - 1)
        elif name.lower() not in _VOID:
            depth += 1
            if depth > DEPTH_LIMIT:
                return True
    return False


def _by_patterns(source: str) -> Rendered:
    links: dict[str, Link] = {}
    for match in _HREF.finditer(source):
        link = link_of(html.unescape(match[1] or match[2] or match[3] or ""))
        if link and link.url not in links:
            links[link.url] = link
            if len(links) >= LINK_LIMIT:
                break
    text = html.unescape(_DROPPED.sub(" ", _BLOCK.sub("\n<", source)))
    text = _squeeze(text)
    return Rendered(text, tuple(links.values()), complete=False, visible=text)
