"""Mail made from our own templates (own_mail/*.yaml): families of honest mail and of spam that the collections hardly have.

The same templates give the same mails. Firms, people and their domains are made up; brands and services are named as facts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from random import Random

import yaml

from mailguard.learning.sources import Source

COPIES = 12
"""Mails that are made of each template."""
_CHOICE = re.compile(r"\{([^{}]*)\}")
_SLOT = re.compile(r"\$([a-z]+)")
_SHELLS = ("bare", "div", "table", "outlook")


@dataclass(frozen=True, slots=True)
class Template:
    """One kind of mail. `{a|b}` is one of several, `$name` a made-up value, a paragraph that begins with `?` may be missing.

    `sender` is who sends it: see _sender. `link` is where its button leads, empty: there is none. `bulk`: it has the fields of a
    mailing (RFC 8058). `reply_to`: `freemail` if answers go to another mailbox.
    """

    language: str
    sender: str
    subjects: tuple[str, ...]
    paragraphs: tuple[str, ...]
    button: str
    link: str
    names: tuple[str, ...]
    attachment: str
    forms: tuple[str, ...]
    bulk: bool
    reply_to: str


@dataclass(frozen=True, slots=True)
class Family:
    """Templates that are left out together. `learn`: false of families that are only measured on."""

    name: str
    spam: bool
    learn: bool
    templates: tuple[Template, ...]


@dataclass(frozen=True, slots=True)
class _Party:
    """A sender: display name, address, and the domains of its links. `results` are what the receiver found of it."""

    name: str
    address: str
    site: str
    results: Mapping[str, str]
    values: dict[str, str] = field(default_factory=dict)


def families() -> tuple[Family, ...]:
    """All families of the package, in the order of their names."""
    found = []
    for file in sorted((files("mailguard.learning") / "own_mail").iterdir(), key=lambda one: one.name):
        if file.name.endswith(".yaml"):
            for entry in yaml.safe_load(file.read_text(encoding="utf-8")):
                templates = tuple(map(_template, entry["mails"]))
                found.append(Family(entry["family"], entry["spam"], entry.get("learn", True), templates))
    return tuple(sorted(found, key=lambda family: family.name))


def _template(entry: Mapping[str, str | list[str]]) -> Template:
    def one(name: str) -> str:
        return str(entry.get(name, ""))

    def several(name: str) -> tuple[str, ...]:
        return tuple(entry.get(name, ()))

    return Template(
        language=one("language"),
        sender=one("sender"),
        subjects=several("subjects"),
        paragraphs=several("paragraphs"),
        button=one("button"),
        link=one("link") or "own",
        names=several("names"),
        attachment=one("attachment"),
        forms=several("forms") or ("plain", "html", "both"),
        bulk=bool(entry.get("bulk")),
        reply_to=one("reply_to"),
    )


def written(work: Path) -> tuple[Source, ...]:
    """Write the mails of all families below `work`, each family with an envelope.jsonl, as sources to scan."""
    return tuple(_write(family, work / family.name) for family in families())


def _write(family: Family, place: Path) -> Source:
    mails = place / "mail"
    mails.mkdir(parents=True)
    with (place / "envelope.jsonl").open("w", encoding="utf-8") as lines:
        for number, template in enumerate(family.templates):
            for copy in range(COPIES):
                made, envelope = _mail(template, Random(f"{family.name} {number} {copy}"))  # noqa: S311
                name = f"{number:02}-{copy:02}-{template.language}.eml"
                (mails / name).write_bytes(made)
                lines.write(json.dumps({"file": f"mail/{name}", **envelope}) + "\n")
    kind = "spam" if family.spam else "ham"
    return Source(
        f"own {kind} {family.name}", mails, family.spam, f"own_{family.name}", modern=True, learn=family.learn
    )


def _mail(template: Template, random: Random) -> tuple[bytes, dict[str, str]]:
    values = _values(template.language, random)
    party = _sender(template, values, random)
    values |= {"sender": party.name, "domain": party.address.rpartition("@")[2], "site": party.site, **party.values}

    def text(source: str) -> str:
        while found := _CHOICE.search(source):
            source = source[: found.start()] + random.choice(found[1].split("|")) + source[found.end() :]
        return _SLOT.sub(lambda slot: values[slot[1]], source)

    paragraphs = [
        text(one.lstrip("?")) for one in template.paragraphs if not one.startswith("?") or random.random() < 0.5
    ]
    button, url = text(template.button), _url(template, party, values, random)
    form = random.choice(template.forms)
    plain = "\n\n".join(paragraphs[:-1] + ([f"{button}: {url}"] if button else []) + paragraphs[-1:])
    parts = [("text/plain", plain)] if form != "html" else []
    if form != "plain":
        parts.append(("text/html", _html(paragraphs, button, url, random)))
    attached = text(template.attachment)
    header = [
        f"From: {_phrase(party.name)} <{party.address}>",
        f"To: <{values['recipient']}>",
        f"Subject: {_word(text(random.choice(template.subjects)))}",
        f"Date: {random.choice(('Mon', 'Tue', 'Wed'))}, {random.randint(1, 28)} Apr 202{random.randint(3, 6)} "
        f"{random.randint(6, 20):02}:{random.randint(0, 59):02}:07 +0200",
        f"Message-ID: <{random.getrandbits(90):x}@{values['domain']}>",
        "MIME-Version: 1.0",
    ]
    if party.results["dkim"] == "pass":
        header.append(
            f"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d={values['domain']}; s=s1; h=from; bh=YQ==; b=YQ=="
        )
    header += _more_fields(template, values, random)
    envelope = {
        "mail_from": party.address,
        "rcpt_to": values["recipient"],
        "client_ip": "198.51.100.7",
        **party.results,
    }
    return "\n".join((*header, *_body(parts, attached))).encode("utf-8"), envelope


def _more_fields(template: Template, values: Mapping[str, str], random: Random) -> Iterator[str]:
    if template.reply_to == "freemail":
        name = f"{values['other']}{values['surname']}".lower().encode("ascii", "ignore").decode()
        yield f"Reply-To: <{name}{random.randint(1, 99)}@{random.choice(_FREE)}>"
    if template.bulk:
        yield f"List-Unsubscribe: <https://{values['domain']}/u/{random.getrandbits(60):x}>"
        yield "List-Unsubscribe-Post: List-Unsubscribe=One-Click"


def _word(text: str) -> str:
    """A header field's text (RFC 2047)."""
    return text if text.isascii() else f"=?utf-8?q?{''.join(f'={octet:02X}' for octet in text.encode())}?="


def _phrase(name: str) -> str:
    """A display name (RFC 5322 §3.2.5), quoted where a parenthesis would begin a comment."""
    return f'"{name}"' if name.isascii() and "(" in name else _word(name)


def _body(parts: Sequence[tuple[str, str]], attached: str) -> Iterator[str]:
    """The fields and the text of a body: one part, alternatives, or those and a file."""
    inner = list(_alternatives(parts))
    if not attached:
        yield from inner
        return
    kind = "text/calendar" if attached.endswith(".ics") else "application/pdf"
    content = "BEGIN:VCALENDAR\nEND:VCALENDAR" if kind == "text/calendar" else "%PDF-1.4\n%%EOF"
    yield from ('Content-Type: multipart/mixed; boundary="outer"', "", "--outer", *inner)
    yield from ("--outer", f'Content-Type: {kind}; name="{attached}"')
    yield from (f'Content-Disposition: attachment; filename="{attached}"', "", content, "--outer--", "")


def _alternatives(parts: Sequence[tuple[str, str]]) -> Iterator[str]:
    if len(parts) == 1:
        yield from (
            f"Content-Type: {parts[0][0]}; charset=utf-8",
            "Content-Transfer-Encoding: 8bit",
            "",
            parts[0][1],
            "",
        )
        return
    yield from ('Content-Type: multipart/alternative; boundary="inner"', "")
    for kind, content in parts:
        yield from ("--inner", f"Content-Type: {kind}; charset=utf-8", "Content-Transfer-Encoding: 8bit", "", content)
    yield from ("--inner--", "")


def _html(paragraphs: Sequence[str], button: str, url: str, random: Random) -> str:
    """One of several ways to lay out the same: which one says nothing of who sends it."""
    shell = random.choice(_SHELLS)
    lines = [escape(one).replace("\n", "<br>") for one in paragraphs]
    link = f'<a href="{escape(url)}">{escape(button)}</a>' if button else ""
    if shell == "table":
        rows = "".join(f"<tr><td>{one}</td></tr>" for one in (*lines[:-1], link, *lines[-1:]) if one)
        return f'<html><body><table role="presentation" width="600" align="center">{rows}</table></body></html>'
    if shell == "outlook":
        text = "".join(f'<p class="MsoNormal"><span lang="EN-US">{one}</span></p>' for one in (*lines, link) if one)
        return f'<html><head><meta http-equiv="Content-Type"></head><body><div class="WordSection1">{text}</div></body></html>'
    if shell == "div":
        text = "".join(f'<div style="margin:12px">{one}</div>' for one in (*lines[:-1], link, *lines[-1:]) if one)
        return f"<html><head><style>a{{color:#15c}}</style></head><body><div>{text}</div></body></html>"
    return "".join(f"<p>{one}</p>" for one in (*lines[:-1], link, *lines[-1:]) if one)


_PASS = {"spf": "pass", "dkim": "pass", "dmarc": "pass"}
_SPF_ALONE = {"spf": "pass", "dkim": "none", "dmarc": "none"}
_FAIL = {"spf": "fail", "dkim": "none", "dmarc": "fail"}
_FIRST = {
    "de": "Anna Jonas Petra Stefan Lena Markus Julia Tobias", "fr": "Claire Julien Sophie Mathieu Camille Nicolas",
    "es": "Lucía Javier Carmen Pablo Marta Sergio", "it": "Giulia Marco Chiara Luca Paola Davide",
    "nl": "Sanne Daan Femke Bram Lotte Joost", "pl": "Agnieszka Tomasz Marta Piotr Kasia Paweł", "pt": "Inês Tiago Beatriz Rui",
}  # fmt: skip
_EN_FIRST = "Helen Marcus Priya Tom Grace Omar Julie Daniel Wendy Scott Karen Ben Laura Kevin"
_LAST = "Hartley Moreau Lindqvist Brandt Okafor Pellegrini Visser Nowak Castro Whitcombe Delgado Ferreira Kessler Maddox Roussel Tanaka"
_FIRM = "Kestrel Northbridge Alder Lumen Harrow Solvay Tamarin Meridian Oakfield Corvid Pinecrest Valmont Rheintal Larkspur Arden"
_TRADE = "Supply Partners Logistics Studio Energy Foods Textiles Systems Care Print Tools Mobility Garden Books Travel"
_TLD = {"en": ("com", "co.uk", "org", "com"), "pt": ("pt", "com.br"), "pl": ("pl", "com.pl")}
_FREE = ("gmail.com", "outlook.com", "yahoo.com", "icloud.com", "gmx.net", "hotmail.com")
_PAGES = ("web.app", "pages.dev", "weebly.com", "netlify.app", "blogspot.com", "r2.dev", "wixsite.com", "workers.dev")
_SHORT = ("bit.ly", "tinyurl.com", "rb.gy", "cutt.ly", "t.ly")
_CHEAP = ("top", "xyz", "shop", "online", "click", "live", "site")
_CURRENCY = {"en": "${}.{}", "pl": "{},{} zł"}


def _values(language: str, random: Random) -> dict[str, str]:
    def person() -> tuple[str, str]:
        return random.choice(_FIRST.get(language, _EN_FIRST).split()), random.choice(_LAST.split())

    (first, last), (other, surname) = person(), person()
    day, month, year = random.randint(1, 28), random.randint(1, 12), random.randint(2023, 2026)
    amount = _CURRENCY.get(language, "{},{} €").format(random.randint(9, 2400), f"{random.randint(0, 99):02}")
    months = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ]
    english = language == "en" and random.random() < 0.7
    return {
        "first": first, "last": last, "other": other, "surname": surname, "amount": amount,
        "date": f"{months[month - 1]} {day}" if english else f"{day:02}.{month:02}.{year}",
        "time": f"{random.randint(8, 18)}:{random.choice(('00', '15', '30', '45'))}",
        "number": str(random.randint(10_000, 99_999_999)), "code": str(random.randint(100_000, 999_999)),
        "few": str(random.randint(2, 9)), "recipient": f"{first.lower()}.{last.lower()}@example.org".encode("ascii", "ignore").decode(),
        "firm": f"{random.choice(_FIRM.split())} {random.choice(_TRADE.split())}",
        "person": f"{other} {surname}", "rest": f"{random.randint(1000, 9999)}",
    }  # fmt: skip


def _sender(template: Template, values: Mapping[str, str], random: Random) -> _Party:
    """Who sends: a `firm` or a `person` in it, `freemail`, a `stolen` mailbox, a `throwaway` domain, `forged:DOMAIN` or
    `known:DOMAIN`, which is the domain itself. `names` of the template are display names in place of the sender's.
    """
    kind, _, domain = template.sender.partition(":")
    top = random.choice(_TLD.get(template.language, (template.language, "com")))
    firm = values["firm"]
    own = f"{firm.lower().replace(' ', random.choice(('', '-', '')))}.{top}"
    person = f"{values['other']}.{values['surname']}".lower().encode("ascii", "ignore").decode()
    name = random.choice(template.names) if template.names else values["person"]
    name = _SLOT.sub(lambda slot: values[slot[1]], name)
    role = random.choice(("info", "service", "noreply", "hello", "news", "support", "mail"))
    honest = _PASS if random.random() < 0.85 else _SPF_ALONE
    if kind == "firm":
        return _Party(name if template.names else firm, f"{role}@{own}", own, honest)
    if kind == "person":
        return _Party(name, f"{person}@{own}", own, honest)
    if kind == "freemail":
        return _Party(name, f"{person.replace('.', '')}{random.randint(1, 99)}@{random.choice(_FREE)}", own, _PASS)
    if kind == "stolen":
        return _Party(name, f"{random.choice((person, role))}@{own}", own, _PASS)
    if kind == "throwaway":
        domain = f"{random.choice(('mail', 'secure', 'info', 'notice', 'get'))}-{random.choice(_FIRM.split()).lower()}{random.randint(1, 99)}"
        domain = f"{domain}.{random.choice(_CHEAP)}"
        return _Party(name, f"{role}@{domain}", domain, random.choice((_PASS, _PASS, _SPF_ALONE)))
    return _Party(name, f"{role}@{domain}", domain, _FAIL if kind == "forged" else _PASS)


def _url(template: Template, party: _Party, values: Mapping[str, str], random: Random) -> str:
    """Where a button leads: `own` site, free `page`, `short`ener, `hacked` site, `cheap` domain, or what is written."""
    word = f"{random.choice(_FIRM.split()).lower()}{random.choice(_TRADE.split()).lower()}"
    token = f"{random.getrandbits(60):x}"
    path = random.choice(("account", "view", "orders", "u", "portal", "c", "click", "en/info"))
    match template.link:
        case "own":
            return f"https://{random.choice(('www.', 'my.', '', 'link.'))}{party.site}/{path}/{token}"
        case "page":
            return f"https://{word}-{random.randint(1, 999)}.{random.choice(_PAGES)}/{random.choice(('', 'login', 'index.html', token))}"
        case "short":
            return f"https://{random.choice(_SHORT)}/{token[:7]}"
        case "hacked":
            return f"https://www.{word}.com/{random.choice(('wp-content/', 'wp-includes/', '.well-known/', 'old/'))}{token[:6]}/"
        case "cheap":
            return f"https://{word}.{random.choice(_CHEAP)}/{token[:8]}"
    return f"https://{template.link}/{token}"
