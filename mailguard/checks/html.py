"""The html check: active content in the body and in attached pages, link texts, hidden text and tricks with letters.

Facts about the form. What the words mean is the rules' business; who sent them, the identity check's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mailguard.checks.base import CheckContext
from mailguard.checks.html_links import link_facts
from mailguard.checks.html_pages import page_facts
from mailguard.checks.html_text import letter_tricks
from mailguard.core.verdict import CheckResult, Symbol
from mailguard.message.active import Active, active_content, is_smuggling
from mailguard.message.hidden_facts import hidden_text
from mailguard.message.parse import Message

EVIDENCE_LIMIT = 3
"""Evidences of a symbol that are kept."""
PICTURE_TEXT = 80
"""Visible characters up to which a picture that is a link is the whole mail."""

SYMBOLS: Mapping[str, tuple[float, str]] = {
    "HTML_FORM": (0.5, "the HTML holds a form"),
    "HTML_PASSWORD": (2.5, "the HTML asks for a password"),
    "HTML_CARD": (2.5, "the HTML asks for a card, an account number or a secret phrase"),
    "HTML_SCRIPT": (0.7, "the HTML holds a script; no mail program runs it"),
    "HTML_SCRIPT_URL": (1.0, "a link or picture is a script"),
    "HTML_DATA_PAGE": (2.0, "a link or frame holds a page itself"),
    "HTML_HANDLER": (0.3, "an element is to run a script when it is shown or clicked"),
    "HTML_FRAME": (0.7, "the HTML embeds another page or object"),
    "HTML_REDIRECT": (2.0, "the HTML sends its reader elsewhere by itself"),
    "HTML_BASE": (0.5, "the HTML sets where its links lead in one place, so that none shows it"),
    "HTML_SMUGGLING": (2.5, "the HTML makes a file or page out of encoded data"),
    "HTML_PICTURE_ONLY": (0.8, "a picture that is a link is nearly the whole mail"),
    "PAGE_FORM": (1.5, "an attached page holds a form"),
    "PAGE_PASSWORD": (3.0, "an attached page asks for a password"),
    "PAGE_CARD": (3.0, "an attached page asks for a card, an account number or a secret phrase"),
    "PAGE_PREFILLED": (2.0, "an attached page has a mail address filled in"),
    "PAGE_SCRIPT": (1.0, "an attached page runs a script"),
    "PAGE_REMOTE_SCRIPT": (1.0, "an attached page fetches a script from the web"),
    "PAGE_SCRIPT_URL": (1.0, "a link in an attached page is a script"),
    "PAGE_DATA_PAGE": (1.5, "a link or frame in an attached page holds a page itself"),
    "PAGE_FRAME": (0.7, "an attached page embeds another page or object"),
    "PAGE_REDIRECT": (2.0, "an attached page sends its reader elsewhere by itself"),
    "PAGE_BASE": (0.5, "an attached page sets where its links lead in one place"),
    "PAGE_SMUGGLING": (3.0, "an attached page makes a file or page out of encoded data (HTML smuggling)"),
    "PAGE_ENCODED": (1.0, "an attached page carries much encoded data beside its script"),
    "PAGE_NOTHING_TO_READ": (1.0, "an attached page has a script and no text"),
    "SVG_SCRIPT": (3.0, "an attached picture runs a script"),
    "SVG_FOREIGN_OBJECT": (2.0, "an attached picture embeds a page"),
    "SVG_FORM": (3.0, "an attached picture holds a form"),
    "SVG_LINK": (0.7, "an attached picture leads elsewhere"),
    "SVG_SWELLS": (3.0, "an attached picture's entities swell to a size that only serves to stop who shows it"),
    "INVITE": (0.0, "there is a calendar entry"),
    "INVITE_OTHER_ORGANISER": (0.3, "a calendar entry's organiser is of another domain than the author"),
    "INVITE_NO_ORGANISER": (0.5, "a calendar entry asks for an answer and names no organiser"),
    "INVITE_LINK_ELSEWHERE": (0.2, "a calendar entry links to neither its author's nor its organiser's domain"),
    "CARD_LINK": (0.2, "an attached card holds a link"),
    "LINK_TEXT_TRUE": (0.0, "a link's text names the domain that it leads to"),
    "LINK_TEXT_TRACKED": (0.0, "a link's text names a domain, and its target counts clicks for the sender"),
    "LINK_TEXT_ELSEWHERE": (1.5, "a link's text names another domain than it leads to"),
    "LINK_TEXT_ADDRESS": (0.5, "a link's text is a mail address, and it leads to a page"),
    "LINK_TEXT_SECURE_ONLY": (0.3, "a link's text says https, its target does not"),
    "LINK_SINGLE": (0.0, "there is one link in all"),
    "URL_LEADS_ON": (0.2, "a link carries the address of another organisation's page, to which it may lead on"),
    "HIDDEN_PREVIEW": (0.0, "the text for the list of mails is hidden in the mail, as newsletters do"),
    "HIDDEN_TEXT": (0.3, "the HTML hides text from its reader"),
    "HIDDEN_TEXT_MOSTLY": (2.0, "the HTML hides more text than it shows"),
    "HIDDEN_TEXT_TINY": (0.7, "text is too small to be seen"),
    "HIDDEN_TEXT_COLOUR": (0.7, "text has the colour of its ground"),
    "HIDDEN_WITHIN_WORDS": (2.5, "letters are hidden within words"),
    "TEXT_SPLIT_WORDS": (1.0, "invisible characters part words of the text"),
    "TEXT_DIRECTION_OVERRIDE": (1.5, "the text is stored in another order than it is read in"),
    "TEXT_MARKS": (1.0, "letters of the text bear marks of no language"),
    "TEXT_STYLED_LETTERS": (0.5, "the text is written in letters meant for mathematics"),
    "TEXT_MIXED_SCRIPTS": (1.5, "words of the text mix letters of several scripts that look the same"),
    "TEXT_SPACED_OUT": (0.3, "letters of words in the text stand apart"),
    "SUBJECT_SPLIT_WORDS": (1.5, "invisible characters part words of the subject"),
    "SUBJECT_DIRECTION_OVERRIDE": (2.0, "the subject is stored in another order than it is read in"),
    "SUBJECT_MARKS": (1.5, "letters of the subject bear marks of no language"),
    "SUBJECT_STYLED_LETTERS": (1.0, "the subject is written in letters meant for mathematics"),
    "SUBJECT_MIXED_SCRIPTS": (2.0, "words of the subject mix letters of several scripts that look the same"),
    "SUBJECT_SPACED_OUT": (0.5, "letters of words in the subject stand apart"),
    "FROM_SPLIT_WORDS": (2.0, "invisible characters part words of the author's name"),
    "FROM_DIRECTION_OVERRIDE": (2.0, "the author's name is stored in another order than it is read in"),
    "FROM_MARKS": (1.5, "letters of the author's name bear marks of no language"),
    "FROM_STYLED_LETTERS": (1.5, "the author's name is written in letters meant for mathematics"),
    "FROM_MIXED_SCRIPTS": (2.5, "words of the author's name mix letters of several scripts that look the same"),
    "FROM_SPACED_OUT": (0.5, "letters of the author's name stand apart"),
}
"""Symbols with their default points, and what they mean."""

_OF_BODY: Mapping[Active, str] = {
    Active.FORM: "HTML_FORM",
    Active.PASSWORD: "HTML_PASSWORD",
    Active.CARD: "HTML_CARD",
    Active.SCRIPT: "HTML_SCRIPT",
    Active.SCRIPT_URL: "HTML_SCRIPT_URL",
    Active.DATA_PAGE: "HTML_DATA_PAGE",
    Active.HANDLER: "HTML_HANDLER",
    Active.FRAME: "HTML_FRAME",
    Active.REFRESH: "HTML_REDIRECT",
    Active.BASE: "HTML_BASE",
}


class HtmlCheck:
    """Reports the symbols of SYMBOLS."""

    name = "html"
    needs: tuple[str, ...] = ()
    waits = False

    async def run(self, context: CheckContext, results: Mapping[str, CheckResult]) -> CheckResult:
        """See Check."""
        return self.examine(context.message)

    def examine(self, message: Message) -> CheckResult:
        """The result for a message: pure, in linear time."""
        found: dict[str, dict[str, None]] = {}
        for symbol, evidence in _facts(message):
            found.setdefault(symbol, {})[evidence] = None
        symbols = tuple(
            Symbol(name, *SYMBOLS[name], tuple(found[name])[:EVIDENCE_LIMIT]) for name in SYMBOLS if name in found
        )
        return CheckResult(self.name, symbols=symbols, detail=f"{len(message.pages)} pages")


def _facts(message: Message) -> Iterator[tuple[str, str]]:
    if message.html:
        yield from _body(message)
        yield from hidden_text(message.rendered)
    if message.pages:
        yield from page_facts(message)
    if message.links:
        yield from link_facts(message)
    yield from letter_tricks(message)


def _body(message: Message) -> Iterator[tuple[str, str]]:
    found = active_content(message.html)
    for kind, symbol in _OF_BODY.items():
        if kind in found:
            yield symbol, found[kind]
    if is_smuggling(found):
        yield "HTML_SMUGGLING", found.get(Active.MAKES_FILE) or found[Active.DECODES]
    pictured = Active.IMAGE in found and any(link.host and not link.text for link in message.rendered.links)
    if pictured and len(message.visible_text) <= PICTURE_TEXT:
        yield "HTML_PICTURE_ONLY", f"{len(message.visible_text)} characters of text"
