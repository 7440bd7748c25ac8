"""How a tenant's recipients are verified: the options of `mailguard tenant set`, and what `mailguard tenant show` tells."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.when import shown
from mailguard.core.clock import to_iso
from mailguard.core.errors import ConfigError, ConflictError, Problem
from mailguard.core.tenant import Domain, Verification

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.store.tenants import TenantRecord

_SEPARATORS = frozenset("+-=_#~!$%&*.")


class Verify(StrEnum):
    """The values of `--verify`."""

    NONE = "none"
    LIST = "list"
    CALL_AHEAD = "call-ahead"
    LDAP = "ldap"
    AS_TENANT = "as-tenant"


VerifyOption = Annotated[
    Verify | None,
    typer.Option(
        "--verify",
        help="How recipients are verified: not at all, by the tenant's list (`mailguard recipient`), by asking the next "
        "hop, or the directory server of `mailguard tenant ldap`. With --domain for that domain alone; as-tenant takes that back.",
        show_default=False,
    ),
]
SeparatorsOption = Annotated[
    str | None,
    typer.Option(
        "--separators",
        help="Characters that part a mailbox from what the sender adds to it, as in joe+news. Empty: none.",
        show_default=False,
    ),
]


def separators(text: str) -> str:
    """The value of `--separators`. Raises ConfigError when a character of it could not be one."""
    if len(text) > 8 or not _SEPARATORS.issuperset(text):
        allowed = " ".join(sorted(_SEPARATORS))
        raise ConfigError([Problem("--separators", f"{text!r} is not at most 8 of {allowed}")])
    return "".join(dict.fromkeys(text))


def check(verify: Verify | None, domains: Sequence[str]) -> list[Problem]:
    """What is wrong with the options together."""
    if verify is Verify.AS_TENANT and not domains:
        return [Problem("--verify", "as-tenant goes with --domain")]
    return []


def set_in(conn: Connection, *, tenant: str, verify: Verify, domains: Sequence[str]) -> None:
    """Change it, for some domains or for the tenant. Raises NotFoundError, and ConflictError when all mail would be refused."""
    from mailguard.store import aliases, tenants
    from mailguard.store.recipients import unlisted_domains
    from mailguard.store.verifications import forget

    mode = None if verify is Verify.AS_TENANT else Verification(verify.value)
    if domains:
        record = aliases.set_verification(conn, tenant=tenant, domains=domains, verification=mode)
    else:
        record = tenants.set_tenant(conn, name=tenant, verification=mode)
    forget(conn, tenant=tenant)  # what another kind of server said
    if verify is Verify.LDAP and record.tenant.ldap is None:
        raise ConflictError(f"nothing is known of {tenant}'s directory server; first `mailguard tenant ldap {tenant}`")
    unlisted = unlisted_domains(conn, record) if verify is Verify.LIST else []
    if unlisted:
        raise ConflictError(
            f"{tenant}'s list has no recipient of {', '.join(unlisted)}, whose mail would all be refused; first "
            f"`mailguard recipient import {tenant} FILE.csv` or `mailguard recipient add {tenant} ADDRESS`"
        )


def accepting_any(conn: Connection, record: TenantRecord, *, now: int) -> dict[str, int]:
    """The domains whose server was seen to accept any address, and when: their recipients pass unverified."""
    from mailguard.store.verifications import Said, look_up

    found = look_up(conn, record.tenant.id, [f"@{domain.name}" for domain in record.domains])
    return {
        key.removeprefix("@"): answer.checked_at
        for key, answer in found.items()
        if answer.said is Said.ACCEPTS_ANY and now < answer.forget_at
    }


def domain_text(domain: Domain, record: TenantRecord, any_seen: dict[str, int]) -> str:
    """How the recipients of a domain are verified, for people."""
    if domain.alias_of:
        return f"alias of {domain.alias_of}" + (", rewritten" if domain.rewrite else "")
    mode = domain.verification or record.tenant.verification
    if mode is Verification.CALL_AHEAD and domain.name in any_seen:
        return f"call-ahead, but off: its server accepts any address (seen {shown(any_seen[domain.name])})"
    return mode.value


def domain_json(domain: Domain, record: TenantRecord, any_seen: dict[str, int]) -> dict[str, object]:
    """The same for `--json`; `verification` is what holds for the domain, `own` says whether it was set for it alone."""
    home = next((one for one in record.domains if one.name == domain.alias_of), domain)
    seen = any_seen.get(home.name)
    return {
        "verification": (home.verification or record.tenant.verification).value,
        "verification_own": home.verification is not None,
        "accepts_any_seen_at": to_iso(seen) if seen else None,
        "alias_of": domain.alias_of or None,
        "rewrite": domain.rewrite,
    }
