"""Lists that can be switched on by name: their zones, their return codes as their operators document them, prior points.

docs/checks/dnsbl.md tells whose they are, and on what terms they may be asked. Codes as of November 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from mailguard.checks.lists import ListKind, ReturnCode, Zone

# https://docs.spamhaus.com/datasets/ (zones and return codes); SBL, CSS and DROP: spam sources; XBL: compromised machines;
# PBL: lines that should not send mail themselves.
_ZEN = (
    ReturnCode("SPAMHAUS_DROP", 6.0, ("127.0.0.9",), "the client's network is hijacked or leased to spammers (DROP)"),
    ReturnCode("SPAMHAUS_SBL", 4.0, ("127.0.0.2",), "the client is a known source of spam (SBL)"),
    ReturnCode("SPAMHAUS_CSS", 3.5, ("127.0.0.3",), "the client sends snowshoe or other low-reputation mail (CSS)"),
    ReturnCode(
        "SPAMHAUS_XBL",
        4.0,
        ("127.0.0.4", "127.0.0.5", "127.0.0.6", "127.0.0.7"),
        "the client is a compromised machine (XBL)",
    ),
    ReturnCode(
        "SPAMHAUS_PBL", 2.5, ("127.0.0.10", "127.0.0.11"), "the client is a line that sends no mail itself (PBL)"
    ),
)
_DBL = (
    ReturnCode("SPAMHAUS_DBL_SPAM", 4.0, ("127.0.1.2",), "low-reputation domain"),
    ReturnCode("SPAMHAUS_DBL_PHISH", 6.0, ("127.0.1.4",), "phishing domain"),
    ReturnCode("SPAMHAUS_DBL_MALWARE", 6.0, ("127.0.1.5", "127.0.1.6"), "domain of malware or its control"),
    ReturnCode(
        "SPAMHAUS_DBL_ABUSED",
        2.0,
        ("127.0.1.102", "127.0.1.103", "127.0.1.104", "127.0.1.105", "127.0.1.106"),
        "legitimate domain that is abused",
    ),
)
# https://surbl.org/lists: bits of the last octet.
_SURBL = (
    ReturnCode("SURBL_PHISH", 5.0, bits=8, description="phishing site"),
    ReturnCode("SURBL_MALWARE", 5.0, bits=16, description="malware site"),
    ReturnCode("SURBL_ABUSE", 4.0, bits=64, description="site advertised by spam"),
    ReturnCode("SURBL_CRACKED", 3.5, bits=128, description="cracked site"),
)
# https://uribl.com/about.shtml: bits of the last octet; 1 says that the question was refused.
_URIBL = (
    ReturnCode("URIBL_BLACK", 4.0, bits=2, description="domain of spammers"),
    ReturnCode("URIBL_GREY", 0.8, bits=4, description="domain found in bulk mail"),
    ReturnCode("URIBL_RED", 1.2, bits=8, description="very young or hidden domain"),
)


def _trust(level: int, word: str, score: float) -> ReturnCode:
    """DNSWL's answers are 127.0.CATEGORY.TRUST, with categories from 2 to 15 (https://www.dnswl.org/?page_id=15)."""
    codes = tuple(f"127.0.{category}.{level}" for category in range(2, 21))
    return ReturnCode(f"DNSWL_{word.upper()}", score, codes, f"the client is known as a mail server: {word} trust")


_DNSWL = (_trust(0, "none", 0.0), _trust(1, "low", -0.5), _trust(2, "medium", -1.5), _trust(3, "high", -3.0))


def _spamhaus(zone: str, key: str) -> str:
    return f"{key}.{zone}.dq.spamhaus.net" if key else f"{zone}.spamhaus.org"


KNOWN: Mapping[str, Callable[[str], Zone]] = MappingProxyType(
    {
        "spamhaus-zen": lambda key: Zone(_spamhaus("zen", key), _ZEN, label="zen.spamhaus"),
        "spamhaus-dbl": lambda key: Zone(
            _spamhaus("dbl", key), _DBL, kind=ListKind.DOMAIN, refusals=("127.0.1.255",), label="dbl.spamhaus"
        ),
        "surbl": lambda key: Zone(
            "multi.surbl.org", _SURBL, kind=ListKind.DOMAIN, numeric=True, refusals=("127.0.0.1",)
        ),
        "uribl": lambda key: Zone(
            "multi.uribl.com", _URIBL, kind=ListKind.DOMAIN, numeric=True, refusals=("127.0.0.1",)
        ),
        "spamcop": lambda key: Zone(
            "bl.spamcop.net",
            (ReturnCode("SPAMCOP_LISTED", 2.0, ("127.0.0.2",), "the client's mail was reported to SpamCop"),),
            ipv6=False,
        ),
        "barracuda": lambda key: Zone(
            "b.barracudacentral.org",
            (ReturnCode("BARRACUDA_LISTED", 2.0, ("127.0.0.2",), "the client is listed by Barracuda"),),
            ipv6=False,
        ),
        "dnswl": lambda key: Zone("list.dnswl.org", _DNSWL, refusals=("127.0.0.255",)),
    }
)
"""By name: what makes the list, given the key of Spamhaus's query service (empty: the public mirrors)."""
