"""SPF, DKIM, ARC and DMARC over hostile mail and hostile DNS: a result each time, after few look-ups, and soon."""

from __future__ import annotations

import contextlib
import re
from functools import cache

from mailguard.checks.arc_chain import verify_arc
from mailguard.checks.dkim_key import key_for
from mailguard.checks.dkim_message import Canonicalisation, SignedMessage, canonical_body, canonical_field
from mailguard.checks.dkim_tags import (
    SignatureError,
    dkim_signature,
    instance_of,
    message_signature,
    parse_tags,
    seal_signature,
    without_b,
)
from mailguard.checks.dkim_verify import verify_dkim
from mailguard.checks.dmarc_evaluate import evaluate
from mailguard.checks.dmarc_policy import parse_record, tree_walk, walk_names
from mailguard.checks.spf_query import check_spf
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult
from mailguard.net.dns import Answer, DnsTemporaryError, Lookups, Rcode, Record, lookup_name
from tests.fuzz.step_loop import run as answer
from tests.fuzz.target import Input, Target
from tests.fuzz.targets.smtp_session import clean

NOW = 1_700_000_000


class HostileDns(Lookups):
    """Answers every question out of an input: the more is asked, the more of it is used, over and over."""

    def __init__(self, texts: list[bytes]) -> None:
        self._texts = texts or [b""]
        self.asked: list[tuple[str, str]] = []

    async def query(self, name: str, rdtype: str) -> Answer:
        """See Resolver."""
        key = lookup_name(name)
        if key is None:
            return Answer(Rcode.NXDOMAIN)
        self.asked.append((key, rdtype))
        text = self._texts[len(self.asked) % len(self._texts)]
        if text.startswith(b"!"):
            raise DnsTemporaryError("the input says so")
        if text.startswith(b"?"):
            return Answer(Rcode.NXDOMAIN)
        return Answer(Rcode.NOERROR, _records(rdtype, text), 300)


def _records(rdtype: str, text: bytes) -> tuple[Record, ...]:
    words = [word for word in (lookup_name(part.decode("latin-1")) for part in text.split(b" ")) if word]
    if rdtype == "TXT":
        return tuple(text.split(b"\n"))
    if rdtype == "A":
        return tuple(f"192.0.2.{octet}" for octet in text[:200])
    if rdtype == "AAAA":
        return tuple(f"2001:db8::{octet:x}" for octet in text[:200])
    return tuple((10, word) for word in words) if rdtype == "MX" else tuple(words)


def spf(data: bytes) -> None:
    """One check, with records as the input has them."""
    source = Input(data)
    ip = ("192.0.2.65", "2001:db8::41")[source.below(2)]
    mail_from, helo = source.text(), source.text()
    dns = HostileDns([_lengthened(part) for part in source.rest().split(b"\0\0")])
    result = answer(check_spf(dns, ip=ip, helo=helo, mail_from=mail_from, hostname="mx.relay.test"))
    assert isinstance(result.outcome, AuthOutcome)
    for text in (result.mechanism, result.explanation, result.reason):
        assert text.isascii()
        assert not text or text.isprintable()
    assert len(set(dns.asked)) <= 400, "too many names are asked for"
    assert len(dns.asked) <= 2 * len(set(dns.asked)), "names are asked for again and again"


def _lengthened(part: bytes) -> bytes:
    return Input(part).long_rest()


def tag_lists(data: bytes) -> None:
    """Tag lists, signatures and key records by themselves."""
    source = Input(data)
    record, value = source.part(), source.long_rest()
    message = SignedMessage.of(b"DKIM-Signature:" + value)
    for item in message.fields:
        try:
            tags = parse_tags(item.value)
        except SignatureError:
            continue
        assert all(name and value == value.strip() for name, value in tags.items())
        assert parse_tags(without_b(item).value).get(b"b", b"") == b""
        for read in (
            lambda tags=tags, item=item: dkim_signature(item, tags, now=NOW),
            lambda tags=tags, item=item: message_signature(item, tags, now=NOW),
            lambda tags=tags, item=item: seal_signature(item, tags),
        ):
            try:
                signature = read()
                assert re.fullmatch(r"[a-z0-9_.-]+", signature.domain)
                assert lookup_name(signature.key_name)
                key_for(signature, (record,))
            except SignatureError as error:
                assert error.reason.isprintable()
        with contextlib.suppress(SignatureError):
            assert 1 <= instance_of(tags) <= 50
    parsed = parse_record(value)
    assert parsed is None or parsed.psd in ("y", "n", "u")


def canonical(data: bytes) -> None:
    """Canonical fields and bodies (RFC 6376 §3.4), against the rules as they are written."""
    raw = clean(Input(data).long_rest(), dots=False)
    message = SignedMessage.of(raw)
    body = raw[message.body_start :]
    for form in Canonicalisation:
        assert b"".join(canonical_body(raw, message.body_start, form)) == _canonical_body(body, form)
    for item in message.fields:
        assert canonical_field(item, Canonicalisation.SIMPLE) == item.raw + b"\r\n"
        relaxed = canonical_field(item, Canonicalisation.RELAXED)
        name, _, value = relaxed.partition(b":")
        assert name == item.raw.partition(b":")[0].rstrip(b" \t").lower()
        expected = re.sub(rb"[ \t]+", b" ", item.raw.partition(b":")[2].replace(b"\r\n", b"")).strip(b" \t")
        assert value == expected + b"\r\n"


def _canonical_body(body: bytes, form: Canonicalisation) -> bytes:
    lines = body.split(b"\r\n")
    if form is Canonicalisation.RELAXED:
        lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        return b"" if form is Canonicalisation.RELAXED else b"\r\n"
    return b"\r\n".join(lines) + b"\r\n"


def dkim(data: bytes) -> None:
    """A mail with signatures, and keys from hostile DNS or a good one: it passes only as it was signed."""
    source = Input(data)
    good = source.flag()
    texts = [] if good else [source.part() for _ in range(1 + source.below(3))]
    raw = source.long_rest()
    dns = HostileDns(texts or [_key()])
    results = answer(verify_dkim(dns, raw, now=NOW))
    for result in results:
        assert result.reason.isprintable()
    assert len(dns.asked) <= 60
    arc = answer(verify_arc(dns, raw, now=NOW))
    assert arc.outcome in (AuthOutcome.NONE, AuthOutcome.PASS, AuthOutcome.FAIL, AuthOutcome.TEMPERROR)
    assert arc.reason.isprintable()
    if good and any(result.outcome is AuthOutcome.PASS for result in results):
        _assert_signed(raw)


def _assert_signed(raw: bytes) -> None:
    """What passes with the good key says, to a reader, what was signed with it."""
    ours, signed = SignedMessage.of(raw), SignedMessage.of(_signed())
    for form in (Canonicalisation.RELAXED,):
        assert b"".join(canonical_body(ours.raw, ours.body_start, form)) == b"".join(
            canonical_body(signed.raw, signed.body_start, form)
        )
    for name in (b"from", b"subject"):
        lowest, original = ours.named(name)[-1], signed.named(name)[-1]
        assert canonical_field(lowest, Canonicalisation.RELAXED) == canonical_field(original, Canonicalisation.RELAXED)


@cache
def _pair() -> tuple[bytes, bytes]:
    """A mail signed with a fixed Ed25519 key, and its key record."""
    from base64 import b64encode

    import dkim as dkimpy
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    seed = bytes(range(32))
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    mail = b"From: a@a.test\r\nTo: b@b.test\r\nSubject: Hello  there\r\n\r\nBody  of it\r\n\r\n"
    field = dkimpy.sign(
        mail,
        b"s",
        b"a.test",
        b64encode(seed),
        canonicalize=(b"relaxed", b"relaxed"),
        signature_algorithm=b"ed25519-sha256",
        include_headers=[b"from", b"subject"],
    )
    return field + mail, b"v=DKIM1; k=ed25519; p=" + b64encode(public)


def _signed() -> bytes:
    return _pair()[0]


def _key() -> bytes:
    return _pair()[1]


def dmarc(data: bytes) -> None:
    """Records on the way up from a domain."""
    source = Input(data)
    domain = lookup_name(source.text()) or "a.b.test"
    identifier = lookup_name(source.text()) or "b.test"
    texts = [_lengthened(part) for part in source.rest().split(b"\0\0")]
    assert len(walk_names(domain)) <= 8
    dns = HostileDns(texts)
    for question in (tree_walk(dns, domain), _evaluate(dns, domain, identifier)):
        try:
            answer(question)
        except DnsTemporaryError:
            continue
    assert len(dns.asked) <= 60


async def _evaluate(dns: HostileDns, domain: str, identifier: str) -> None:
    passed = AuthResult(AuthMethod.DKIM, AuthOutcome.PASS, identifier)
    result = await evaluate(dns, domain, [passed])
    assert isinstance(result.outcome, AuthOutcome)


_SPF_START = b"\x00a@a.test\0\0mx.a.test\0\0"
_ARC = (
    b"ARC-Seal: i=1; a=rsa-sha256; cv=none; d=a.test; s=s; b=YQ==\r\n"
    b"ARC-Message-Signature: i=1; a=rsa-sha256; c=relaxed/relaxed; d=a.test; s=s; h=from; bh=YQ==; b=YQ==\r\n"
    b"ARC-Authentication-Results: i=1; mx.a.test; none\r\nFrom: a@a.test\r\n\r\nx\r\n"
)
_SIGNATURE = b" v=1; a=rsa-sha256; c=relaxed/simple; d=a.test; s=s; h=from:to; i=u@x.a.test; t=1; x=1800000000; l=3; bh=YQ==; b=YQ==\r\n"
_TAGS = (b"v=1;", b"a=ed25519-sha256;", b"c=relaxed/", b"d=a.test;", b"s=s;", b"h=from;", b"bh=", b"b=", b"l=", b"i=1;")
TARGETS = (
    Target(
        "spf",
        spf,
        (
            _SPF_START + b"v=spf1 a mx ptr include:b.test ip4:192.0.2.0/24 exists:%{i}.%{d} redirect=c.test",
            _SPF_START + b"v=spf1 include:a.test ~all\0\0192.0.2.1",
            _SPF_START + b"v=spf1 mx -all exp=e.%{d2}\0\0a.test b.test c.test\0\0A!\0\0%{s} is bad",
            _SPF_START + b"v=spf1 exists:%{l1r-}.%{ir}.%{v}.%{h}.%{c}.%{r}.%{t} -all\0\0?\0\0!",
            b"\x01" + _SPF_START[1:] + b"v=spf1 ip6:2001:db8::/32//x a:b.test/24//64 ?all",
            _SPF_START + b"v=spf1 \xfda:\xfe\x20 -all",
            _SPF_START + b"v=spf1 ip4:\xfd1.\xfe\x10",
            _SPF_START + b"v=spf1 \xfdinclude:%{l}.x \xfe\x05-all\0\0v=spf1 a mx",
            b"\x00\0\0mx.a.test\0\0v=spf1 a:%{h} -all",
            "\x00ü@ä.test\0\0x\0\0v=spf1 exists:%{l}.x ~all".encode(),
        ),
        tokens=(
            b"v=spf1 ",
            b"include:",
            b"redirect=",
            b"exists:",
            b"ip4:",
            b"ip6:",
            b"a:",
            b"mx:",
            b"ptr",
            b"exp=",
            b"%{",
            b"\0\0",
            b"all",
        ),
    ),
    Target(
        "tag_lists",
        tag_lists,
        (
            b"v=DKIM1; k=rsa; t=y:s; p=YQ==\0\0" + _SIGNATURE,
            b"k=ed25519; p=" + b"AAAA" * 10 + b"AAA=\0\0" + _SIGNATURE.replace(b"rsa", b"ed25519"),
            b"\0\0 i=1; a=rsa-sha256; cv=none; d=a.test; s=s; b=YQ==",
            b"\0\0v=DMARC1; p=reject; sp=none; np=quarantine; adkim=s; rua=mailto:a@b.test; psd=y; t=y",
            b"\0\0\xfda=b;\xfe\x40",
            b"\0\0 v=1; \xfd \xfe\x80=x",
            b"\0\0 v=1; h=\xfda:\xfe\x40",
            b"\0\0v=DMARC1;rua=\xfda,\xfe\x60",
        ),
        tokens=(*_TAGS, b"v=DMARC1;", b"p=reject", b"cv=none;", b"\r\n "),
    ),
    Target(
        "canonical",
        canonical,
        (
            b"A: x\r\nB : y  z \t\r\n\tfolded \r\n\r\n a  b \r\n\r\n\r\n",
            b"\r\n \r\n\t\r\n",
            b"From x\r\nA:\r\n \r\n\r\nno end",
            b"A: b\r\n\r\n\xfd \t\xfe\x80",
            b"A: b\r\n\r\n\xfd\r\n\xfe\x40x\xfd\r\n\xfe\x80",
            b"no colon\r\n\r\n\r\n",
        ),
        tokens=(b"\r\n", b"\r\n\r\n", b" \r\n", b"\t", b"  ", b":"),
    ),
    Target(
        "dkim",
        dkim,
        (
            b"\x01" + _signed(),
            b"\x01X: y\r\n" + _signed() + b"\r\n",
            b"\x00\x00" + _key() + b"\0\0" + _signed(),
            b"\x00\x01!\0\0?\0\0DKIM-Signature:" + _SIGNATURE + b"From: a@a.test\r\n\r\nx\r\n",
            b"\x00\x00v=DKIM1; p=YQ==\0\0" + _ARC,
            b"\x01\xfdDKIM-Signature:" + _SIGNATURE + b"\xfe\x05From: a@a.test\r\n\r\nx\r\n",
            b"\x01" + _ARC.replace(b"i=1", b"i=2") + b"\r\n",
        ),
        tokens=(
            *_TAGS,
            b"DKIM-Signature: ",
            b"ARC-Seal: i=2; ",
            b"cv=pass;",
            b"From: x@a.test\r\n",
            b"Subject: x\r\n",
            b"\r\n",
        ),
        max_length=8192,
    ),
    Target(
        "dmarc",
        dmarc,
        (
            b"a.b.c.test\0\0c.test\0\0v=DMARC1; p=reject; psd=n\0\0?",
            b"a.test\0\0a.test\0\0v=DMARC1; p=none; psd=y; t=y\0\0!\0\0x",
            b"\xfda.\xfe\x08test\0\0b.test\0\0v=DMARC1; p=x; rua=mailto:a@b.test\nv=DMARC1",
        ),
        tokens=(
            b"v=DMARC1;",
            b"p=reject;",
            b"sp=",
            b"np=",
            b"psd=y;",
            b"psd=n;",
            b"t=y;",
            b"adkim=s;",
            b"\0\0",
            b"!",
            b"?",
        ),
    ),
)
