"""The probe's mark on mail, and the lines of its results: only what was signed is believed, and it says what was signed."""

from __future__ import annotations

import json
import re

from mailguard.core.address import normalise
from mailguard.core.ids import is_message_id
from mailguard.watch.probe_mark import MAX_AGE, SIZE_LIMIT, Kind, Mark, MarkReader, sign
from mailguard.watch.probe_result import LINE_LIMIT, MailResult, RunResult, line_of, read
from tests.fuzz.target import Input, Target

KEY = "0123456789abcdef" * 4
NOW = 1_795_500_000_000
ID = "01M86NS0VHZW9TE94FE099YGQ8"
TO = "canary@client.test"
READER = MarkReader(KEY)
_VALUE = re.compile(
    rb"X-MailGuard-Probe: v=1; id=([0-9A-Z]{26}); at=([0-9]+); kind=(clean|eicar|gtube); mac=([0-9a-f]{64})\r\n(.*)",
    re.DOTALL,
)


def mark(data: bytes) -> None:
    """Sign a mail, change it, and read it: what is taken for a mark could have been made by the key, from what it says itself."""
    source = Input(data)
    age = (source.octet() - 128) * (MAX_AGE // 100)
    made = Mark(ID, NOW - age, list(Kind)[source.below(3)])
    at, cut, to = source.octet() | source.below(2) << 8, source.octet(), source.text() or TO
    change, message = source.part(), source.long_rest()
    content = made.put_on(message, recipient=TO, key=KEY)
    known = READER.read(content, recipient=TO, now=NOW)
    assert (known == made) is (abs(age) <= MAX_AGE and len(content) <= SIZE_LIMIT)
    changed = content[:at] + change + content[at + cut :]
    found = READER.read(changed, recipient=to, now=NOW)
    if found is not None:
        form = _VALUE.fullmatch(changed)
        assert form is not None
        assert found == Mark(form[1].decode(), int(form[2]), Kind(form[3].decode()))
        assert is_message_id(found.id)
        assert abs(NOW - found.at) <= MAX_AGE
        assert len(changed) <= SIZE_LIMIT
        assert (found.put_on(form[5], recipient=to, key=KEY)) == changed
        assert normalise(to) == TO
        assert changed == content, "something else than what was signed is believed"
    for raw in (message, change):  # no key of ours has signed it
        assert READER.read(raw, recipient=to, now=NOW) is None


def result(data: bytes) -> None:
    """Write a line of any texts and numbers and read it; then any line: what is believed can be written again as it came."""
    source = Input(data)
    flags = [(None, False, True)[source.below(3)] for _ in range(4)]
    number = None if source.flag() else source.octet() << 44
    texts = [source.text() for _ in range(4)]
    mail = MailResult(Kind.CLEAN.value, ID, texts[0], number, None, 1, flags[0], texts[1])
    made = RunResult(
        v=1,
        run=ID,
        tenant=texts[2],
        at=NOW,
        place=texts[3],
        server="x:25",
        recipient=TO,
        ok=flags[1] is True,
        up=True,
        delivered=flags[1],
        virus_stopped=flags[2],
        spam_stopped=flags[3],
        door_ms=number,
        delivery_ms=None,
        detail=texts[0],
        mails=(mail,),
    )
    line = line_of(made, key=KEY)
    assert line.isascii()
    assert "\n" not in line
    if len(line) <= LINE_LIMIT:
        assert read(line, key=KEY) == made
    any_line = source.long_rest().decode("utf-8", "surrogateescape")
    assert _believed(any_line) is None, "a line is believed that nobody signed"
    signed = _signed(any_line)
    if signed is not None and (found := _believed(signed)) is not None:
        assert json.loads(line_of(found, key=KEY)) == json.loads(signed)


def _believed(line: str) -> RunResult | None:
    try:
        return read(line, key=KEY)
    except ValueError as error:
        assert 0 < len(str(error)) < 400
        return None


def _signed(line: str) -> str | None:
    """An object with a right signature, so that what lies behind it is reached too."""
    try:
        found = json.loads(line)
        if not isinstance(found, dict):
            return None
        found.pop("mac", None)
        text = json.dumps(found, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return json.dumps({**found, "mac": sign(text, key=KEY)}, separators=(",", ":"))
    except (ValueError, RecursionError):
        return None


_MAIL = {
    "kind": "clean",
    "id": ID,
    "reply": "250 2.0.0 Ok",
    "connect_ms": 9,
    "reply_ms": 48,
    "arrival_ms": None,
    "ok": True,
    "problem": "",
}
_RUN = {
    "v": 1,
    "run": ID,
    "tenant": "acme",
    "at": NOW,
    "place": "here",
    "server": "x:25",
    "recipient": TO,
    "ok": True,
    "up": True,
    "delivered": True,
    "virus_stopped": None,
    "spam_stopped": False,
    "door_ms": 48,
    "delivery_ms": 35,
    "detail": "",
    "mails": [_MAIL],
}
_HEAD = b"\x00\x01\x02\x00\x00\x07reply\0\0problem\0\0acme\0\0here\0\0"
_MARKED = Mark(ID, NOW, Kind.EICAR).put_on(b"Subject: x\r\n\r\nx\r\n", recipient=TO, key="another key" * 4)

TARGETS = (
    Target(
        "probe_mark",
        mark,
        (
            b"\x80\x00\x00\x00\x00\0\0\0\0Subject: probe\r\n\r\nHello.\r\n",
            b"\x80\x01\x1a\x00\x01Canary@CLIENT.test\0\0z\0\0Subject: probe\r\n\r\nHello.\r\n",
            b"\x80\x02\x2f\x00\x1a" + TO.encode() + b"\0\0" + ID[::-1].encode() + b"\0\0x",
            b"\xff\x00\xc0\x00\x00\0\0more text\0\0\xfdx\xfe\xf0",
            b"\x1c\x00\x00\x00\x00boss@client.test\0\0\0\0" + _MARKED,
        ),
        tokens=(b"X-MailGuard-Probe: ", b"v=1; ", b"id=", b"at=", b"kind=gtube", b"mac=", b"; ", b"\r\n", ID.encode()),
    ),
    Target(
        "probe_result",
        result,
        (
            _HEAD + json.dumps(_RUN).encode(),
            _HEAD + json.dumps({**_RUN, "mac": "0" * 64}).encode(),
            _HEAD + json.dumps({**_RUN, "at": -1, "mails": []}).encode(),
            _HEAD + json.dumps({**_RUN, "v": True}).encode(),
            _HEAD + b'{"mac": "\xc3\xa9", "a": NaN}',
            _HEAD + b"\xfd[\xfe\xf0",
            "\x00\x00\x00\x00\x01é\0\0\u2028\0\0\x1b[31m\0\0\n\0\0{}".encode(),
        ),
        tokens=(
            b'"mac":',
            b'"mails":[]',
            b"null",
            b"true",
            b"1e9",
            b"9007199254740993",
            b'"\\ud800"',
            b"{",
            b"}",
            b"NaN",
        ),
    ),
)
