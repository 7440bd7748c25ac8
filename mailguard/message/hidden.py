"""Text of HTML that its reader does not see: not displayed, tiny, in the colour of its ground, off the screen.

Newsletters hide text in good faith: a preview for the list of mails, gaps without font size, variants for other
screens. `Hidden` tells those apart. Works on lexbor's tree and takes the hidden elements out of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import re2
from selectolax.lexbor import LexborHTMLParser, LexborNode

from mailguard.message.colours import Colour, colour_of, near

ELEMENT_LIMIT = 4_000
"""Elements with a style of their own that are looked at."""
HIDDEN_LIMIT = 50
"""Hidden texts that are kept apart; all further ones are taken out, too."""
TEXT_LIMIT = 4_000
"""Characters of one hidden text that are kept."""
PARENT_LIMIT = 40
"""Elements around a hidden one among which another hidden one is looked for."""
STYLE_SHEET_LIMIT = 64 * 1024
"""Characters of style sheets that are searched for classes that hide."""
KEPT_STYLE = 500
"""Characters of a style attribute that is kept read for other mails."""
LIGHT = 0xE0
"""From here on all three channels make text light enough to vanish: light on light is how it is done."""


class HiddenBy(StrEnum):
    """How a text is kept from its reader."""

    DISPLAY = "display"
    """display:none, visibility:hidden, opacity:0, the hidden attribute."""
    SIZE = "size"
    COLOUR = "colour"
    POSITION = "position"
    CLASS = "class"
    """A class of the style sheet with display:none: most often a variant for other screens."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """One hidden text. `within_word`: letters that are seen stand directly before and after it."""

    by: HiddenBy
    text: str
    within_word: bool = False


_MARKER = re2.compile(
    rb"(?i)display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)|opacity\s*:\s*0?(?:\.0[0-9]*)?\s*[;!\"'}]"
    rb"|font(?:-size)?\s*:\s*[01]?(?:\.[0-9]+)?(?:px|pt|em|rem|%|\s*[;!\"'}/])|text-indent\s*:\s*-|max-height\s*:\s*0"
    rb"|(?:left|top)\s*:\s*-[0-9]{3}|\shidden[\s=/>]"
    rb"|[^-]color\s*[:=]\s*[\"']?\s*(?:#?(?:[ef][0-9a-f]){3}|#?[ef]{3}[^0-9a-f]|white|snow|ivory|ghostw|rgb\(\s*2[2-5])"
)
_STYLE_MARKER = re2.compile(
    rb"(?i)none|hidden|opacity|clip|collapse|-[0-9]{3}|font(?:-size)?\s*:\s*[01]?(?:\.[0-9]+)?(?:p|e|r|%|\s*(?:[;!/\0]|$))"
    rb"|(?:^|[^-])color\s*:\s*(?:#[ef]|white|snow|ivory|ghost|rgb)"
)
_NOT_SHOWN = re.compile(
    r"(?:^|;)(?:display:none|visibility:(?:hidden|collapse)|opacity:0?(?:\.0\d*)?(?:[;!]|$)|clip:rect\(0)"
)
_NO_HEIGHT = re.compile(r"(?:^|;)(?:max-)?height:0(?:\.0)?(?:px|pt)?(?:[;!]|$)")
_FONT_SIZE = re.compile(r"(?:^|;)font(?:-size)?:(\d*\.?\d+)(px|pt|em|rem|%|/|;|!|$)")
_SMALLEST = {"px": 2.0, "pt": 2.0, "em": 0.15, "rem": 0.15, "%": 15.0}
_OFF_SCREEN = re.compile(r"(?:^|;)(?:text-indent:-\d{3}|(?:left|top|margin-left|margin-top):-\d{4})")
_TEXT_COLOUR = re.compile(r"(?:^|;)color:([^;!]+)")
_GROUND = re.compile(r"(?:^|;)background(-color)?:([^;!]+)")
_NO_GROUND = frozenset({"none", "transparent", "inherit", "initial", "0"})
_BRACE = re.compile(r"[{}]")
_CLASS = re.compile(r"^[a-z]*")
_SELECTOR = re.compile(r"(?:[a-z]{1,10})?[.#][a-zA-Z][\w-]{0,80}")
_IGNORED = frozenset({"html", "body", "img", "input", "style", "script", "head", "br", "hr"})


def may_hide(source: str) -> bool:
    """Whether HTML source has anything at all by which text can be hidden: most mail of people has not."""
    return _MARKER.search(source.encode("utf-8", "replace")) is not None


def style_sheets(tree: LexborHTMLParser) -> str:
    """The style sheets that stand in the HTML."""
    return "\n".join(sheet.text() for sheet in tree.css("style"))[:STYLE_SHEET_LIMIT]


def take_hidden(tree: LexborHTMLParser, sheets: str) -> list[Hidden]:
    """Take hidden text out of a tree; what it was, in the order of the document. `sheets` are its style sheets."""
    found = _Finder(tree, sheets).find()
    hidden = [
        Hidden(by, _text(node)[:TEXT_LIMIT], by is not HiddenBy.CLASS and _within_word(node))
        for node, by in found[:HIDDEN_LIMIT]
    ]
    # From the last to the first: should one stand within another, it goes before that.
    for node, _ in reversed(found):
        node.decompose()
    return [one for one in hidden if one.text]


def _text(node: LexborNode) -> str:
    text = node.text_content if node.is_text_node else node.text()
    return " ".join((text or "").split())


def _compact(style: str | None) -> str:
    return "".join(style.lower().split()) if style else ""


@dataclass(frozen=True, slots=True)
class _Style:
    """What a style attribute says of its own: how it hides, and the colour of its text, if that is light enough to vanish."""

    by: HiddenBy | None = None
    light: Colour | None = None
    coloured: bool = False
    """Whether it says any colour, so that an attribute's does not count."""


_PLAIN = _Style()


def _suspect(written: str) -> _Style | None:
    """What a style attribute says, when it may say something that hides."""
    return _style_of(written) if _STYLE_MARKER.search(written.encode("utf-8", "replace")) else None


_kept_style = lru_cache(maxsize=2_048)(_suspect)


def _style_of(written: str) -> _Style:
    style = _compact(written)
    by = None
    if _is_not_shown(style):
        by = HiddenBy.DISPLAY
    elif _OFF_SCREEN.search(style):
        by = HiddenBy.POSITION
    elif _is_tiny(style):
        by = HiddenBy.SIZE
    match = _TEXT_COLOUR.search(style)
    return _Style(by, _light(match[1]), coloured=True) if match else _Style(by)


def _light(written: str) -> Colour | None:
    colour = colour_of(written)
    return colour if colour is not None and min(colour) >= LIGHT else None


class _Finder:
    """Looks for the hidden elements of one tree."""

    def __init__(self, tree: LexborHTMLParser, sheets: str) -> None:
        self._tree = tree
        self._sheets = sheets
        self._grounds: dict[int, Colour | None] = {}
        self._found: set[int] = set()

    def find(self) -> list[tuple[LexborNode, HiddenBy]]:
        """The outermost hidden elements and texts, in the order of the document."""
        classes = _hiding_selectors(self._sheets)
        by_class = {element.mem_id for element in self._tree.css(",".join(classes))} if classes else frozenset()
        found: list[tuple[LexborNode, HiddenBy]] = []
        seen: set[int] = set()
        for element, style in self._candidates(classes):
            hidden = [] if element.mem_id in seen else list(self._hidden_at(element, style))
            seen.add(element.mem_id)
            if not hidden and element.mem_id in by_class:
                hidden = [(element, HiddenBy.CLASS)]
            if hidden and not self._is_within_found(element):
                found += hidden
                self._found.update(node.mem_id for node, _ in hidden)
        return found

    def _candidates(self, classes: Sequence[str]) -> Iterator[tuple[LexborNode, _Style]]:
        """Elements that may be hidden, some of them twice, each with what its own style says."""
        others = [name for name in ("[hidden]", "font[color]") if self._tree.css_first(name)] + list(classes)
        elements = self._tree.css(",".join(["[style]", *others]))[:ELEMENT_LIMIT]
        written = [element.attrs.get("style") or "" for element in elements]
        # A mail has few styles, again and again: each is read once, and the usual ones for all mails.
        read = {one: _kept_style(one) if len(one) <= KEPT_STYLE else _suspect(one) for one in set(written)}
        styles = {one: style for one, style in read.items() if style is not None}
        noted = {element.mem_id for element in self._tree.css(",".join(["[hidden]", "[color]", *classes]))}
        for element, one in zip(elements, written, strict=True):
            style = styles.get(one, _PLAIN)
            if style.by or style.light or (element.mem_id in noted and (others or one in styles)):
                yield element, style

    def _is_within_found(self, element: LexborNode) -> bool:
        node = element.parent
        for _ in range(PARENT_LIMIT if self._found else 0):
            if node is None:
                return False
            if node.mem_id in self._found:
                return True
            node = node.parent
        return False

    def _hidden_at(self, element: LexborNode, style: _Style) -> Iterator[tuple[LexborNode, HiddenBy]]:
        if element.tag in _IGNORED:
            return
        attributes = element.attrs
        if "hidden" in attributes or style.by is HiddenBy.DISPLAY:
            yield element, HiddenBy.DISPLAY
        elif style.by is HiddenBy.POSITION:
            yield element, HiddenBy.POSITION
        elif style.by is HiddenBy.SIZE:
            yield from ((node, HiddenBy.SIZE) for node in _own_texts(element, "font"))
        elif self._vanishes(element, style.light if style.coloured else _light(attributes.get("color") or "")):
            yield from ((node, HiddenBy.COLOUR) for node in _own_texts(element, "color"))

    def _vanishes(self, element: LexborNode, light: Colour | None) -> bool:
        """Whether light text is in the colour of its ground. On an unknown ground it is not: a class may darken it."""
        ground = self._ground(element) if light is not None else None
        return light is not None and ground is not None and near(light, ground)

    def _ground(self, element: LexborNode) -> Colour | None:
        """The colour behind an element; None when it cannot be told."""
        around: list[int] = []
        node: LexborNode | None = element
        ground = None if self._sheets else (255, 255, 255)
        while node is not None:
            if node.mem_id in self._grounds:
                ground = self._grounds[node.mem_id]
                break
            around.append(node.mem_id)
            told, own = _own_ground(node)
            if told:
                ground = own
                break
            node = node.parent
        self._grounds.update(dict.fromkeys(around, ground))
        return ground


def _own_texts(element: LexborNode, prop: str) -> Iterator[LexborNode]:
    """The element, when all its text is as its style says; else the texts that stand directly in it."""
    if not _has_within(element, prop):
        yield element
        return
    for node in element.iter(include_text=True):
        if node.is_text_node and (node.text_content or "").strip():
            yield node


def _has_within(element: LexborNode, prop: str) -> bool:
    """Whether an element within this one says otherwise. Stops at the first: elements within each other cost no more."""
    inner = f'[style*="{prop}" i],font[{"color" if prop == "color" else "size"}]'
    return any(child.css_first(inner) is not None for child in element.iter())


def _own_ground(node: LexborNode) -> tuple[bool, Colour | None]:
    """Whether an element has a ground of its own, and its colour; None for a picture or what else cannot be told."""
    attributes = node.attributes
    if "background" in attributes:
        return True, None
    style = _compact(attributes.get("style"))
    if "background" in style:
        if "url(" in style or "gradient" in style:
            return True, None
        match = _GROUND.search(style)
        if match and match[2] not in _NO_GROUND:
            return True, colour_of(match[2])
    if attributes.get("bgcolor"):
        return True, colour_of(attributes["bgcolor"] or "")
    return False, None


def _is_not_shown(style: str) -> bool:
    """mso-hide alone is none: it hides from Outlook what all others show."""
    return _NOT_SHOWN.search(style) is not None or ("overflow:hidden" in style and _NO_HEIGHT.search(style) is not None)


def _is_tiny(style: str) -> bool:
    if "font" not in style:
        return False
    match = _FONT_SIZE.search(style)
    if match is None:
        return False
    size, unit = float(match[1]), match[2]
    return size < _SMALLEST[unit] if unit in _SMALLEST else size == 0.0


def _within_word(node: LexborNode) -> bool:
    before, after = node.prev, node.next
    if before is None or after is None or not (before.is_text_node and after.is_text_node):
        return False
    left, right = before.text_content or "", after.text_content or ""
    return left[-1:].isalnum() and right[:1].isalnum()


def _hiding_selectors(sheets: str) -> list[str]:
    """Selectors of a class or id that is never displayed: none that a media query shows."""
    if "none" not in sheets and "NONE" not in sheets:
        return []
    everywhere, conditional = _without_media(sheets)
    selectors: dict[str, None] = {}
    for rule in everywhere.split("}"):
        names, _, style = rule.partition("{")
        if len(names) < 500 and "none" in style and _NOT_SHOWN.search(_compact(style)):
            names = names.rpartition("*/")[2]
            selectors.update((name, None) for name in map(str.strip, names.split(",")) if _SELECTOR.fullmatch(name))
    return [name for name in selectors if _CLASS.sub("", name, count=1) not in conditional][:HIDDEN_LIMIT]


def _without_media(sheets: str) -> tuple[str, str]:
    """Style sheets apart: what holds everywhere, and what stands within @media."""
    everywhere: list[str] = []
    conditional: list[str] = []
    at = 0
    while (start := sheets.find("@media", at)) >= 0:
        everywhere.append(sheets[at:start])
        depth, end = 0, len(sheets)
        for brace in _BRACE.finditer(sheets, start):
            depth += 1 if brace[0] == "{" else -1
            if depth <= 0:
                end = brace.end()
                break
        conditional.append(sheets[start:end])
        at = end
    everywhere.append(sheets[at:])
    return "\n".join(everywhere), "\n".join(conditional)
