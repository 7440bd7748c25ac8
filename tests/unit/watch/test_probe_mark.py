"""The probe's mark: genuine for one message, one recipient and a few minutes; whatever else is no mark."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.core.clock import MINUTE
from mailguard.watch.probe_mark import MAX_AGE, SIZE_LIMIT, Kind, Mark, MarkReader, sign

KEY = "k" * 32
NOW = 1_764_000_000_000
TO = "canary@client.test"
MARK = Mark("01KAVT0000000000000000000A", NOW, Kind.CLEAN)
MESSAGE = b"From: probe@relay.test\r\nSubject: probe\r\n\r\nHello.\r\n"
READER = MarkReader(KEY)
MARKED = MARK.put_on(MESSAGE, recipient=TO, key=KEY)


def test_a_marked_mail_is_known_and_its_rest_is_untouched() -> None:
    assert READER.read(MARKED, recipient=TO, now=NOW) == MARK
    field, _, rest = MARKED.partition(b"\r\n")
    assert rest == MESSAGE
    assert len(field) < 200


def test_the_recipient_is_compared_as_addresses_are() -> None:
    assert READER.read(MARKED, recipient="Canary@CLIENT.test.", now=NOW) == MARK


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda raw: raw + b"PS: buy now\r\n", id="more text"),
        pytest.param(lambda raw: raw.replace(b"Subject: probe", b"Subject: pills"), id="another header"),
        pytest.param(lambda raw: b"Received: from x\r\n" + raw, id="not on top"),
        pytest.param(lambda raw: raw.replace(b"kind=clean", b"kind=eicar"), id="another kind"),
        pytest.param(lambda raw: raw.replace(b"kind=clean", b"kind=other"), id="a kind that there is not"),
        pytest.param(lambda raw: raw.replace(b"0000A;", b"0000B;"), id="another id"),
        pytest.param(lambda raw: raw.replace(str(NOW).encode(), str(NOW + 1).encode()), id="another time"),
        pytest.param(lambda raw: raw.replace(b"v=1", b"v=2"), id="another version"),
        pytest.param(lambda raw: raw.partition(b"\r\n")[2], id="no mark"),
        pytest.param(lambda raw: raw.replace(b"mac=", b"mac=0"), id="too long"),
    ],
)
def test_what_was_changed_is_ordinary_mail(change) -> None:  # type: ignore[no-untyped-def]
    changed = change(MARKED)
    assert changed != MARKED
    assert READER.read(changed, recipient=TO, now=NOW) is None


def test_a_mark_is_for_one_recipient_by_one_key_and_for_a_while() -> None:
    assert READER.read(MARKED, recipient="boss@client.test", now=NOW) is None
    assert MarkReader("K" * 32).read(MARKED, recipient=TO, now=NOW) is None
    for seconds, known in ((MAX_AGE, True), (MAX_AGE + 1, False), (-MAX_AGE, True), (-MAX_AGE - 1, False)):
        assert (READER.read(MARKED, recipient=TO, now=NOW + seconds) is not None) is known


def test_without_a_key_nothing_is_a_probe() -> None:
    unkeyed = MARK.put_on(MESSAGE, recipient=TO, key="")
    assert MarkReader("").read(unkeyed, recipient=TO, now=NOW) is None


def test_large_mail_is_never_a_probe() -> None:
    large = MARK.put_on(MESSAGE + b"x" * SIZE_LIMIT, recipient=TO, key=KEY)
    assert READER.read(large, recipient=TO, now=NOW) is None


def test_a_result_cannot_be_signed_by_a_mark_nor_a_mark_by_a_result() -> None:
    assert sign("text", key=KEY) != sign("text", key="K" * 32)
    mac = MARKED.partition(b"mac=")[2][:64].decode()
    assert sign("\n".join((MARK.id, str(MARK.at))), key=KEY) != mac


@given(raw=st.binary(max_size=300), at=st.integers(-MINUTE, MINUTE))
@settings(deadline=None)
def test_nothing_that_comes_is_taken_for_a_mark_or_breaks_it(raw: bytes, at: int) -> None:
    for content in (raw, b"X-MailGuard-Probe: " + raw, MARKED[:150] + raw):
        assert READER.read(content, recipient=TO, now=NOW + at) is None


@given(
    message=st.binary(max_size=500),
    local=st.from_regex(r"[a-z0-9.]{1,20}", fullmatch=True),
    kind=st.sampled_from(Kind),
    ago=st.integers(-MAX_AGE, MAX_AGE),
)
@settings(deadline=None)
def test_what_was_marked_is_known_whatever_it_is(message: bytes, local: str, kind: Kind, ago: int) -> None:
    mark = replace(MARK, kind=kind)
    to = f"{local}@client.test"
    assert READER.read(mark.put_on(message, recipient=to, key=KEY), recipient=to, now=NOW + ago) == mark
