"""What people teach changes what becomes of the next mail: by releases, by users' reports, and back again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import count

import pytest

from tests.dns_server import DnsServer
from tests.e2e.conftest import ZONE
from tests.e2e.mails import arrived
from tests.servers.clamd import Clamd
from tests.servers.ports import wait_until
from tests.servers.relay import ROOT, Relay
from tests.servers.sink_thread import SinkThread, running_sink

RULE = """\
rules:
  - name: TOO_EAGER
    description: a rule that takes an honest newsletter for spam
    score: 6
    where: [subject]
    patterns: 'grand sale'
    hits: ['grand sale']
    misses: ['sale']
"""
MORE = """\
[learning]
spam_address = "spam@provider.test"
"""
TEXT = """\
Dear customer, this is what is new in our shop this week: lamps of oak and brass, chairs that fold, and tables for small rooms.
All of it is made in our own workshop by people who are paid well. Delivery is free from fifty onwards; returns are free, too.
You get this since you asked for it when you ordered from us. You need not answer it, and you may end it whenever you like.
"""


@pytest.fixture(scope="module")
def sink() -> Iterator[SinkThread]:
    with running_sink() as made:
        yield made


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory, clamd: Clamd, sink: SinkThread) -> Iterator[Relay]:
    """A relay with a rule that errs, and a tenant whose users may report."""
    root = tmp_path_factory.mktemp("learning")
    policies = root / "policies"
    shutil.copytree(ROOT / "policies", policies)
    (policies / "rules" / "99-eager.yaml").write_text(RULE)
    zone = {**ZONE, "client.test": {"TXT": ["v=spf1 ip4:127.0.0.0/8 -all"]}}
    with DnsServer(zone) as dns:
        made = Relay(root / "relay", clamd=clamd.address, dns=dns.address, policies=policies, more=MORE)
        made.add_tenant("acme", "client.test", sink.port)
        made.run("tenant", "set", "acme", "--spam-address", "spam@client.test", "--ham-address", "ham@client.test")
        yield made.start()
        made.stop()
        made.run("ledger", "check")


def newsletter(week: int, *, sender: str = "news@sender.test", subject: str = "Grand sale of week") -> bytes:
    return (
        (
            f"From: The shop <{sender}>\r\nTo: u@client.test\r\nSubject: {subject} {week}\r\n"
            f"Date: Tue, 01 Apr 2025 10:00:00 +0000\r\nMessage-ID: <{subject[:5]}.{week}@sender.test>\r\n\r\n{TEXT}Week {week}.\r\n"
        )
        .replace("\n", "\r\n")
        .replace("\r\r\n", "\r\n")
        .encode()
    )


def ids(relay: Relay, recipient: str) -> list[str]:
    return [unit["id"] for unit in relay.json("quarantine", "list", "--to", recipient)]


def test_a_newsletter_is_held_no_longer_once_one_was_released(relay: Relay, sink: SinkThread) -> None:
    to = "reader@client.test"
    assert relay.send(newsletter(1), [to])[0] == 250
    (held,) = ids(relay, to)
    said = relay.run("quarantine", "release", held, "--actor", "ann").stdout
    assert "will be delivered; mail like it goes from " in said
    wait_until(lambda: relay.states(to) == ["released"], what="the first being released")
    weeks = count(2)
    wait_until(lambda: state_of(relay, next(weeks), to) == "delivered", what="the next one being delivered")
    second = relay.json("trace", "--to", to)[-1]
    (learned,) = [result for result in second["found"] if result["check"] == "learned"]
    (symbol,) = learned["symbols"]
    assert symbol["name"] == "LEARNED_HAM"
    assert symbol["evidence"][0].startswith("a mail of news@sender.test released, ")
    assert symbol["evidence"][0].endswith(" by ann")
    # Who forges it is held or rejected as before, and once the lesson is undone the newsletter is held too.
    forged = newsletter(next(weeks), sender="news@forged.test")
    assert relay.send(forged, [to], sender="x@elsewhere.test")[0] == 550 or relay.states(to)[-1] == "quarantined"
    (lesson,) = relay.json("lessons", "list", "--teacher", "ann")
    relay.run("lessons", "undo", lesson["lesson"])
    wait_until(lambda: state_of(relay, next(weeks), to) == "quarantined", what="the next one being held again")


def state_of(relay: Relay, week: int, to: str) -> str:
    """What becomes of one more newsletter."""
    before = len(relay.states(to))
    assert relay.send(newsletter(week), [to])[0] == 250
    return "" if len(relay.states(to)) == before else relay.states(to)[-1]


def mails(relay: Relay) -> int:
    """How many accepted recipients the trace has; refusals are written together, when it suits."""
    return sum(one["type"] == "mail" for one in relay.json("trace"))


def report(copy: bytes, *, sender: str, to: str) -> bytes:
    head = f"From: {sender}\r\nTo: {to}\r\nSubject: Fwd\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    return head.encode() + b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + copy + b"\r\n--b--\r\n"


def test_users_report_what_they_got(relay: Relay, sink: SinkThread) -> None:
    user, to = "user@client.test", "spam@client.test"
    assert relay.send(newsletter(1, subject="Lamps"), [user])[0] == 250
    (got,) = arrived(sink, user)
    units = mails(relay)
    code, text = relay.send(report(got.content, sender=user, to=to), [to], sender=user)
    assert (code, text.endswith(": learned 1")) == (250, True)
    (lesson,) = relay.json("lessons", "list", "--teacher", user)
    assert (lesson["as"], lesson["source"], lesson["subject"]) == ("spam", "user", "Lamps 1")
    assert lesson["score_after"] > lesson["score_before"]
    common = "spam@provider.test"  # of all tenants: a domain that nothing is relayed for
    code, text = relay.send(report(got.content, sender=user, to=common), [common], sender=user)
    assert (code, text.endswith(": known 1")) == (250, True)
    assert not relay.takes("anybody@provider.test")
    # Somebody else's report of it counts for nothing, and no report is a mail of anybody's bill.
    code, text = relay.send(report(got.content, sender="other@client.test", to=to), [to], sender="other@client.test")
    assert (code, text.endswith(": not_delivered 1")) == (250, True)
    assert mails(relay) == units
    assert arrived(sink, to) == []
    assert relay.metric('mailguard_feedback_total{label="spam",result="learned"}') == 1.0
    assert '"event": "taught"' in relay.log or '"event":"taught"' in relay.log


def test_a_report_goes_by_itself(relay: Relay) -> None:
    with relay.client() as smtp:
        smtp.ehlo()
        smtp.mail("user@client.test")
        assert smtp.rcpt("u@client.test")[0] == 250
        assert smtp.rcpt("ham@client.test")[0] == 452
        smtp.rset()
        smtp.mail("user@client.test")
        assert smtp.rcpt("ham@client.test")[0] == 250
        assert smtp.rcpt("u@client.test")[0] == 452
