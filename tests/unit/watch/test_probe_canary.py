"""The canary as the probe's own server, and what is told of a run whose mail cannot be looked for."""

from __future__ import annotations

import smtplib
from asyncio import to_thread
from collections.abc import Sequence

from mailguard.core.errors import UnavailableError
from mailguard.net.smtp_client import Handshake, Target
from mailguard.watch.probe import Eyes, Run, probe
from mailguard.watch.probe_canary import Canary
from mailguard.watch.probe_mark import Kind, MarkReader
from mailguard.watch.probe_verdict import findings
from tests.servers.smtp_sink import SmtpSink

AT = 1_764_000_000_000
KEY = "k" * 32
TO = "canary@client.test"
MAIL = b"Subject: x\r\nMessage-ID: <1@x>\r\n\r\n..dots\r\nand bytes \xff\r\n"


async def test_it_takes_mail_for_the_canary_alone_and_octet_for_octet() -> None:
    canary = Canary(TO)
    port = await canary.start("127.0.0.1", 0)

    def talk() -> tuple[int, int, int]:
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
            client.ehlo()
            client.mail("a@x", ["BODY=8BITMIME"])
            return client.rcpt("boss@client.test")[0], client.rcpt("Canary@client.TEST")[0], client.data(MAIL)[0]

    try:
        assert await to_thread(talk) == (450, 250, 250)
        taken = canary.find("<1@x>")
        assert taken is not None
        assert taken.content == MAIL
        assert canary.find("<2@x>") is None
    finally:
        await canary.stop()


def a_run(port: int, *kinds: Kind) -> Run:
    door = Target("127.0.0.1", port)
    return Run("probe@relay.test", TO, KEY, kinds or tuple(Kind), door, Handshake(helo="here"), timeout=5.0)


async def test_each_mail_bears_a_mark_of_its_own() -> None:
    async with SmtpSink() as sink:
        mails = await probe(a_run(sink.port), Eyes(), at=AT)
        read = [MarkReader(KEY).read(one.content, recipient=TO, now=AT) for one in sink.messages]
        assert sorted(read, key=str) == sorted((mail.mark for mail in mails), key=str)
        assert len({mail.mark.id for mail in mails}) == 3
        assert all(mail.said.taken and mail.said.reply_ms is not None for mail in mails)


async def test_a_mailbox_that_is_away_hides_the_arrival_and_not_the_door() -> None:
    def away(names: Sequence[str]) -> dict[str, bytes]:
        raise UnavailableError("the mailbox is away")

    async with SmtpSink() as sink:
        mails = await probe(a_run(sink.port, Kind.CLEAN), Eyes(fetch=away), at=AT)
    (finding,) = findings(mails, patience=5)
    assert mails[0].door_is_up
    assert finding.ok is None
    assert "the mailbox is away" in finding.problem


async def test_a_mail_in_the_mailbox_has_arrived() -> None:
    async with SmtpSink() as sink:

        def there(names: Sequence[str]) -> dict[str, bytes]:
            unmarked = [one.content.partition(b"\r\n")[2] for one in sink.messages]
            return {name: b"X-Top: 1\r\n" + mail for name in names for mail in unmarked if name.encode() in mail}

        mails = await probe(a_run(sink.port, Kind.CLEAN), Eyes(fetch=there), at=AT)
    (finding,) = findings(mails, patience=5)
    assert finding.ok, finding


async def test_what_the_door_says_before_the_data_is_told() -> None:
    async with SmtpSink(script={"rcpt": "451 4.7.1 Greylisted"}) as sink:
        mails = await probe(a_run(sink.port), Eyes(), at=AT)
    assert {mail.said.text for mail in mails} == {"451 4.7.1 Greylisted"}
    assert not any(mail.door_is_up for mail in mails)
