"""What the codes of a mail say, as symbols: where their links lead, and what the mail around them is about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mailguard.checks.identity_data import organisation
from mailguard.checks.link_facts import LinkFact, facts_of
from mailguard.core.address import domain_of
from mailguard.core.verdict import Symbol
from mailguard.message.message import Message
from mailguard.message.urls import Link, link_of, links_of_text

EVIDENCE_LIMIT = 5
EVIDENCE = 200
"""Characters of one evidence."""
WORDS_LIMIT = 20_000
"""Characters of the text in which words are looked for."""

SYMBOLS: Mapping[str, tuple[float, str]] = {
    "QR_CODE_LINK": (0.3, "a code in the mail holds a link"),
    "QR_CODE_OTHER": (0.0, "a code in the mail holds something else than a link"),
    "QR_CODE_COINS": (1.0, "a code asks for a payment in a cryptocurrency"),
    "QR_CODE_ONLY_LINK": (1.2, "the only links of the mail are in codes, where no program looks"),
    "QR_CODE_ELSEWHERE": (0.5, "a code leads to another organisation than the author's"),
    "QR_CODE_ANYBODY": (1.0, "a code leads to a shortener, a free page or a file host"),
    "QR_CODE_ADDRESS": (1.5, "a code leads to an address in place of a name"),
    "QR_CODE_PREFILLED": (2.0, "the link in a code carries somebody's mail address"),
    "QR_CODE_CREDENTIAL_WORDS": (1.5, "beside a code with a link there is talk of passwords, sign-in or verification"),
    "QR_CODE_DRAWN": (2.0, "a code is drawn with letters or cells, so that no picture is there to be read"),
    "QR_PICTURE_TOO_LARGE": (0.3, "a picture or PDF is too large to be looked into"),
}
"""Symbols with their default points, and what they mean."""

_COINS = re.compile(
    r"(?:bitcoin|bitcoincash|ethereum|litecoin|monero|dogecoin|tron|solana|lightning|dash|zcash):", re.IGNORECASE
)
_BARE = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9\-]{0,61}[a-z0-9])?\.){1,5}[a-z]{2,24}(?::\d{1,5})?(?:[/?#]\S*)?", re.IGNORECASE
)
_WORDS = re.compile(
    r"\b(?:passwords?|passcode|credentials?|log ?-?in|sign ?-?in|2fa|mfa|(?:two|multi)-factor|authenticat(?:or|ion|e)"
    r"|verif(?:y|ication)|re-?validate|(?:account|mailbox) (?:has been |will be |is )?(?:suspended|locked|deactivated|expir\w+)"
    r"|passwort|kennwort|anmelden|anmeldung|bestätigen sie|zwei-faktor|mot de passe|connexion|vérifi(?:er|ez|cation)"
    r"|contraseña|iniciar sesión|verificar|verifique|senha|autentica(?:r|ção|ción)|accedi|verifica(?:re)?"
    r"|wachtwoord|inloggen|verifi(?:eer|ëren)|hasło|zaloguj|zweryfikuj|heslo|přihlásit)\b|パスワード|認証|密码|验证|пароль|войти",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Code:
    """A code that was read: what it says, where it stands, and whether it is drawn rather than a picture."""

    text: str
    where: str
    drawn: bool = False

    @property
    def shown(self) -> str:
        """It as evidence."""
        return f"{self.text[:EVIDENCE]} ({self.where})"


def links_of(code: Code) -> list[Link]:
    """The links in a code: the whole of it, also when the scheme is missing, or those in a card or other record."""
    text = code.text.strip()
    whole = link_of(text) if not re.search(r"\s", text) else None
    if whole is not None and whole.host:
        return [whole]
    if _BARE.fullmatch(text):
        bare = link_of(f"http://{text}")
        return [bare] if bare is not None and bare.host else []
    return links_of_text(text, limit=10)


def code_symbols(codes: Sequence[Code], too_large: Sequence[str], message: Message) -> tuple[Symbol, ...]:
    """The symbols of SYMBOLS for a mail's codes."""
    found: dict[str, dict[str, None]] = {}
    for name, evidence in _facts(codes, message):
        found.setdefault(name, {})[evidence] = None
    for file in too_large:
        found.setdefault("QR_PICTURE_TOO_LARGE", {})[file] = None
    return tuple(Symbol(name, *SYMBOLS[name], tuple(found[name])[:EVIDENCE_LIMIT]) for name in SYMBOLS if name in found)


def _facts(codes: Sequence[Code], message: Message) -> Iterator[tuple[str, str]]:
    authors = {organisation(domain_of(address).lower()) for address in message.from_addresses}
    linked: list[Link] = []
    for code in codes:
        links = links_of(code)
        linked += links
        if code.drawn:
            yield "QR_CODE_DRAWN", code.where
        if links:
            yield "QR_CODE_LINK", code.shown
        elif _COINS.match(code.text):
            yield "QR_CODE_COINS", code.shown
        else:
            yield "QR_CODE_OTHER", code.shown
    for link in linked:
        yield from _target(link, authors)
    if not linked:
        return
    if not any(link.host for link in message.links):
        yield "QR_CODE_ONLY_LINK", linked[0].url[:EVIDENCE]
    about = (
        f"{message.shown_subject.text}\n{message.visible_text[:WORDS_LIMIT]}\n{' '.join(link.url for link in linked)}"
    )
    if word := _WORDS.search(about):
        yield "QR_CODE_CREDENTIAL_WORDS", word[0]


def _target(link: Link, authors: set[str]) -> Iterator[tuple[str, str]]:
    """Where one link of a code leads, apart from what the mail says."""
    host, url = link.host, link.url[:EVIDENCE]
    facts = {*facts_of(link)}
    if LinkFact.ADDRESS in facts:
        yield "QR_CODE_ADDRESS", url
    elif organisation(host) not in authors:
        yield "QR_CODE_ELSEWHERE", host
        if facts & {LinkFact.SHORTENER, LinkFact.ANYBODY}:
            yield "QR_CODE_ANYBODY", url
    if LinkFact.PREFILLED in facts:
        yield "QR_CODE_PREFILLED", url
