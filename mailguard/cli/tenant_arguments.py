"""What the commands about tenants and their domains share: names, next hops, profiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import Cli, Problems
from mailguard.core.errors import ConfigError, Problem

if TYPE_CHECKING:
    from mailguard.core.envelope import NextHop

Name = Annotated[str, typer.Argument(help="The tenant's name.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Hops = Annotated[
    list[str] | None,
    typer.Option(
        "--next-hop",
        metavar="HOST[:PORT][@PRIORITY]",
        help="Where the mail goes on: a host name or an address (IPv6 in brackets); lmtp://HOST[:PORT] or lmtp:/PATH for LMTP. "
        "Several: the lowest priority first.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Even while mail is in flight; it then expires undelivered.")]


def next_hops(cli: Cli, wrong: Problems, texts: Sequence[str] | None) -> list[NextHop]:
    """The next hops that are given, at least one. What is wrong goes into `wrong`."""
    from mailguard.net.listeners import check_next_hops
    from mailguard.store import forms

    if not texts:
        wrong.add(Problem("--next-hop", "give at least one: where the tenant's mail goes on"))
        return []
    hops = wrong.parse(forms.next_hop, texts)
    # Whoever has the command line is the provider, who may use private addresses.
    wrong.add(*check_next_hops(hops, listen=cli.listeners(), allow_private=True))
    return hops


def profile_name(cli: Cli, name: str) -> str:
    """The name of a profile that there is. Raises ConfigError, naming those there are."""
    path = cli.settings.policies.path
    known = sorted(file.stem for file in path.glob("*.yaml"))
    if name not in known:
        there = f"there are: {', '.join(known)}" if known else "there is none"
        raise ConfigError([Problem("--policy", f"no profile {name!r} in {path}; {there}")])
    return name
