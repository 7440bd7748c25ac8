"""Which brands a mail names, and where: in the display name, the subject, its first lines, its title and its logo."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from mailguard.checks.identity_data import Brand, Senders, senders, words_of
from mailguard.core.lookalike import skeleton

WORDS_LIMIT = 80
"""Words of one place that are looked at."""
HEAD_LIMIT = 400
"""Characters at the top of the text that say whose mail it is."""
SUBJECT_LIMIT = 500
"""Characters of a subject that are looked at."""
HTML_LIMIT = 64 * 1024
"""Characters of HTML in which title and logo are looked for."""
PICTURES = 2
"""Pictures with a text that are taken for logos."""
NAME_LEAST = 5
"""Letters from which a word that only looks like a name counts."""

_ADDRESSES = re.compile(r"\S{1,200}@\S+|[a-zA-Z]{2,8}://\S+|\bwww\.\S+")
_TITLE = re.compile(r"<title[^>]{0,100}>([^<]{1,200})<", re.IGNORECASE)
_ALT = re.compile(r"(?:\"([^\"<>]{2,60})\"|'([^'<>]{2,60})')")
_NOT_LETTERS = re.compile(r"[0-9$@|!]")
_LETTERS_WITHOUT_BLANKS = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
_CONTEXT_WORDS = """
    account accounts alert alerts bank billing business card cards care center centre client clientes clients compte conto
    customer customers delivery dienst express help id info inc kundenservice kundendienst live mail ltd mobile
    message messages notification notifications notice news no noreply office online order orders paket parcel pay
    payment payments post prime pro quality refund reply rewards reward security secure seguridad servico servicio service
    services servizio shipping shop sicherheit sicurezza signin store suporte soporte support supporto team tech the update updates
    verification verify wallet win winner gift survey invoice receipt assistance bonus cuenta konto rechnung facture
    fattura factura us uk de fr it es nl com storage subscription abonnement
"""
_CONTEXT = frozenset(_CONTEXT_WORDS.split())
"""Words behind a name that is an ordinary word, which show that the firm is meant."""
_WITH_WORDS = """
    with via by on through using mit per über uber ueber bei auf durch par avec sur chez con por en tramite su da met op door
    at w z przez em no na pelo pela com med på hos through against vs versus like than
"""
_WITH = frozenset(_WITH_WORDS.split())
"""Words before a name that show that it is not the sender's: `shipped with`, `paid by`, `follow us on`."""
_SOCIAL_WORDS = """
    Facebook Instagram WhatsApp LinkedIn Twitter TikTok Snapchat Telegram Pinterest Reddit Discord YouTube Spotify Google Apple Xing
    Visa Mastercard PayPal
"""
_SOCIAL = frozenset(_SOCIAL_WORDS.split())
"""Brands whose pictures stand at the foot of any mail."""


@dataclass(frozen=True, slots=True)
class Named:
    """What one place names: brands, and words that only look like a name (`Paypa1`)."""

    brands: tuple[Brand, ...] = ()
    imitations: tuple[tuple[str, Brand], ...] = ()


def named_in_display(name: str) -> Named:
    """The brands that a display name names."""
    words = words_of(name)[:WORDS_LIMIT]
    brands = list(_mentions(words))
    first = _loose_at_start(words)
    if first is not None:
        brands.append((first, 0))
    found = {brand.name: brand for brand, _ in brands}
    found.update((brand.name, brand) for brand in _in_scripts(name))
    return Named(tuple(found.values()), tuple(_imitations(name)))


def named_in_subject(text: str) -> Named:
    """The brands that a subject names, those apart that only carry, pay or tell."""
    text = text[:SUBJECT_LIMIT]
    return Named(named_in_text(text), tuple(_imitations(text)))


def named_in_text(text: str) -> tuple[Brand, ...]:
    """The brands that a text names likewise; addresses and URLs in it name nobody."""
    if "@" in text or "://" in text or "www." in text:
        text = _ADDRESSES.sub(" ", text)
    words = words_of(text)[:WORDS_LIMIT]
    found = {brand.name: brand for brand, at in _mentions(words) if at == 0 or words[at - 1].casefold() not in _WITH}
    found.update((brand.name, brand) for brand in _in_scripts(text))
    return tuple(found.values())


def named_in_title(html: str) -> tuple[Brand, ...]:
    """The brands in the title of HTML."""
    match = _TITLE.search(html, 0, HTML_LIMIT) if "<title" in html[:HTML_LIMIT] or "<TITLE" in html else None
    return named_in_text(match[1]) if match else ()


def named_in_logo(html: str) -> tuple[Brand, ...]:
    """The brands that the first two pictures' texts name as a whole; badges of networks and of cards apart."""
    found: dict[str, Brand] = {}
    for text in _picture_texts(html[:HTML_LIMIT]):
        words = words_of(text)
        if len(words) <= 4:
            brands = [brand for brand, _ in _mentions(words)]
            first = _loose_at_start(words)
            found.update((brand.name, brand) for brand in (*brands, *((first,) if first else ())))
    return tuple(brand for brand in found.values() if brand.name not in _SOCIAL)


def _picture_texts(html: str) -> Iterator[str]:
    """The first two texts of pictures that say something."""
    at, count = html.find("alt="), 0
    while at >= 0 and count < PICTURES:
        match = _ALT.match(html, at + 4)
        if match:
            count += 1
            yield match[1] or match[2]
        at = html.find("alt=", at + 4)


def _mentions(words: list[str]) -> Iterator[tuple[Brand, int]]:
    """(brand, index of its first word) for each name among the words, the longest where several begin."""
    known, prefixes = senders(), _prefixes()
    folded = [word.casefold() for word in words]
    count, done = len(words), 0
    for at in [at for at, name in enumerate(folded) if name in prefixes]:
        if at < done:
            continue
        name, end = folded[at], at + 1
        found: tuple[Brand, int] | None = None
        while name in prefixes:
            brand = known.names.get(name)
            if brand is not None and (name not in known.capitals or all(map(str.isupper, words[at:end]))):
                found = brand, end
            if end == count:
                break
            name += folded[end]
            end += 1
        if found is not None:
            yield found[0], at
            done = found[1]


def _loose_at_start(words: list[str]) -> Brand | None:
    """The brand whose name, an ordinary word, is all of a display name, or stands before words that firms use."""
    known: Senders = senders()
    folded = [word.casefold() for word in words]
    for length in range(min(3, len(folded)), 0, -1):
        brand = known.loose.get("".join(folded[:length]))
        if brand is not None and all(word in _CONTEXT or word.isdigit() for word in folded[length:]):
            return brand
    return None


def _in_scripts(text: str) -> Iterator[Brand]:
    if text.isascii() or not _LETTERS_WITHOUT_BLANKS.search(text):
        return
    folded = "".join(words_of(text))
    yield from (brand for name, brand in senders().scripts.items() if name in folded)


def _imitations(text: str) -> Iterator[tuple[str, Brand]]:
    """Words that look like a name and are none: digits for letters, letters of other scripts."""
    if text.isascii() and not _NOT_LETTERS.search(text):
        return
    known, skeletons = senders(), _skeletons()
    for word in text.split()[:WORDS_LIMIT]:
        bare = word.strip(".,:;!?()[]\"'<>|-_").casefold()
        if NAME_LEAST <= len(bare) <= 30 and (not bare.isascii() or not bare.isalpha()) and bare not in known.names:
            brand = skeletons.get(skeleton(bare))
            if brand is not None and "".join(words_of(bare)).casefold() not in known.names:
                yield word, brand


@cache
def _prefixes() -> frozenset[str]:
    """All beginnings of all names: words are joined for as long as something may come of it."""
    return frozenset(name[:length] for name in senders().names for length in range(1, len(name) + 1))


@cache
def _skeletons() -> dict[str, Brand]:
    known = senders()
    return {skeleton(name): brand for name, brand in known.names.items() if len(name) >= NAME_LEAST and name.isascii()}
