"""The types of values that settings are made of: addresses, networks, names and paths, each checked by one function.

A function here takes the text as it was written and raises ValueError with what is allowed; the key is added elsewhere.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, ValidationInfo

_LABEL = re.compile(r"^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$")
_SYMBOL = re.compile(r"^[A-Z][A-Z0-9_]{0,63}$")
_MAILBOX = re.compile(r"^[^@\s<>\"]{1,64}@[A-Za-z0-9._-]+$")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_host_name(text: object) -> bool:
    """Whether `text` is a host name in ASCII (RFC 1123 §2.1, and underscores, which people do use)."""
    if not isinstance(text, str):
        return False
    labels = text.rstrip(".").split(".")
    return len(text) <= 253 and all(map(_LABEL.match, labels)) and not labels[-1].isdigit()


def split_host_port(text: str) -> tuple[str, int]:
    """`host:port` or `[IPv6]:port` as (host without brackets, port). Raises ValueError saying what is allowed."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        valid = _is_address(host) and isinstance(ip_address(host), IPv6Address)
    else:
        valid = ":" not in host and (_is_address(host) or is_host_name(host))
    if not colon or not valid or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError("must be host:port, address:port or [IPv6 address]:port, the port at most 65535")
    return host, int(port)


def _peer(text: str) -> str:
    if split_host_port(text)[1] == 0:
        raise ValueError("must name a port from 1 to 65535")
    return text


def _listener(text: str) -> str:
    host, _ = split_host_port(text)
    if not _is_address(host) and host != "localhost":
        raise ValueError("must be an address of this machine and a port, such as 0.0.0.0:25 or [::]:25")
    return text


def _peer_or_socket(text: str) -> str:
    if text.startswith("/"):
        return text
    try:
        return _peer(text)
    except ValueError as error:
        raise ValueError(f"{error}, or the path of a socket") from None


def _nameserver(text: str) -> str:
    if _is_address(text):
        return text
    host, port = split_host_port(text)
    if not _is_address(host) or port == 0:
        raise ValueError("must be an IP address, with :port when it is not 53 ([IPv6]:port)")
    return text


def _network(text: str) -> str:
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        raise ValueError("must be an IP address or a range such as 192.0.2.0/24 or 2001:db8::/32") from None


def _host_name(text: str) -> str:
    if not is_host_name(text):
        raise ValueError("must be a host name in ASCII letters, digits, hyphens and dots")
    return text.rstrip(".").lower()


def _mailbox(text: str) -> str:
    if text and not _MAILBOX.match(text):
        raise ValueError("must be a mail address such as postmaster@provider.example")
    return text


def _symbol(text: str) -> str:
    if not _SYMBOL.match(text):
        raise ValueError("must be the name of a symbol: capital letters, digits and underscores, such as SPF_FAIL")
    return text


def _return_code(text: str) -> str:
    if not _is_address(text) or ip_address(text) not in ip_network("127.0.0.0/8"):
        raise ValueError("must be an address within 127.0.0.0/8, such as 127.0.0.2")  # RFC 5782 §2.1
    return text


def _time_zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("must be a time zone's IANA name such as Europe/Berlin") from None
    return text


def _resolve(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base")
    return path if base is None else Path(base) / path.expanduser()


def _optional_path(text: str, info: ValidationInfo) -> str:
    return str(_resolve(Path(text), info)) if text else ""


Peer = Annotated[str, AfterValidator(_peer)]
"""`host:port` of something we connect to."""
OptionalPeer = Annotated[str, AfterValidator(lambda text: _peer(text) if text else text)]
Listener = Annotated[str, AfterValidator(_listener)]
"""`address:port` that we listen on; port 0 lets the system choose."""
OptionalListener = Annotated[str, AfterValidator(lambda text: _listener(text) if text else text)]
PeerOrSocket = Annotated[str, AfterValidator(_peer_or_socket)]
OptionalPeerOrSocket = Annotated[str, AfterValidator(lambda text: _peer_or_socket(text) if text else text)]
Nameserver = Annotated[str, AfterValidator(_nameserver)]
Network = Annotated[str, AfterValidator(_network)]
HostName = Annotated[str, AfterValidator(_host_name)]
OptionalHostName = Annotated[str, AfterValidator(lambda text: _host_name(text) if text else text)]
OptionalMailbox = Annotated[str, AfterValidator(_mailbox)]
ConfigPath = Annotated[Path, AfterValidator(_resolve)]
"""A path; a relative one is taken from the directory of the configuration file."""
OptionalPath = Annotated[str, AfterValidator(_optional_path)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000_000)]
Seconds = Annotated[float, Field(gt=0, le=10_000_000, allow_inf_nan=False)]
Points = Annotated[float, Field(ge=-1000, le=1000, allow_inf_nan=False)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
ReturnCode = Annotated[str, AfterValidator(_return_code)]
SymbolName = Annotated[str, AfterValidator(_symbol)]
