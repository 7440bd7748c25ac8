"""Lines of recorded envelopes: paths, what is unknown, what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.core.errors import ConfigError
from mailguard.core.verdict import AuthOutcome, DmarcPolicy
from mailguard.learning.envelopes import Envelopes, RecordedEnvelope, parse_line, read_envelopes


def line(**values: object) -> bytes:
    return json.dumps({"file": "ham/1.eml", **values}).encode()


def parsed(**values: object) -> RecordedEnvelope:
    return parse_line(line(**values))[1]


def test_a_whole_line() -> None:
    name, found, notes = parse_line(
        line(
            client_ip="192.0.2.1",
            mail_from="Bounce@Mail.Example.com",
            rcpt_to="bob@client.test",
            spf="pass",
            dkim="fail",
            dmarc="none",
            helo="is not used",
            lang="de",
        )
    )
    assert (name, notes) == ("ham/1.eml", [])
    assert (found.client_ip, found.mail_from, found.rcpt_to) == (
        "192.0.2.1",
        "Bounce@Mail.Example.com",
        "bob@client.test",
    )
    results = found.results
    assert (results.spf, results.dkim, results.dmarc) == (AuthOutcome.PASS, AuthOutcome.FAIL, AuthOutcome.NONE)
    assert results.spf_domain == "mail.example.com"
    assert results.dmarc_policy is DmarcPolicy.NONE


def test_empty_null_and_missing_are_unknown() -> None:
    assert (
        parsed()
        == parsed(spf="", dkim=None, dmarc="", client_ip=None, mail_from=None, rcpt_to="")
        == RecordedEnvelope()
    )


def test_bestguesspass_is_no_pass() -> None:
    found = parsed(dmarc="bestguesspass")
    assert found.results.dmarc is AuthOutcome.NONE
    assert not found.passed_dmarc
    assert parsed(dmarc="pass").passed_dmarc
    assert not parsed(spf="pass", dkim="pass").passed_dmarc


@pytest.mark.parametrize(
    ("values", "mail_from", "domain"),
    [
        ({"mail_from": "<>"}, "<>", ""),
        ({"mail_from": ""}, "", ""),
        ({"mail_from": "<a@b.test>"}, "a@b.test", "b.test"),
        ({"mail_from": None, "mail_from_domain": "B.test"}, "", "b.test"),
        ({"mail_from": "a@bücher.test"}, "a@bücher.test", "xn--bcher-kva.test"),
    ],
)
def test_senders(values: dict[str, object], mail_from: str, domain: str) -> None:
    found = parsed(**values)
    assert (found.mail_from, found.results.spf_domain) == (mail_from, domain)


def test_values_that_mean_nothing_are_unknown_and_said() -> None:
    _, found, notes = parse_line(line(client_ip="172.81.117.", spf="maybe", dkim="timeout", dmarc_policy="burn"))
    assert found.client_ip == ""
    assert found.results.spf is None
    assert found.results.dkim is AuthOutcome.TEMPERROR
    assert [note.split()[0] for note in notes] == ["client_ip", "spf", "dmarc_policy"]


def test_paths_as_given_and_relative_to_the_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "set").mkdir()
    file = tmp_path / "set" / "envelope.jsonl"
    file.write_bytes(line(spf="pass") + b"\n\n" + line(file="odd/../2.eml", spf="fail") + b"\n")
    found = read_envelopes([file])
    assert len(found) == 2
    monkeypatch.chdir(tmp_path)
    for path in ("ham/1.eml", "set/ham/1.eml", "./set/ham/1.eml", str(tmp_path / "set" / "ham" / "1.eml")):
        entry = found.of(path)
        assert entry is not None, path
        assert entry.results.spf is AuthOutcome.PASS
    entry = found.of(Path("set/2.eml"))
    assert entry is not None
    assert entry.results.spf is AuthOutcome.FAIL
    assert found.of("set/ham/3.eml") is found.of("1.eml") is None
    assert Envelopes().of("ham/1.eml") is None


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    file = tmp_path / "envelope.jsonl"
    file.write_bytes(b'{"file": "ham/caf\\udce9.eml", "spf": "pass"}\n')
    assert read_envelopes([file]).of(f"{tmp_path}/ham/caf\udce9.eml") is not None


def test_every_wrong_line_is_told(tmp_path: Path) -> None:
    file = tmp_path / "envelope.jsonl"
    file.write_bytes(b"\n".join([b"nonsense", b"[1]", b'{"spf": "pass"}', line(spf=7), line(spf="pass")]))
    with pytest.raises(ConfigError) as error:
        read_envelopes([file, tmp_path / "missing.jsonl"])
    assert [Path(problem.where).name for problem in error.value.problems] == [
        "envelope.jsonl:1", "envelope.jsonl:2", "envelope.jsonl:3", "envelope.jsonl:4", "missing.jsonl",
    ]  # fmt: skip


@given(st.binary(max_size=80) | st.dictionaries(st.text(max_size=8), st.text(max_size=8)).map(lambda d: line(**d)))
@settings(deadline=None)
def test_any_line_is_read_or_refused(raw: bytes) -> None:
    try:
        name, found, _ = parse_line(raw)
    except ValueError:
        return
    assert name
    assert isinstance(found, RecordedEnvelope)
