"""`mailguard tenant domain set`: what is asked of a domain's next hops (TLS), and who we are to them (AUTH, certificate)."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import Cli, Problems, actor_name, cli_of
from mailguard.cli.recorded import Actor, Why, tenant_entry
from mailguard.cli.terminal import say
from mailguard.core.errors import Problem
from mailguard.core.transport import HopSecurity, TlsMode

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.store.tenants import TenantRecord

_REFERENCE = re.compile(r"^secret:(file:/.+|env:[A-Za-z_][A-Za-z0-9_]*)$")


class TlsChoice(StrEnum):
    """TlsMode, or what `[outbound] tls` says."""

    DEFAULT = "default"
    OFF = "off"
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"
    VERIFIED = "verified"
    DANE = "dane"


Tls = Annotated[
    TlsChoice | None,
    typer.Option(
        "--tls",
        help="TLS towards the next hops: when offered (opportunistic), always (required), with a certificate of the host's "
        "name (verified), by TLSA records (dane), never (off), or as [outbound] tls says (default).",
    ),
]
Certificate = Annotated[
    Path | None,
    typer.Option("--client-certificate", help="PEM file with our certificate chain and key for these next hops."),
]
NoCertificate = Annotated[bool, typer.Option("--no-client-certificate", help="Show none of their own any more.")]
User = Annotated[str | None, typer.Option("--auth-user", help="User name for SMTP AUTH; only ever sent within TLS.")]
Password = Annotated[
    str | None,
    typer.Option(
        "--auth-password",
        metavar="REFERENCE",
        help="Where the relay finds the password: secret:file:/PATH or secret:env:NAME; never the password itself.",
    ),
]
NoAuth = Annotated[bool, typer.Option("--no-auth", help="Say nothing of who we are any more.")]


def domain_set(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(help="The tenant's name.", show_default=False)],
    domain: Annotated[list[str], typer.Argument(metavar="DOMAIN...", help="Its domains.", show_default=False)],
    tls: Tls = None,
    client_certificate: Certificate = None,
    no_client_certificate: NoCertificate = False,
    auth_user: User = None,
    auth_password: Password = None,
    no_auth: NoAuth = False,
    why: Why = "",
    actor: Actor = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say how a domain's next hops are met: TLS, client certificate, credentials. What is not given stays."""
    from mailguard.cli.tenant_shown import print_changed
    from mailguard.store import forms, tenants
    from mailguard.store.audit import AuditAction, append_in
    from mailguard.store.domain_security import set_security

    cli, who = cli_of(context), actor_name(actor)
    wrong = Problems()
    names = wrong.parse(forms.tenant_name, [name])
    domains = wrong.parse(forms.domain_name, domain)
    if not (tls or client_certificate or no_client_certificate or auth_user or auth_password or no_auth):
        wrong.add(Problem("tenant domain set", "give --tls, --client-certificate, --auth-user and --auth-password, …"))
    if tls is TlsChoice.DANE and not cli.settings.dns.trust_ad:
        wrong.add(
            Problem(
                "--tls", "dane needs name servers that validate, and [dns] trust_ad = true to say that they are trusted"
            )
        )
    if auth_password is not None and not _REFERENCE.match(auth_password):
        wrong.add(
            Problem("--auth-password", "must be secret:file:/PATH or secret:env:NAME; passwords are not kept here")
        )
    certificate = _certificate(wrong, client_certificate) if client_certificate else None
    wrong.raise_any()

    def work(conn: Connection) -> TenantRecord:
        before = tenants.tenant_by_name(conn, names[0])
        after = set_security(
            conn,
            tenant=names[0],
            domains=list(dict.fromkeys(domains)),
            tls=None if tls is None else "" if tls is TlsChoice.DEFAULT else tls.value,
            certificate="" if no_client_certificate else certificate,
            username="" if no_auth else auth_user,
            password="" if no_auth else auth_password,
        )
        subject = domains[0] if len(domains) == 1 else ""
        append_in(conn, tenant_entry(AuditAction.DOMAIN_CHANGE, before, after, actor=who, why=why, subject=subject))
        return after

    record = cli.write(work)
    print_changed(record, f"{', '.join(domains)} of {names[0]} changed", json=json)
    if not json:
        _warn(cli, record, domains)


def _certificate(wrong: Problems, path: Path) -> str:
    from mailguard.net.tls_contexts import TlsContexts, TlsSetupError

    absolute = str(path.expanduser().absolute())
    try:
        TlsContexts().get(verified=False, certificate=absolute)
    except TlsSetupError as error:
        wrong.add(Problem("--client-certificate", str(error)))
    return absolute


def _warn(cli: Cli, record: TenantRecord, domains: list[str]) -> None:
    default = TlsMode(cli.settings.outbound.tls)
    for domain in record.domains:
        security = domain.security
        if domain.name in domains and security.username and security.mode(default) is not TlsMode.VERIFIED:
            say(
                f"note: {domain.name}: whoever can pose as its next hop gets the password; `--tls verified` prevents that"
            )


def security_text(security: HopSecurity) -> str:
    """For the table of a tenant's domains; empty when nothing is set."""
    parts = [security.tls.value] if security.tls else []
    if security.username:
        parts.append(f"AUTH {security.username} ({security.password})")
    if security.certificate:
        parts.append(f"certificate {security.certificate}")
    return ", ".join(parts)


def security_json(security: HopSecurity) -> dict[str, object]:
    """The keys of a domain that say how its next hops are met; null: as it is set for all."""
    auth = {"username": security.username, "password": security.password} if security.username else None
    return {
        "tls": security.tls.value if security.tls else None,
        "client_certificate": security.certificate or None,
        "auth": auth,
    }
