"""The normal forms of what admins type about tenants: names, domains, next hops, list patterns, VIPs, brands. Pure; no queries.

A wrong one raises ConfigError that says what is allowed. Whoever looks a domain up uses `lookup_form`, so that it meets what
is stored here.
"""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network

import idna

from mailguard.core.address import is_mailbox, normalise
from mailguard.core.envelope import NextHop
from mailguard.core.errors import ConfigError, Problem
from mailguard.core.names import is_full_name

_TENANT_NAME = re.compile(r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$")
_LABEL = re.compile(r"^(?!-)[a-z0-9_-]{1,63}(?<!-)$")
_DOMAIN_LIMIT = 253
_NAME_LIMIT = 128
_SOCKET = re.compile(r"^lmtp:(?P<path>/(?!/)[^\s@]{1,100})(?:@(?P<priority>\d{1,5}))?$")
LMTP_PORT = 24
"""Where LMTP is found unless it is said (RFC 2033 §5 forbids 25)."""
_NEXT_HOP = re.compile(
    r"^(?:\[(?P<literal>[^\]]*)\]|(?P<host>[^\[\]:@\s]+))(?::(?P<port>\d{1,5}))?(?:@(?P<priority>\d{1,5}))?$"
)


def lookup_form(domain: str) -> str | None:
    """A domain as it is stored and looked up: lower case, A-labels (IDNA 2008 with UTS 46 mapping), no trailing dot.

    None when it is not a domain name that mail can have; never raises, so that the door may ask about anything.
    """
    text = domain.rstrip(".") if domain.endswith(".") and not domain.endswith("..") else domain
    lowered = text.lower()
    if not lowered.isascii():
        try:
            lowered = idna.encode(text, uts46=True, transitional=False).decode("ascii").lower()
        except (idna.IDNAError, UnicodeError, ValueError):
            return None
    if not 0 < len(lowered) <= _DOMAIN_LIMIT or not all(_LABEL.match(label) for label in lowered.split(".")):
        return None
    return lowered


def display_form(domain: str) -> str:
    """A stored domain for people: `bücher.example (xn--bcher-kva.example)`; unchanged when it has no A-label."""
    if "xn--" not in domain:
        return domain
    try:
        return f"{idna.decode(domain)} ({domain})"
    except (idna.IDNAError, UnicodeError):
        return domain


def tenant_name(text: str) -> str:
    """A tenant's name in lower case. Raises ConfigError when it is not 1–64 of a–z, 0–9, dot, dash and underscore."""
    name = text.strip().lower()
    if not _TENANT_NAME.match(name):
        raise ConfigError(
            [
                Problem(
                    "tenant name",
                    f"{text!r} is not allowed; use 1 to 64 of a-z, 0-9, '.', '-' and '_', with a letter or digit at each end",
                )
            ]
        )
    return name


def domain_name(text: str) -> str:
    """A recipient domain in look-up form. Raises ConfigError when it is not a domain name with at least one dot."""
    name = lookup_form(text.strip().lstrip("@"))
    if name is None or "." not in name or _is_address(name):
        raise ConfigError([Problem("domain", f"{text!r} is not a domain name such as example.org")])
    return name


def next_hop(text: str) -> NextHop:
    """A next hop from `HOST[:PORT][@PRIORITY]`: a host name, an IPv4 address or an IPv6 one in brackets.

    `lmtp://HOST[:PORT][@PRIORITY]` and `lmtp:/PATH[@PRIORITY]` mean an LMTP server. Port 25 (24 for LMTP) and priority 10 when
    not given. Raises ConfigError with what is wrong.
    """
    if match := _SOCKET.match(text.strip()):
        return NextHop(match["path"], 0, _priority(text, match["priority"]), lmtp=True)
    lmtp = text.strip().lower().startswith("lmtp://")
    match = _NEXT_HOP.match(text.strip()[len("lmtp://") :] if lmtp else text.strip())
    if match is None:
        hint = (
            "an IPv6 address goes in brackets, as [2001:db8::1]:25"
            if text.count(":") > 1 and not lmtp
            else "host, port, priority; lmtp://HOST:PORT or lmtp:/PATH for LMTP"
        )
        raise ConfigError([Problem("next hop", f"{text!r} is not HOST[:PORT][@PRIORITY] ({hint})")])
    port = int(match["port"] or (LMTP_PORT if lmtp else 25))
    problems = []
    if not 1 <= port <= 65535:
        problems.append(Problem("next hop", f"{text!r}: port {port} is not within 1 to 65535"))
    if lmtp and port == 25:
        problems.append(Problem("next hop", f"{text!r}: port 25 speaks SMTP, never LMTP (RFC 2033 §5)"))
    if match["literal"] is not None:
        host = _address_text(match["literal"])
        what = f"[{match['literal']}] is not an IP address"
    else:
        host = _address_text(match["host"]) or _host_name(match["host"])
        what = f"{match['host']!r} is neither a host name nor an IP address"
    if host is None:
        problems.append(Problem("next hop", f"{text!r}: {what}"))
    try:
        priority = _priority(text, match["priority"])
    except ConfigError as error:
        problems += error.problems
    if problems or host is None:
        raise ConfigError(problems)
    return NextHop(host, port, priority, lmtp)


def _priority(text: str, digits: str | None) -> int:
    priority = int(digits or 10)
    if priority > 65535:
        raise ConfigError([Problem("next hop", f"{text!r}: priority {priority} is not within 0 to 65535")])
    return priority


def list_pattern(text: str) -> str:
    """The stored form of an allow or deny pattern: an address, a domain (with its subdomains) or an address range.

    `@b.example`, `.b.example` and `*.b.example` mean the domain; a single IP address becomes a range of one. Raises
    ConfigError for anything else.
    """
    pattern = text.strip()
    try:
        return str(ip_network(pattern.strip("[]"), strict=False))
    except ValueError:
        pass
    local, at, domain = pattern.rpartition("@")
    if at and local:
        name = lookup_form(domain)
        if name is not None and is_mailbox(f"{local}@{name}"):
            return normalise(f"{local}@{name}")
    else:
        name = lookup_form(domain.removeprefix("*").removeprefix("."))
        if name is not None and not name.replace(".", "").isdigit():
            return name
    raise ConfigError(
        [
            Problem(
                "pattern", f"{text!r} is not an address (a@b.example), a domain (b.example) or a range (192.0.2.0/24)"
            )
        ]
    )


def vip_name(text: str) -> str:
    """The full name of a person as it is kept and shown. Raises ConfigError for what is no full name."""
    name = " ".join(text.split())
    if len(name) > _NAME_LIMIT or not is_full_name(name):
        what = f"{text!r} is no full name, such as 'Joan Miller', of at most {_NAME_LIMIT} characters"
        raise ConfigError([Problem("VIP", f"{what}; one word alone is in too many honest names")])
    return name


def mailbox(text: str) -> str:
    """An address in normal form, its domain in A-labels. Raises ConfigError when it is none."""
    local, at, domain = text.strip().strip("<>").rpartition("@")
    address = normalise(f"{local}@{lookup_form(domain) or ''}")
    if not (at and local and is_mailbox(address)):
        raise ConfigError([Problem("--address", f"{text!r} is not a mail address such as joan@example.org")])
    return address


def brand(text: str) -> str:
    """What a tenant owns: a domain in look-up form, or a name as it is written. Raises ConfigError."""
    name = " ".join(text.split())
    if "." in name and " " not in name:
        return domain_name(name)
    if sum(map(str.isalnum, name)) < 3 or len(name) > _NAME_LIMIT:
        what = f"{text!r} is neither a domain (acme-group.example) nor a name of 3 to {_NAME_LIMIT} characters (Acme Group)"
        raise ConfigError([Problem("brand", what)])
    return name


def _address_text(text: str) -> str | None:
    try:
        return str(ip_address(text.removeprefix("IPv6:")))
    except ValueError:
        return None


def _is_address(text: str) -> bool:
    return _address_text(text) is not None


def _host_name(text: str) -> str | None:
    name = lookup_form(text)
    # All digits and dots that is no address is a mistyped one.
    return None if name is None or name.replace(".", "").isdigit() else name
