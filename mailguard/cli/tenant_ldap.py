"""`mailguard tenant ldap`: the directory server by which a tenant's recipients are verified."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import Cli, Problems, actor_name, cli_of
from mailguard.cli.recorded import Actor, Why, tenant_entry
from mailguard.cli.terminal import print_facts, print_json, say
from mailguard.core.errors import ConfigError, NotFoundError, Problem, UnavailableError
from mailguard.core.tenant import LdapLookup

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from mailguard.store.tenants import TenantRecord

_ATTRIBUTE = re.compile(r"(?=.{1,64}$)(?:[A-Za-z][A-Za-z0-9-]*|\d+(?:\.\d+)+)")
"""An attribute's name or its OID (RFC 4512 §2.5)."""
DEFAULT_FILTER = "(|(mail={address})(proxyAddresses=smtp:{address}))"


def ldap(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(help="The tenant's name.", show_default=False)],
    url: Annotated[
        str | None,
        typer.Option("--url", help="ldaps://HOST[:PORT], or ldap://HOST[:PORT] with STARTTLS.", show_default=False),
    ] = None,
    base: Annotated[
        str | None, typer.Option("--base", metavar="DN", help="Below which entry is searched.", show_default=False)
    ] = None,
    query: Annotated[
        str | None,
        typer.Option(
            "--filter",
            help=f"What a recipient's entry looks like, with {{address}}, {{local}} and {{domain}}. Default: {DEFAULT_FILTER}",
            show_default=False,
        ),
    ] = None,
    bind_dn: Annotated[
        str | None,
        typer.Option("--bind-dn", metavar="DN", help="As whom it is asked. Empty: anonymously.", show_default=False),
    ] = None,
    password: Annotated[
        str | None,
        typer.Option(
            "--password", help="Where the password is: secret:file:PATH or secret:env:NAME.", show_default=False
        ),
    ] = None,
    starttls: Annotated[
        bool | None,
        typer.Option("--starttls/--no-starttls", help="TLS on ldap://, the default.", show_default=False),
    ] = None,
    mailbox_attribute: Annotated[
        str | None,
        typer.Option(
            "--mailbox-attribute",
            metavar="NAME",
            help="The attribute that names the mailbox an address is billed as, such as mail or uid. Empty: none.",
            show_default=False,
        ),
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Forget the directory server.")] = False,
    try_: Annotated[
        str | None, typer.Option("--try", metavar="ADDRESS", help="Then ask it for an address.", show_default=False)
    ] = None,
    why: Why = "",
    actor: Actor = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show, set or try the directory server that knows a tenant's recipients; what is not given stays.

    It is asked once `mailguard tenant set NAME --verify ldap` says so.
    """
    from mailguard.store import forms, ldap_lookups, tenants
    from mailguard.store.audit import AuditAction, append_in

    cli = cli_of(context)
    key = forms.tenant_name(name)
    record = cli.read(lambda conn: tenants.tenant_by_name(conn, key))
    given = {
        "url": url,
        "base": base,
        "filter": query,
        "bind_dn": bind_dn,
        "password": password,
        "starttls": starttls,
        "mailbox_attribute": mailbox_attribute,
    }
    changes = {field: value for field, value in given.items() if value is not None}
    if off and changes:
        raise ConfigError([Problem("--off", "goes with no other change")])
    if changes or off:
        lookup = None if off else _checked(record, changes)
        who = actor_name(actor)

        def work(conn: Connection) -> TenantRecord:
            before = tenants.tenant_by_name(conn, key)
            after = ldap_lookups.set_ldap(conn, tenant=key, lookup=lookup)
            append_in(conn, tenant_entry(AuditAction.TENANT_CHANGE, before, after, actor=who, why=why))
            return after

        record = cli.write(work)
    found = _try(cli, record, try_) if try_ else None
    if json:
        tried = {"tried": try_, "found": found is not None, "mailbox": found or None} if try_ else {}
        print_json({**_as_json(record.tenant.ldap), **tried})
        return
    _print(record)
    if try_:
        billed = f", and billed as {found}" if found else ""
        say(f"{try_} is {'not in' if found is None else 'in'} the directory{billed}")


def _checked(record: TenantRecord, changes: dict[str, str | bool]) -> LdapLookup:
    """What is there with the changes. Raises ConfigError with all that is wrong with it."""
    from mailguard.config.secrets import is_reference
    from mailguard.net.ldap import parse_url
    from mailguard.net.ldap_filter import parse_filter

    lookup = replace(record.tenant.ldap or LdapLookup("", "", DEFAULT_FILTER), **changes)  # type: ignore[arg-type]
    wrong = Problems()
    for option, check, value in (("--url", parse_url, lookup.url), ("--filter", parse_filter, lookup.filter)):
        try:
            check(value)
        except ValueError as error:
            wrong.add(Problem(option, f"{value!r} {error}" if option == "--url" else str(error)))
    if not lookup.base:
        wrong.add(Problem("--base", "must be given"))
    if lookup.password and not is_reference(lookup.password):
        wrong.add(
            Problem("--password", "must be secret:file:PATH or secret:env:NAME, since it is kept in the database")
        )
    if lookup.mailbox_attribute and not _ATTRIBUTE.fullmatch(lookup.mailbox_attribute):
        wrong.add(
            Problem("--mailbox-attribute", f"{lookup.mailbox_attribute!r} is not an attribute's name such as mail")
        )
    if bool(lookup.password) != bool(lookup.bind_dn):
        wrong.add(Problem("--bind-dn", "goes with --password"))
    wrong.raise_any()
    return lookup


def _try(cli: Cli, record: TenantRecord, address: str) -> str | None:
    """The mailbox that the directory names for an address, empty when it names none; None when it does not know the address.

    Raises NotFoundError when there is no directory, UnavailableError when it does not answer.
    """
    from mailguard.core.address import domain_of
    from mailguard.core.mailbox import mailboxes
    from mailguard.delivery.ldap_lookup import LdapLookups, mailbox_named
    from mailguard.net.ldap import LdapError

    lookup, tenant = record.tenant.ldap, record.tenant
    if lookup is None:
        raise NotFoundError(f"nothing is known of {tenant.name}'s directory server; give --url and --base")
    from mailguard.app.wiring import ldap_lookups

    async def ask() -> str | None:
        lookups: LdapLookups = ldap_lookups(cli.settings)
        try:
            meant = mailboxes(address, domain=domain_of(address), separators=tenant.separators)
            for mailbox in meant:
                found = await lookups.find(lookup, mailbox.address)
                if found is not None:
                    return mailbox_named(found)
            return None
        finally:
            lookups.close()

    try:
        return asyncio.run(ask())
    except LdapError as error:
        raise UnavailableError(f"{lookup.url}: {error}") from error
    except ValueError as error:
        raise ConfigError([Problem("--password", str(error))]) from error


def _as_json(lookup: LdapLookup | None) -> dict[str, object]:
    if lookup is None:
        return {"url": None}
    return {
        "url": lookup.url,
        "base": lookup.base,
        "filter": lookup.filter,
        "bind_dn": lookup.bind_dn,
        "password": lookup.password,
        "starttls": lookup.starttls,
        "mailbox_attribute": lookup.mailbox_attribute or None,
    }


def _print(record: TenantRecord) -> None:
    lookup = record.tenant.ldap
    if lookup is None:
        say(f"{record.tenant.name} has no directory server")
        return
    print_facts(
        {
            "server": lookup.url + (", STARTTLS" if lookup.starttls and lookup.url.startswith("ldap://") else ""),
            "base": lookup.base,
            "filter": lookup.filter,
            "as": lookup.bind_dn or "anybody",
            "password": lookup.password,
            "billed by": lookup.mailbox_attribute,
        }
    )
