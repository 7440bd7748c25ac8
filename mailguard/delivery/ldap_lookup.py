"""Recipient verification by the tenant's directory server. Its answers are put as a next hop's, and kept in the same way."""

from __future__ import annotations

import ssl
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Sequence

from mailguard.core.address import domain_of, local_part_of
from mailguard.core.reply import Reply
from mailguard.core.tenant import LdapLookup
from mailguard.delivery.forward import Asked
from mailguard.net.ldap import Found, LdapClient, LdapError, LdapServer, parse_url
from mailguard.net.ldap_filter import FilterError, parse_filter
from mailguard.net.smtp_values import Answer, Stage
from mailguard.net.tls_contexts import TlsSetupError

FOUND = Reply(250, "2.1.5", "In the directory")
NOT_FOUND = Reply(550, "5.1.1", "Not in the directory")
MAILBOX_LIMIT = 320
"""Characters of a mailbox's name that are kept."""
CLIENTS = 1_000
"""Connections kept open; the one that was not used for longest is closed for another."""


class LdapLookups:
    """Asks each tenant's directory over one connection. `secret` resolves references to passwords (ValueError)."""

    def __init__(self, *, timeout: float, context: Callable[[], ssl.SSLContext], secret: Callable[[str], str]) -> None:
        self._timeout = timeout
        self._context = context
        self._secret = secret
        self._clients: OrderedDict[LdapLookup, LdapClient] = OrderedDict()

    async def ask(self, lookup: LdapLookup, addresses: Sequence[str]) -> Asked:
        """Whether the directory has each address; what keeps it from answering is in the answers, not raised."""
        answers, named = [], []
        for address in addresses:
            mailbox = ""
            try:
                found = await self.find(lookup, address)
            except (LdapError, FilterError, TlsSetupError, ValueError) as error:
                answers.append(Answer(Stage.CONNECT, None, str(error)))
            else:
                answers.append(Answer(Stage.RCPT, NOT_FOUND if found is None else FOUND))
                mailbox = mailbox_named(found)
            named.append(mailbox)
        return Asked(tuple(answers), lookup.url, tuple(named))

    async def find(self, lookup: LdapLookup, address: str) -> Found | None:
        """What the directory has of an address. Raises LdapError, and ValueError for what is wrong with `lookup`."""
        values = {"address": address, "local": local_part_of(address), "domain": domain_of(address)}
        query = parse_filter(lookup.filter).encode(values)
        return await self._client(lookup).find(lookup.base, query, lookup.mailbox_attribute)

    def close(self) -> None:
        """Close all connections."""
        while self._clients:
            self._clients.popitem()[1].close()

    def _client(self, lookup: LdapLookup) -> LdapClient:
        client = self._clients.get(lookup)
        if client is None:
            host, port, tls = parse_url(lookup.url)
            server = LdapServer(host, port, tls, lookup.starttls, lookup.bind_dn, self._secret(lookup.password))
            client = self._clients[lookup] = LdapClient(server, timeout=self._timeout, context=self._context)
            if len(self._clients) > CLIENTS:
                self._clients.popitem(last=False)[1].close()
        self._clients.move_to_end(lookup)
        return client


def mailbox_named(found: Found | None) -> str:
    """The mailbox that an entry's attribute names, in lower case; the first of several values; empty when there is none."""
    values = [value.strip() for value in found.values] if found else []
    return next((unicodedata.normalize("NFC", value).lower()[:MAILBOX_LIMIT] for value in values if value), "")
