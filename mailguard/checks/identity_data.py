"""What is known of senders beforehand: brands and their domains, services that send for others, freemail, hosts of anybody's pages.

Read once from the files in checks/data, each of which says where it comes from and of when it is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import translate
from functools import cache, lru_cache
from importlib.resources import files

from mailguard.net.suffixes import organisation_of

_CACHED = 8_192
_COUNTRY = re.compile(r"(?:com?|net|org)\.[a-z]{2}|[a-z]{2}|com")
_NOT_COUNTRIES = frozenset(
    {"tk", "ml", "ga", "cf", "gq", "cc", "ws", "pw", "su", "to", "tv", "io", "me", "la", "in.net"}
)
"""Endings of two letters that are sold to anybody: not taken for a brand's branch in a country."""
_TOKEN = re.compile(r"[^\W_]+")
_MARKS = re.compile("[\u0300-\u036f]+")
_CAMEL = re.compile(r"[A-Z](?<=[a-z].)")
"""A capital behind a small letter. Beginning with what is looked for, it takes a fraction of the time."""


@dataclass(frozen=True, slots=True)
class Brand:
    """A firm or office: its names, folded as `fold_name` does, and its domains. `loose` are names that are ordinary words."""

    name: str
    names: frozenset[str]
    loose: frozenset[str]
    domains: frozenset[str]
    labels: frozenset[str]
    """First labels that are its own below the suffix of any country."""
    spoken_of: bool
    """Whether much honest mail speaks of it: then only a display name claims to be it."""
    patterns: tuple[re.Pattern[str], ...]
    """Shapes of domains that many of its branches have, but that anybody may register."""

    def owns(self, domain: str) -> bool:
        """Whether a domain in look-up form, or one above it, is surely the brand's."""
        if any(above in self.domains for above in above_of(domain)):
            return True
        if not self.labels:
            return False
        label, _, suffix = organisation(domain).partition(".")
        return label in self.labels and bool(_COUNTRY.fullmatch(suffix)) and suffix not in _NOT_COUNTRIES

    def may_own(self, domain: str) -> bool:
        """Whether it is the brand's, or looks as its branches' do."""
        if self.owns(domain):
            return True
        name = organisation(domain)
        return any(pattern.match(name) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class Senders:
    """All that is known of senders beforehand."""

    brands: tuple[Brand, ...]
    names: Mapping[str, Brand]
    """Folded names to the brand."""
    loose: Mapping[str, Brand]
    """Folded names that are ordinary words."""
    capitals: frozenset[str]
    """Names that are short and in capitals: `UPS` is one, `ups` is a word."""
    scripts: Mapping[str, Brand]
    """Names in scripts that put no blanks between words."""
    of_domain: Mapping[str, Brand]
    services: Mapping[str, str]
    """Domains to the service that sends for others."""
    mailboxes: Mapping[str, str]
    """Domains to the host of mailboxes."""
    freemail: frozenset[str]
    hosts: Mapping[str, frozenset[str]]
    """Kinds of hosts (`shorteners`, `pages`, `files`, `images`, `neutral`, `networks`, `suffixes`) to their names."""
    known: Mapping[str, str]
    """Further well-known domains to the names of whom they belong to."""

    def brand_of(self, domain: str) -> Brand | None:
        """The brand that a domain belongs to."""
        for above in above_of(domain):
            brand = self.of_domain.get(above)
            if brand is not None:
                return brand
        label, _, suffix = organisation(domain).partition(".")
        brand = self.of_domain.get(f"{label}.*")
        return brand if brand is not None and brand.owns(f"{label}.{suffix}") else None

    def service_of(self, domain: str) -> str:
        """The service that a host or domain belongs to; empty when it is of none."""
        return _first(self.services, domain)

    def mailbox_of(self, domain: str) -> str:
        """The host of mailboxes that a domain belongs to; empty when it is of none."""
        return _first(self.mailboxes, domain)

    def is_kind(self, kind: str, host: str) -> bool:
        """Whether a host is of a kind of `hosts`."""
        names = self.hosts[kind]
        return any(above in names for above in above_of(host))

    def is_well_known(self, domain: str) -> bool:
        """Whether a domain belongs to a brand or to another well-known sender, freemail apart."""
        return self.brand_of(domain) is not None or organisation(domain) in self.known


def _first(table: Mapping[str, str], domain: str) -> str:
    for above in above_of(domain):
        found = table.get(above)
        if found:
            return found
    return ""


@lru_cache(maxsize=_CACHED)
def organisation(domain: str) -> str:
    """The registrable domain of a name in look-up form, or the name itself when it has none."""
    return organisation_of(domain) or domain


@lru_cache(maxsize=_CACHED)
def above_of(domain: str) -> tuple[str, ...]:
    """A domain and those above it that have two labels or more, the deepest first; at most 8."""
    labels = domain.split(".")
    return tuple(".".join(labels[at:]) for at in range(max(0, len(labels) - 8), max(1, len(labels) - 1)))


def words_of(text: str) -> list[str]:
    """The words of a text without accents and signs; `PayPalSupport` is three, `Smart_TV` two."""
    text = _CAMEL.sub(r" \g<0>", text)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
        text = _MARKS.sub("", unicodedata.normalize("NFD", text))
        text = unicodedata.normalize("NFC", text)
    return _TOKEN.findall(text)


@lru_cache(maxsize=_CACHED)
def fold_name(name: str) -> str:
    """A name as names are compared: the words of it, joined."""
    return "".join(words_of(name)).casefold()


@cache
def senders() -> Senders:
    """What the shipped files say."""
    brands = tuple(map(_brand, _lines("brands.txt")))
    names: dict[str, Brand] = {}
    loose: dict[str, Brand] = {}
    of_domain: dict[str, Brand] = {}
    for brand in brands:
        names.update((name, brand) for name in sorted(brand.names) if name not in names)
        loose.update((name, brand) for name in sorted(brand.loose) if name not in loose)
        of_domain.update((domain, brand) for domain in sorted(brand.domains) if domain not in of_domain)
        of_domain.update((f"{label}.*", brand) for label in sorted(brand.labels) if f"{label}.*" not in of_domain)
    services = dict(_sections("services.txt"))
    hosts = dict(_sections("hosting.txt"))
    return Senders(
        brands=brands,
        names=names,
        loose=loose,
        capitals=frozenset(name for line in _lines("brands.txt") for name in _capitals(line)),
        scripts={name: brand for name, brand in names.items() if _is_run(name)},
        of_domain=of_domain,
        services=_of_domains(services["senders"]),
        mailboxes=_of_domains(services["mailboxes"]),
        freemail=frozenset(word for line in _lines("freemail.txt") for word in line.split()),
        hosts={kind: frozenset(word for line in lines for word in line.split()) for kind, lines in hosts.items()},
        known=_of_domains(_lines("known.txt")),
    )


def _capitals(line: str) -> Iterator[str]:
    written = (name.strip(" +") for name in line.partition(" = ")[0].split("|"))
    return (fold_name(name) for name in written if name.isupper() and len(fold_name(name)) <= 4)


def _is_run(name: str) -> bool:
    """Whether a name is of Chinese or Japanese letters, two at least."""
    return len(name) > 1 and all("\u3040" <= letter <= "\u9fff" or letter == "ー" for letter in name)


def _lines(name: str) -> Iterator[str]:
    """The lines of a data file that say something, headings apart."""
    text = (files("mailguard.checks") / "data" / name).read_text("utf-8")
    return (line for line in map(str.strip, text.splitlines()) if line and line[0] not in "#[")


def _sections(name: str) -> Iterator[tuple[str, list[str]]]:
    """(heading, lines below it) of a data file."""
    text = (files("mailguard.checks") / "data" / name).read_text("utf-8")
    for part in text.split("\n[")[1:]:
        heading, _, rest = part.partition("]")
        yield heading, [line for line in map(str.strip, rest.splitlines()) if line and line[0] != "#"]


def _of_domains(lines: Iterator[str] | list[str]) -> dict[str, str]:
    table: dict[str, str] = {}
    for line in lines:
        name, _, domains = line.partition(" = ")
        for domain in domains.split():
            table.setdefault(domain, name)
    return table


def _brand(line: str) -> Brand:
    left, _, right = line.partition(" = ")
    written = [name.strip() for name in left.removeprefix("+").split("|")]
    domains = right.split()
    return Brand(
        name=written[0].lstrip("~"),
        names=frozenset(fold_name(name) for name in written if name[0] != "~"),
        loose=frozenset(fold_name(name[1:]) for name in written if name[0] == "~"),
        domains=frozenset(domain for domain in domains if "*" not in domain),
        spoken_of=line.startswith("+"),
        labels=frozenset(domain[:-2] for domain in domains if domain.endswith(".*")),
        patterns=tuple(re.compile(translate(d)) for d in domains if "*" in d and not d.endswith(".*")),
    )
