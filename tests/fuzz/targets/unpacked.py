"""What the relay itself does about attached files: answers of the sandbox, words tried as passwords, parts taken out, lists and rules read."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from mailguard.checks.hashes_file import load_hashes
from mailguard.checks.passwords import CANDIDATES, LENGTH, candidates
from mailguard.checks.unpack_answer import EVIDENCE, FILES, FOUND, KIND, LINKS, PATH, URL, read_answer
from mailguard.checks.unpack_choice import can_hold, choose
from mailguard.checks.unpack_symbols import SYMBOLS
from mailguard.checks.yara_file import SCORE_LIMIT, load_yara
from mailguard.core.decision import Unwanted
from mailguard.core.edits import edited
from mailguard.core.errors import ConfigError
from mailguard.message.attachments import inspect
from mailguard.message.parse import parse
from mailguard.message.strip import CannotStripError, plan, shown
from mailguard.sandbox.frames import FrameError, unpack
from mailguard.sandbox.values import Answer, Outcome
from tests.fuzz.target import Input, Target
from tests.fuzz.targets.mime import MAILS, TOKENS


def answer(data: bytes) -> None:
    """An answer of a process that a file has taken over."""
    source = Input(data)
    octets = bytes(source.octet())
    try:
        value = unpack(source.long_rest())
    except FrameError:
        return
    tree = read_answer(Answer(Outcome.OK, value, raw=octets), "a.zip", "application/zip", rules={"YARA_X"})
    if tree is None:
        return
    assert 1 <= len(tree.nodes) <= FILES
    assert tree.nodes[0].attachment.depth == 0
    for before, node in zip((None, *tree.nodes), tree.nodes, strict=False):
        one = node.attachment
        assert before is None or 1 <= one.depth <= before.attachment.depth + 1
        assert len(one.name) <= PATH
        assert max(len(one.declared_type), len(one.true_type)) <= KIND
        assert one.size >= 0
        assert len(node.found) <= FOUND
        for symbol, evidence in node.found:
            assert symbol in SYMBOLS or symbol == "YARA_X"
            assert len(evidence) <= EVIDENCE
            assert evidence.isprintable() or not any(ord(letter) < 32 for letter in evidence)
        if node.octets is not None:
            assert 0 <= node.octets.start < node.octets.stop <= len(octets)
        json.dumps([one.name, one.true_type, one.declared_type]).encode()
        f"{one.name}{one.true_type}{one.declared_type}".encode()
    assert len(tree.links) <= LINKS
    assert all(len(url) <= URL and url.encode() is not None for _, url, _ in tree.links)


def words(data: bytes) -> None:
    """A mail that may name a password."""
    source = Input(data)
    subject, name, sender = source.text(), source.text(), source.text()
    text = source.long_rest().decode("utf-8", "replace")
    found = candidates(text, subject, files=(name,), sender=sender)
    assert len(found) <= CANDIDATES
    assert len(set(found)) == len(found)
    assert all(1 <= len(one) <= LENGTH and "\0" not in one for one in found)


def chosen(data: bytes) -> None:
    """A mail whose files may be taken apart."""
    message = parse(Input(data).long_rest())
    for part in message.parts[:50]:
        can_hold(part)
    choose(message, octets=1024 * 1024)


def stripped(data: bytes) -> None:
    """A mail some of whose files are taken out: they are gone, and the rest is as it was, or it is refused."""
    source = Input(data)
    which = source.octet()
    message = parse(source.long_rest())
    facts = [inspect(part).attachment for part in message.attachments]
    gone = [
        Unwanted(one.name, one.sha256, "not let in")
        for number, one in enumerate(facts)
        if which >> number % 8 & 1
    ]  # fmt: skip
    try:
        edits = plan(message, gone, message_id="01JDF00000000000000000000X", ask="help@b.example")
    except CannotStripError:
        return
    out = edited(message.raw, edits)
    left = {(one.name, one.sha256) for one in (inspect(part).attachment for part in parse(out).attachments)}
    assert not left & {(one.name, one.sha256) for one in gone}
    assert bool(edits) == bool(gone)
    for one in gone:
        assert not set(shown(one.name)) & set("\r\n\0\u202e")


def hash_list(data: bytes) -> None:
    """A list of hashes."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.txt").write_bytes(Input(data).long_rest())
        try:
            load_hashes(Path(folder))
        except ConfigError as error:
            assert error.problems
            assert len(error.problems) <= 25


def yara_rules(data: bytes) -> None:
    """A file of YARA rules."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.yar").write_bytes(Input(data).long_rest())
        try:
            rules = load_yara(Path(folder))
        except ConfigError as error:
            assert error.problems
            return
        for name, (points, description) in rules.symbols.items():
            assert name.startswith("YARA_")
            assert name == name.upper()
            assert 0 <= points <= SCORE_LIMIT
            assert description


_NODE = b'{"name":"a","kind":"b/c","declared":"","size":1,"sha256":"%s","depth":%d,"via":"","found":[["ARCHIVE_ITSELF","x"]],"at":[0,1]}'
_HEAD = b"# source: own\n# date: 2026-11-24\n"

TARGETS = (
    Target(
        "unpack_answers",
        answer,
        (
            b'\x40{"files":[' + _NODE % (b"a" * 64, 0) + b"," + _NODE % (b"a" * 64, 1) + b'],"links":[["a","http://b","qr"]]}',
            b'\0{"files":[' + _NODE % (b"", 0) + b"\xfd," + _NODE % (b"", 1) + b"\xfe\x20]}",
            b'\0{"files":[{"depth":0,"name":"\\ud800","found":[["YARA_X","\\u0000\\ud800"]],"size":1e999,"at":[0,-1]}]}',
            b'\0{"files":[{"depth":true}],"links":{}}',
            b'\0{"files":[{"depth":0,"at":[true,true],"size":123456789012345678901234567890}]}',
        ),
        tokens=(b'"files":[', b'"depth":', b'"at":[0,1]', b'"found":[[', b'"ARCHIVE_ITSELF"', b'"YARA_X"', b"\\ud800", b"null", b"true", b"NaN", b"-1", b'"links":[['),
    ),
    Target(
        "password_words",
        words,
        (
            b"subject 1234\0\0a.zip\0\0bob@a.example\0\0The password is: infected\r\n\r\n\"secret\"",
            b"\0\0\0\0\0\0Passwort: x12\nPasswort\xfd:\xfe\x60",
            b"\0\0\0\0\0\0\xfdpassword\xfe\x60",
            b"\0\0\0\0\0\0\xfdpassword \xfe\x60",
            b"\0\0\0\0\0\0password\xfd \xfe\x80",
            b"\0\0\0\0\0\0\xfd\"\xfe\x80",
            b"\0\0\0\0\0\0\xfd \n\xfe\x80",
            b"\xfdpassword is \xfe\x40\0\0\0\0\0\0",
            "\0\0\0\0\0\0пароль: 123 密码：456 mot de passe « a »".encode(),
        ),
        tokens=(b"password", b"passwort: ", b"pin ", b"code", " пароль ".encode(), "密码".encode(), b"\n\n", b"\"", b"is "),
    ),
    Target("unpack_choice", chosen, (*MAILS, b"Content-Type: text/plain; name=a.txt\r\n\r\n\xfdbegin 644 a\n\xfe\x40", b"Content-Type: image/png\r\n\r\n\x89PNG\r\n\x1a\nPK\5\6", b"Content-Type: text/plain; name=a.txt\r\n\r\n\xfd_\xfe\xf0", b"Content-Type: text/plain; name=a.txt\r\n\r\n\xfd" + b"A" * 399 + b"-\xfe\x10"), tokens=(*TOKENS, b"PK\5\6", b"begin 644 a\n", b"<script>", b"TVqQAAMAAAAEAAAA")),
    Target(
        "stripped",
        stripped,
        (*(b"\xff" + mail for mail in MAILS), *(b"\x01" + mail for mail in MAILS), b"\xffContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\nContent-Disposition: attachment; filename=a\r\n\r\nx\r\n--b--\r\n"),
        tokens=(*TOKENS, b"Content-Disposition: attachment; filename=a.exe\r\n", b"multipart/signed", b"multipart/alternative", b"begin 644 a\n"),
    ),
    Target(
        "hash_lists",
        hash_list,
        (
            _HEAD + b"a" * 64 + b"  Eicar-Test\n",
            _HEAD + b"\xfd" + b"0" * 64 + b" *a\r\n\xfe\x20",
            b"a" * 64 + b"\n",
            _HEAD.replace(b"11", b"13") + b"b" * 64 + b"\nnonsense\n",
            _HEAD + b"a" * 64 + b" \xfda \xfe\x40\x01",
            b"# source: \xfd \xfe\x60",
        ),
        tokens=(b"# source: ", b"# date: ", b"a" * 64, b"\r\n", b" *"),
    ),
    Target(
        "yara_rules",
        yara_rules,
        (
            b'rule A { meta: score = 3 description = "x" strings: $a = "MZ" condition: $a at 0 }',
            b'private rule A { condition: filesize > 1 } rule b { meta: score = 1.5 description = "y" condition: A }',
            b'rule A { strings: $a = /a.{1,100}b/ condition: $a }',
            b'include "x" import "pe"',
            b"rule\xfd A\xfe\x40",
            b"\xfdprivate \xfe\x40rule A { condition: true }",
            b"rule A { condition: \xfd(\xfe\x20",
        ),
        tokens=(b"rule ", b"meta:", b"score = ", b'description = "', b"strings:", b"condition:", b"private ", b"global ", b"import \"pe\"", b"include \"", b"all of them", b"{ 4D 5A ?? }"),
    ),
)  # fmt: skip
