"""What is changed while the relay runs takes effect within seconds, without a restart; what is wrong changes nothing."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.mails import arrived, infected, mail, with_attachment
from tests.servers.ports import wait_until
from tests.servers.relay import ROOT, Relay
from tests.servers.sink_thread import SinkThread
from tests.unit.checks.mail import packed

SECONDS = 5


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """The shipped policies, to be changed."""
    return Path(shutil.copytree(ROOT / "policies", tmp_path / "policies"))


@pytest.fixture
def relay(new_relay: Callable[..., Relay], policies: Path, sink: SinkThread) -> Relay:
    made = new_relay(policies=policies, workers=2)
    made.add_tenant("acme", "client.test", sink.port)
    return made.start()


@pytest.fixture
def told_relay(new_relay: Callable[..., Relay], policies: Path, sink: SinkThread) -> Relay:
    """A relay that looks at its policies when it is told to."""
    made = new_relay(policies=policies, environment={"MAILGUARD_POLICIES__POLL_SECONDS": "3600"})
    made.add_tenant("acme", "client.test", sink.port)
    return made.start()


def put(path: Path, text: str) -> None:
    """Replace a file in one step, so that nobody reads half of it."""
    scratch = path.with_suffix(".new")
    scratch.write_text(text)
    scratch.replace(path)


def everywhere(condition: Callable[[], bool], *, what: str) -> None:
    """Wait until it holds for new connections, whichever worker gets them."""
    wait_until(lambda: all(condition() for _ in range(8)), seconds=SECONDS, what=what)


def test_tenants_domains_and_next_hops(relay: Relay, new_sink: Callable[..., SinkThread]) -> None:
    other = new_sink()
    assert not relay.takes("u@new.test")
    relay.add_tenant("globex", "new.test", other.port)
    everywhere(lambda: relay.takes("u@new.test"), what="the new tenant's domain being taken")
    assert relay.send(mail("first"), ["u@new.test"])[0] == 250
    assert len(arrived(other, "u@new.test")) == 1

    relay.run("tenant", "domain", "add", "globex", "second.test", "--next-hop", f"127.0.0.1:{other.port}")
    everywhere(lambda: relay.takes("u@second.test"), what="the second domain being taken")

    third = new_sink()
    relay.run("tenant", "set", "globex", "--next-hop", f"127.0.0.1:{third.port}")

    def goes_to_the_third() -> bool:
        before = len(third.messages)
        relay.send(mail("where to"), ["u@new.test"])
        return len(third.messages) > before

    everywhere(goes_to_the_third, what="the new next hop being used")

    relay.run("tenant", "domain", "remove", "globex", "second.test")
    everywhere(lambda: not relay.takes("u@second.test"), what="the removed domain being refused")
    assert relay.takes("u@new.test")
    relay.run("tenant", "remove", "globex")
    everywhere(lambda: not relay.takes("u@new.test"), what="the removed tenant's domain being refused")
    assert relay.takes("u@client.test")


def test_lists_and_profiles_of_a_tenant(relay: Relay) -> None:
    relay.run("tenant", "deny", "add", "acme", "sender.test")
    everywhere(lambda: relay.send(mail("denied"))[0] == 550, what="the deny entry being used")
    relay.run("tenant", "set", "acme", "--policy", "tag-only")
    everywhere(lambda: relay.send(mail("denied but tagged"))[0] == 250, what="the other profile being used")


def test_a_changed_profile_is_used_and_a_broken_one_is_not(relay: Relay, policies: Path) -> None:
    default = policies / "default.yaml"
    assert relay.send(infected())[0] == 250

    def recorded() -> list[list[str | None]]:
        entries = json.loads(relay.run("audit", "list", "--action", "policy", "--subject", "default", "--json").stdout)
        return [entry["detail"]["hash"] for entry in entries]

    wait_until(lambda: len(recorded()) == 1, what="what is in force being in the audit log, once")
    good = default.read_text().replace("malware: quarantine", "malware: reject")
    put(default, good)
    everywhere(lambda: relay.send(infected())[0] == 550, what="the changed profile being used")
    wait_until(lambda: relay.metric('mailguard_policy_reloads_total{result="ok"}') == 2, what="both workers' reloads")
    wait_until(lambda: len(recorded()) == 2, what="the change being in the audit log")
    assert relay.metric('mailguard_policy_reloads_total{result="error"}') == 0

    put(default, good.replace("malware: reject", "malware: tickle"))
    wait_until(lambda: relay.metric('mailguard_policy_reloads_total{result="error"}') == 2, what="both being told")
    assert "default.yaml" in relay.log
    assert "tickle" in relay.log
    assert {relay.send(infected())[0] for _ in range(8)} == {550}
    assert relay.get("/readyz")[0] == 200
    assert relay.run("policy", "check", check=False).returncode == 2

    put(default, good.replace("malware: reject", "malware: quarantine"))
    everywhere(lambda: relay.send(infected())[0] == 250, what="the mended profile being used")

    wait_until(lambda: len(recorded()) == 3, what="the second change being in the audit log, and each of them once")
    (_, first), (_, second), (_, third) = recorded()
    assert first == third != second


def test_a_new_rule_is_used(relay: Relay, policies: Path, sink: SinkThread) -> None:
    put(
        policies / "rules/90-ours.yaml",
        "rules:\n  - name: OURS_TULIPS\n    description: bulbs\n    score: 1.5\n    where: subject\n"
        "    patterns: tulips\n    hits: [tulips]\n",
    )

    def is_seen() -> bool:
        relay.send(mail("cheap tulips"))
        return b"OURS_TULIPS(1.50)" in sink.messages[-1].content

    everywhere(is_seen, what="the new rule being used")
    put(policies / "rules/90-ours.yaml", "rules:\n  - name: OURS_TULIPS\n    patterns: '('\n")
    wait_until(lambda: relay.metric('mailguard_policy_reloads_total{result="error"}') == 2, what="both being told")
    everywhere(is_seen, what="the last good rules staying")


def test_sighup_reads_the_policies_at_once(told_relay: Relay, policies: Path) -> None:
    relay = told_relay
    default = policies / "default.yaml"
    put(default, default.read_text().replace("malware: quarantine", "malware: reject"))
    assert relay.send(infected())[0] == 250
    assert relay.process is not None
    relay.process.send_signal(signal.SIGHUP)
    everywhere(lambda: relay.send(infected())[0] == 550, what="the changed profile being used")


def test_a_new_list_of_hashes_is_used_and_tells_who_has_the_file(told_relay: Relay, policies: Path) -> None:
    relay = told_relay
    content = b"a new thread of screws, in blue\n"
    digest = hashlib.sha256(content).hexdigest()
    assert relay.send(with_attachment(content, "screws.txt"))[0] == 250

    def traced(*options: str) -> list[str]:
        return [unit["state"] for unit in json.loads(relay.run("trace", *options, "--json").stdout)]

    wait_until(lambda: traced("--sha256", digest) == ["delivered"], what="the mail being found by its file")
    assert traced("--attachment", "screws") == ["delivered"]
    assert traced("--known-bad") == []

    put(policies / "hashes/ours.txt", f"# source: ourselves\n# date: 2026-11-24\n{digest}  Screws\n")
    assert traced("--known-bad") == ["delivered"]
    assert relay.process is not None
    relay.process.send_signal(signal.SIGHUP)
    wait_until(lambda: relay.metric('mailguard_policy_reloads_total{result="ok"}') == 4, what="all being read")
    assert relay.send(with_attachment(content, "other-name.txt"))[0] == 250
    wait_until(lambda: "quarantined" in traced("--sha256", digest), what="the second mail being kept")
    assert "KnownBad.Screws" in relay.run("trace", "--sha256", digest).stdout

    put(policies / "hashes/ours.txt", "nonsense\n")
    put(policies / "yara/ours.yar", "rule\n")
    checked = relay.run("policy", "check", check=False)
    assert checked.returncode == 2
    assert "hashes/ours.txt:1" in checked.stdout + checked.stderr
    assert "yara/ours.yar:2:1" in checked.stdout + checked.stderr
    relay.process.send_signal(signal.SIGHUP)
    wait_until(lambda: relay.metric('mailguard_policy_reloads_total{result="error"}') == 2, what="both being told")
    relay.send(with_attachment(content, "third.txt"))
    wait_until(lambda: traced("--sha256", digest).count("quarantined") == 2, what="the last good list staying")


def test_new_rules_and_lists_are_used_for_files_within_files(
    told_relay: Relay, policies: Path, sink: SinkThread
) -> None:
    relay = told_relay
    listed = b"the drawing of a lamp\n"
    everything = packed(papers_zip=packed(tulips_txt=b"prices of black tulips\n", lamp_txt=listed))

    def sent() -> str:
        status, said = relay.send(with_attachment(everything, "all.zip"))
        assert status == 250
        found = re.search(r"[0-9A-HJKMNP-TV-Z]{26}", said)
        assert found
        wait_until(lambda: "u@client.test" in relay.run("trace", "--id", found[0]).stdout, what="its record")
        return relay.run("trace", "--id", found[0]).stdout

    assert "OURS_TULIPS" not in sent()
    put(
        policies / "yara/ours.yar",
        'rule Ours_Tulips { meta: description = "prices of tulips" score = 1.5 strings: $a = "black tulips" condition: $a }',
    )
    assert relay.process is not None
    relay.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "YARA_OURS_TULIPS" in (said := sent()) and "prices of tulips" in said, what="the new rule")
    digest = hashlib.sha256(listed).hexdigest()
    put(policies / "hashes/ours.txt", f"# source: ourselves\n# date: 2026-11-24\n{digest}  Lamp\n")
    relay.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "KnownBad.Lamp" in (said := sent()) and "quarantined" in said, what="the new list")
    delivered = len(sink.messages)
    assert "all.zip/papers.zip/lamp.txt" in sent()
    assert len(sink.messages) == delivered
