"""`mailguard recipient`, and the verification of `mailguard tenant`."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.cli.context import Cli
from mailguard.cli.recipient_file import lines
from mailguard.core.errors import ConfigError
from mailguard.store import verifications
from mailguard.store.verifications import Said, ServerAnswer
from tests.servers.slapd import BASE, BIND_DN, PASSWORD, running_slapd
from tests.unit.cli.conftest import Ran, Run

NOW = 1_795_500_000_000


@pytest.fixture(autouse=True)
def tenant(mailguard: Run) -> None:
    assert mailguard("db", "upgrade").code == 0
    done = mailguard(
        "tenant", "add", "acme", "--domain", "client.test", "--domain", "other.test", "--next-hop", "192.0.2.1"
    )
    assert done.code == 0, done.err


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str | bytes], str]:
    """Writes a file to import; its path."""

    def write(content: str | bytes) -> str:
        path = tmp_path / "recipients.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def listed(mailguard: Run) -> list[str]:
    names: list[str] = mailguard("recipient", "list", "acme", "--json").json
    return names


FILES: dict[str, str | bytes] = {
    "one a line": "a@client.test\nB@Client.TEST\n",
    "heading": "address\na@client.test\nb@client.test\n",
    "other columns": "name,email,phone\nAnn,a@client.test,1\nBob,b@client.test,2\n",
    "semicolons": "Name;E-Mail\nAnn;a@client.test\nBob;b@client.test\n",
    "tabs, CRLF, BOM": b"\xef\xbb\xbfEmail\tName\r\na@client.test\tAnn\r\nb@client.test\tBob\r\n",
    "quotes, blanks, comments": '# ours\n\n"a@client.test" ,x\n b@client.test\n',
    "twice": "a@client.test\nb@client.test\nA@client.test\n",
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_many_kinds_are_imported(mailguard: Run, file: Callable[[str | bytes], str], name: str) -> None:
    done = mailguard("recipient", "import", "acme", file(FILES[name]))
    assert done.code == 0, done.err
    assert "2 added, 0 removed; 2 on acme's list" in done.out
    assert listed(mailguard) == ["a@client.test", "b@client.test"]


def test_an_import_adds_or_replaces(mailguard: Run, file: Callable[[str | bytes], str]) -> None:
    mailguard("recipient", "add", "acme", "old@client.test", "@other.test")
    done = mailguard("recipient", "import", "acme", file("a@client.test\n"), "--json")
    assert done.json == {"added": 1, "removed": 0, "total": 3, "billed_otherwise": 0}
    done = mailguard("recipient", "import", "acme", file("a@client.test\nc@client.test\n"), "--replace", "--json")
    assert done.json == {"added": 1, "removed": 2, "total": 2, "billed_otherwise": 0}


def test_one_wrong_line_and_nothing_is_imported(mailguard: Run, file: Callable[[str | bytes], str]) -> None:
    path = file("a@client.test\nnobody\nb@elsewhere.test\n")
    done = mailguard("recipient", "import", "acme", path)
    assert done.code == 2
    assert f"{path}:2" in done.err
    assert f"{path}:3" in done.err
    assert "client.test, other.test" in done.err
    assert listed(mailguard) == []


def test_many_wrong_lines_are_not_all_told(mailguard: Run, file: Callable[[str | bytes], str]) -> None:
    done = mailguard("recipient", "import", "acme", file("a@elsewhere.test\n" * 100))
    assert done.code == 2
    assert "and 80 more" in done.err
    assert len(done.err.splitlines()) < 25


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"# nothing\n"])
def test_a_file_without_recipients_replaces_nothing(
    mailguard: Run, file: Callable[[str | bytes], str], content: bytes
) -> None:
    mailguard("recipient", "add", "acme", "a@client.test")
    done = mailguard("recipient", "import", "acme", file(content), "--replace")
    assert done.code in (1, 2)
    assert done.err
    assert listed(mailguard) == ["a@client.test"]


def test_a_file_that_is_not_there_is_told(mailguard: Run) -> None:
    done = mailguard("recipient", "import", "acme", "/nonexistent.csv")
    assert (done.code, "No such file" in done.err) == (2, True)


def test_standard_input_is_a_file_too(mailguard: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a@client.test\n")))
    assert mailguard("recipient", "import", "acme", "-").code == 0
    assert listed(mailguard) == ["a@client.test"]


def test_what_is_exported_is_no_formula_and_can_be_imported(mailguard: Run, file: Callable[[str | bytes], str]) -> None:
    names = ["=cmd@client.test", "+1@client.test", "a@client.test", "@other.test"]
    assert mailguard("recipient", "add", "acme", *names).code == 0
    before = listed(mailguard)
    exported = mailguard("recipient", "export", "acme").out
    assert exported.splitlines() == ["address", "'+1@client.test", "'=cmd@client.test", "a@client.test", "'@other.test"]
    mailguard("recipient", "remove", "acme", *names)
    assert mailguard("recipient", "import", "acme", file(exported)).code == 0
    assert listed(mailguard) == before


def test_removing_what_is_not_there_is_told(mailguard: Run) -> None:
    mailguard("recipient", "add", "acme", "a@client.test")
    done = mailguard("recipient", "remove", "acme", "a@client.test", "b@client.test")
    assert (done.code, "b@client.test" in done.err) == (1, True)
    assert listed(mailguard) == ["a@client.test"]


# mailboxes


def billed_as(mailguard: Run) -> dict[str, str | None]:
    found = mailguard("recipient", "list", "acme", "--mailboxes", "--json").json
    return {entry["recipient"]: entry["mailbox"] for entry in found}


@pytest.mark.parametrize(
    "content",
    [
        "info@client.test,Ann@Client.TEST\nann@client.test,\n",
        "address,mailbox\ninfo@client.test,ann@client.test\nann@client.test,\n",
        "Billed as;Name;E-Mail\nann@client.test;Desk;info@client.test\n;Ann;ann@client.test\n",
    ],
)
def test_a_column_says_which_mailbox_a_recipient_is_billed_as(
    mailguard: Run, file: Callable[[str | bytes], str], content: str
) -> None:
    assert "1 billed as another mailbox" in mailguard("recipient", "import", "acme", file(content)).out
    assert billed_as(mailguard) == {"info@client.test": "ann@client.test", "ann@client.test": None}
    assert "BILLED AS" in mailguard("recipient", "list", "acme", "--mailboxes").out
    exported = mailguard("recipient", "export", "acme").out
    assert exported.splitlines()[0] == "address,mailbox"
    done = mailguard("recipient", "import", "acme", file(exported), "--replace", "--json").json
    assert done == {"added": 0, "removed": 0, "total": 2, "billed_otherwise": 0}


def test_a_list_without_mailboxes_leaves_them_as_they_are(mailguard: Run, file: Callable[[str | bytes], str]) -> None:
    mailguard("recipient", "add", "acme", "info@client.test", "--mailbox", "desk@elsewhere.test")
    mailguard("recipient", "import", "acme", file("info@client.test,Information\n"), "--replace")
    assert billed_as(mailguard) == {"info@client.test": "desk@elsewhere.test"}
    mailguard("recipient", "add", "acme", "info@client.test", "--mailbox", "")
    assert billed_as(mailguard) == {"info@client.test": None}
    assert mailguard("recipient", "export", "acme").out.splitlines() == ["address", "info@client.test"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a@client.test,b@client.test\nb@client.test,c@client.test\n", "itself billed as c@client.test"),
        ("a@client.test,b@client.test\na@client.test,c@client.test\n", "another mailbox for a@client.test"),
        ("address,mailbox\na@client.test,nonsense\n", "'nonsense' is not a mail address"),
        ("address,mailbox\na@client.test,@client.test\n", "'@client.test' is not a mail address"),
    ],
)
def test_mailboxes_that_would_be_ambiguous_are_refused_whole(
    mailguard: Run, file: Callable[[str | bytes], str], content: str, said: str
) -> None:
    done = mailguard("recipient", "import", "acme", file(content))
    assert done.code in (1, 2)
    assert said in done.err
    assert listed(mailguard) == []


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        for line in lines(text, where="f"):
            assert line.where.startswith("f:")
            assert line.address == line.address.strip()
    except ConfigError as error:
        assert error.problems


# tenant set --verify, tenant domain alias


def test_how_recipients_are_verified_is_set_and_shown(mailguard: Run) -> None:
    shown = mailguard("tenant", "show", "acme", "--json").json
    assert (shown["verification"], shown["separators"]) == ("none", "+")
    done = mailguard("tenant", "set", "acme", "--verify", "call-ahead", "--separators", "-+", "--json")
    assert (done.json["verification"], done.json["separators"]) == ("call-ahead", "-+")
    done = mailguard("tenant", "set", "acme", "--verify", "none", "--domain", "other.test", "--json")
    assert [(d["name"], d["verification"], d["verification_own"]) for d in done.json["domains"]] == [
        ("client.test", "call-ahead", False),
        ("other.test", "none", True),
    ]
    assert "call-ahead" in mailguard("tenant", "show", "acme").out
    done = mailguard("tenant", "set", "acme", "--verify", "as-tenant", "--domain", "other.test", "--json")
    assert [d["verification"] for d in done.json["domains"]] == ["call-ahead", "call-ahead"]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--verify", "as-tenant"], 2, "--domain"),
        (["--verify", "perhaps"], 2, "perhaps"),
        (["--verify", "list"], 1, "no recipient of client.test, other.test"),
        (["--verify", "none", "--domain", "elsewhere.test"], 1, "elsewhere.test"),
        (["--separators", "a"], 2, "--separators"),
        (["--separators", "@"], 2, "--separators"),
    ],
)
def test_what_cannot_be_set(mailguard: Run, options: list[str], code: int, words: str) -> None:
    done = mailguard("tenant", "set", "acme", *options)
    assert done.code == code
    assert words in done.err + done.out


def test_a_list_that_loses_a_domain_warns(mailguard: Run) -> None:
    mailguard("recipient", "add", "acme", "a@client.test", "@other.test")
    assert mailguard("tenant", "set", "acme", "--verify", "list").code == 0
    done = mailguard("recipient", "remove", "acme", "a@client.test")
    assert "warning: no recipient of client.test" in done.out


def test_an_alias_is_made_shown_and_changed(mailguard: Run) -> None:
    done = mailguard("tenant", "domain", "alias", "acme", "alias.test", "--of", "client.test")
    assert done.code == 0, done.err
    assert "alias of client.test" in mailguard("tenant", "show", "acme").out
    done = mailguard("tenant", "domain", "alias", "acme", "alias.test", "--of", "client.test", "--rewrite", "--json")
    (alias,) = (domain for domain in done.json["domains"] if domain["alias_of"])
    assert (alias["name"], alias["alias_of"], alias["rewrite"]) == ("alias.test", "client.test", True)
    assert alias["next_hops"][0]["host"] == "192.0.2.1"
    assert mailguard("tenant", "domain", "alias", "acme", "x", "--of", "client.test").code == 2


def test_what_the_server_said_is_shown_and_forgotten(mailguard: Run, config: Path) -> None:
    mailguard("tenant", "set", "acme", "--verify", "call-ahead")
    number = mailguard("tenant", "show", "acme", "--json").json["id"]

    def answer(said: Said, reply: str = "") -> ServerAnswer:
        return ServerAnswer(said, NOW, NOW * 2, NOW * 2, reply)

    cli = Cli(config)
    cli.write(
        lambda conn: verifications.keep(
            conn,
            {
                (number, "@client.test"): answer(Said.ACCEPTS_ANY),
                (number, "a@other.test"): answer(Said.UNKNOWN, "550 5.1.1 \x1b[31mNo"),
            },
        )
    )
    cli.close()
    shown = mailguard("recipient", "answers", "acme").out
    assert "accepts any" in shown
    assert "\x1b" not in shown
    assert [row["answer"] for row in mailguard("recipient", "answers", "acme", "--json").json] == [
        "accepts_any",
        "unknown",
    ]
    assert "off: its server accepts any address" in mailguard("tenant", "show", "acme").out
    (seen, never) = mailguard("tenant", "show", "acme", "--json").json["domains"]
    assert seen["accepts_any_seen_at"].startswith("2026-11-24")
    assert never["accepts_any_seen_at"] is None
    assert "1 answer forgotten" in mailguard("recipient", "forget", "acme", "A@other.test").out
    assert "1 answer forgotten" in mailguard("recipient", "forget", "acme").out


# tenant ldap


def ldap(mailguard: Run, *options: str) -> Ran:
    return mailguard("tenant", "ldap", "acme", *options)


def test_a_directory_server_is_set_shown_changed_and_forgotten(mailguard: Run) -> None:
    assert "no directory server" in ldap(mailguard).out
    done = ldap(mailguard, "--url", "ldaps://dc.client.test", "--base", "dc=client,dc=test", "--json")
    assert done.json["filter"] == "(|(mail={address})(proxyAddresses=smtp:{address}))"
    done = ldap(mailguard, "--bind-dn", "cn=reader", "--password", "secret:env:LDAP", "--filter", "(mail={address})")
    assert done.code == 0, done.err
    shown = ldap(mailguard, "--json").json
    assert shown == {
        "url": "ldaps://dc.client.test", "base": "dc=client,dc=test", "filter": "(mail={address})", "bind_dn": "cn=reader",
        "password": "secret:env:LDAP", "starttls": True, "mailbox_attribute": None,
    }  # fmt: skip
    assert mailguard("tenant", "set", "acme", "--verify", "ldap").code == 0
    done = ldap(mailguard, "--off")
    assert (done.code, "--verify none" in done.err) == (1, True)
    mailguard("tenant", "set", "acme", "--verify", "none")
    assert ldap(mailguard, "--off").code == 0
    done = mailguard("tenant", "set", "acme", "--verify", "ldap")
    assert (done.code, "tenant ldap acme" in done.err) == (1, True)


def test_everything_wrong_with_a_directory_server_is_told_at_once(mailguard: Run) -> None:
    done = ldap(mailguard, "--url", "http://dc", "--filter", "(mail=", "--password", "hunter2")
    assert done.code == 2
    for part in ("--url", "ldap://HOST", "--filter", "--base", "secret:file:PATH", "--bind-dn"):
        assert part in done.err
    assert "hunter2" not in done.err
    assert ldap(mailguard, "--json").json == {"url": None}


def test_a_directory_server_can_be_tried(mailguard: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LDAP_PASSWORD", PASSWORD)
    assert ldap(mailguard, "--try", "joe@client.test").code == 1
    with running_slapd(["joe@client.test"]) as server:
        url = [
            "--url",
            f"ldap://127.0.0.1:{server.port}",
            "--no-starttls",
            "--base",
            BASE,
            "--filter",
            "(mail={address})",
        ]
        done = ldap(mailguard, *url, "--bind-dn", BIND_DN, "--password", "secret:env:LDAP_PASSWORD")
        assert done.code == 0, done.err
        assert "joe+x@client.test is in the directory" in ldap(mailguard, "--try", "joe+x@client.test").out
        assert ldap(mailguard, "--try", "eve@client.test", "--json").json["found"] is False
        assert ldap(mailguard, "--mailbox-attribute", "u id").code == 2
        done = ldap(mailguard, "--mailbox-attribute", "uid", "--try", "joe+x@client.test")
        assert "joe+x@client.test is in the directory, and billed as u0" in done.out
        monkeypatch.delenv("LDAP_PASSWORD")
        assert "LDAP_PASSWORD" in ldap(mailguard, "--try", "joe@client.test").err
        monkeypatch.setenv("LDAP_PASSWORD", PASSWORD)
    done = ldap(mailguard, "--try", "joe@client.test")
    assert (done.code, "ldap://127.0.0.1" in done.err) == (1, True)
