"""Which mailbox an address is billed as: by property, and the rules as they are in the database."""

from __future__ import annotations

from string import ascii_lowercase

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, insert

from mailguard.billing.mailboxes import MailboxRules, rules_of
from mailguard.core.address import normalise
from mailguard.store import schema

locals_ = (
    st.text(ascii_lowercase + "ABC.", min_size=1, max_size=8)
    .map(lambda text: text.strip(".") or "x")
    .filter(lambda text: ".." not in text)
)
tags = st.text(ascii_lowercase + "0123456789-_", max_size=6)
PLAIN = MailboxRules("+", {"alias.test": "x.test"})


@given(local=locals_, tag=tags, domain=st.sampled_from(["x.test", "X.test", "alias.test"]))
def test_case_tags_and_aliases_make_no_difference(local: str, tag: str, domain: str) -> None:
    mailbox = f"{local.lower()}@x.test"
    for address in (f"{local}@{domain}", f"{local.upper()}+{tag}@{domain}", f"{local}@alias.test"):
        assert PLAIN.mailbox_of(normalise(address)) == PLAIN.mailbox_of(address) == mailbox


@given(local=locals_, tag=tags)
def test_what_is_no_separator_parts_nothing(local: str, tag: str) -> None:
    address = f"{local.lower()}+{tag}@x.test"
    assert MailboxRules().mailbox_of(address) == address


addresses = st.builds(
    lambda local, tag, domain: f"{local}{tag}@{domain}",
    st.sampled_from(["ann", "bob", "cat", "info"]),
    st.sampled_from(["", "+news", "+shop"]),
    st.sampled_from(["x.test", "alias.test", "y.test"]),
)
boxes = st.sampled_from(["ann@x.test", "bob@x.test", "office@x.test", "office@elsewhere.test"])


@st.composite
def rules(draw: st.DrawFn) -> MailboxRules:
    """A list that names mailboxes in one step, as it is required to; and a directory's answers."""
    listed = {entry: "" for entry in draw(st.lists(addresses | st.just("@y.test"), max_size=6)) if "alias" not in entry}
    for entry in sorted(listed):
        box = draw(boxes | st.just(""))
        if listed.get(box, "") == "" and entry not in listed.values():
            listed[entry] = box
    known = draw(st.dictionaries(addresses, st.just("") | boxes, max_size=4))
    return MailboxRules("+", {"alias.test": "x.test"}, listed, known)


@given(rules=rules(), address=addresses)
def test_it_is_a_function_of_what_the_address_means(rules: MailboxRules, address: str) -> None:
    found = rules.mailbox_of(address)
    assert found == rules.mailbox_of(address.replace("alias.test", "x.test"))
    assert found == found.lower()


@given(rules=rules(), used=st.sets(addresses))
def test_there_are_never_more_mailboxes_than_addresses(rules: MailboxRules, used: set[str]) -> None:
    assert len({rules.mailbox_of(address) for address in used}) <= len(used)


@given(rules=rules(), box=boxes, address=addresses)
def test_the_list_comes_before_the_directory(rules: MailboxRules, box: str, address: str) -> None:
    entry = f"{address.partition('@')[0].partition('+')[0]}@{address.partition('@')[2].replace('alias', 'x')}"
    named = MailboxRules("+", rules.homes, {**rules.listed, entry: box}, rules.known)
    if address.partition("@")[0].partition("+")[2] == "" or entry in named.listed:
        assert named.mailbox_of(entry) == box


def test_of_an_address_that_is_only_listed_whole_the_whole_counts() -> None:
    rules = MailboxRules("+-", {}, {"anna-maria@x.test": "", "joe@x.test": ""})
    assert rules.mailbox_of("anna-maria@x.test") == "anna-maria@x.test"
    assert rules.mailbox_of("joe-shop@x.test") == "joe@x.test"
    assert rules.mailbox_of("new-shop@x.test") == "new@x.test"  # nobody knows it: as with the others


def test_a_mailbox_that_the_directory_names_by_an_alias_is_that_of_its_domain() -> None:
    rules = MailboxRules("+", {"alias.test": "x.test"}, {}, {"info@x.test": "ann@alias.test", "joe@x.test": "jdoe"})
    assert rules.mailbox_of("info@alias.test") == "ann@x.test"
    assert rules.mailbox_of("joe+1@x.test") == "jdoe"


def test_all_of_a_domain_may_be_one_mailbox() -> None:
    rules = MailboxRules("+", {}, {"@y.test": "office@x.test", "ann@y.test": "ann@x.test", "bob@y.test": ""})
    assert rules.mailbox_of("anything@y.test") == "office@x.test"
    assert rules.mailbox_of("ann+1@y.test") == "ann@x.test"


@pytest.mark.parametrize("text", ["", "erased 17", "@", "a@", "a@b@c", '"a b"@x.test', "a@[192.0.2.1]", "ü@ü.test"])
def test_whatever_stands_there_is_some_mailbox(text: str) -> None:
    assert PLAIN.mailbox_of(text) == PLAIN.mailbox_of(text)
    assert MailboxRules().mailbox_of(f"{text}x") != MailboxRules().mailbox_of(f"{text}y") or "@" in text


def test_the_rules_are_read_per_tenant(engine: Engine) -> None:
    with engine.begin() as conn:
        for table in (schema.recipients, schema.verifications):
            conn.execute(delete(table))
        conn.execute(insert(schema.domains).values(name="alias.test", tenant=2, alias_of="x.test"))
        conn.execute(schema.tenants.update().where(schema.tenants.c.id == 2).values(separators="-"))
        listed = {"tenant": 2, "address": "info@x.test", "added_at": 0, "mailbox": "ann@x.test"}
        conn.execute(insert(schema.recipients).values(listed))
        times = {"checked_at": 0, "expires_at": 0, "forget_at": 1}
        heard = [
            {"tenant": 2, "address": "ann.b@x.test", "result": "known", "mailbox": "ann@x.test", **times},
            {"tenant": 2, "address": "gone@x.test", "result": "unknown", "mailbox": "", **times},
            {"tenant": 3, "address": "ann.b@x.test", "result": "known", "mailbox": "other@x.test", **times},
        ]
        conn.execute(insert(schema.verifications), heard)
        found = rules_of(conn, [2, 3])
        for table in (schema.recipients, schema.verifications):
            conn.execute(delete(table))
        conn.execute(delete(schema.domains).where(schema.domains.c.name == "alias.test"))
        conn.execute(schema.tenants.update().values(separators="+"))
    assert found[2] == MailboxRules(
        "-", {"alias.test": "x.test"}, {"info@x.test": "ann@x.test"}, {"ann.b@x.test": "ann@x.test"}
    )
    assert found[3] == MailboxRules("+", {}, {}, {"ann.b@x.test": "other@x.test"})
    assert found[2].mailbox_of("info-a@alias.test") == "ann@x.test"
