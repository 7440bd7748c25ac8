"""Whether a next hop is one of our own listeners (a mail loop) or a private address. Asks the system, never the database."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from mailguard.core.envelope import NextHop
from mailguard.core.errors import Problem

_Address = IPv4Address | IPv6Address


def system_addresses(host: str) -> tuple[str, ...]:
    """The addresses of a host name by the system's resolver (hosts file and DNS); empty when it has none now."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_local_address(address: str) -> bool:
    """Whether an IP address is one of this machine's, found out by binding a datagram socket to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        # A scoped or otherwise odd address that the kernel knows but will not bind counts as ours: rather refuse than loop.
        return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL)
    return True


def check_next_hops(
    hops: Sequence[NextHop],
    *,
    listen: Sequence[tuple[str, int]],
    allow_private: bool,
    addresses: Callable[[str], Sequence[str]] = system_addresses,
    is_local: Callable[[str], bool] = is_local_address,
) -> list[Problem]:
    """What is wrong with next hops: our own listener among them, or a private address without `allow_private`.

    `listen` are the relay's own (host, port) pairs; a wildcard host stands for every address of this machine. A name that
    does not resolve now passes: the check is made again when mail is forwarded.
    """
    problems = []
    ports = {port for _, port in listen}
    for hop in hops:
        if hop.is_socket:
            if not allow_private:
                problems.append(
                    Problem("next hop", f"{hop} is a socket of this machine; only the provider may set one")
                )
            continue
        if hop.port not in ports and allow_private:
            continue
        for address in _addresses(hop.host, addresses):
            if is_own_listener(address, hop.port, listen=listen, is_local=is_local):
                problems.append(Problem("next hop", f"{hop} is this relay's own listener: its mail would loop"))
                break
            if not allow_private and not _plain(address).is_global:
                problems.append(Problem("next hop", f"{hop} is a private address; only the provider may set one"))
                break
    return problems


def is_own_listener(
    address: str, port: int, *, listen: Sequence[tuple[str, int]], is_local: Callable[[str], bool] = is_local_address
) -> bool:
    """Whether connecting to `address` (textual IP) and `port` would reach one of our own listeners."""
    target = _plain(address)
    for host, own_port in listen:
        if own_port != port:
            continue
        if host in ("", "*"):
            wildcard, own = True, None
        else:
            try:
                own = _plain(host)
            except ValueError:
                own = None
            wildcard = own is not None and own.is_unspecified
        if target.is_unspecified or own == target or (wildcard and is_local(str(target))):
            return True
        if own is None and not wildcard and str(target) in map(str, map(_plain, system_addresses(host))):
            return True
    return False


def _addresses(host: str, resolve: Callable[[str], Sequence[str]]) -> list[str]:
    try:
        return [str(_plain(host))]
    except ValueError:
        return [str(_plain(address)) for address in resolve(host)]


def _plain(address: str) -> _Address:
    parsed = ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed
