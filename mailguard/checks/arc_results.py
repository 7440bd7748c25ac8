"""Reads ARC-Authentication-Results (RFC 8617 §4.1.1): what a sealer says it found, in the grammar of RFC 8601 §2.2."""

from __future__ import annotations

from collections.abc import Iterator

from mailguard.core.address import domain_of
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult
from mailguard.net.dns import lookup_name

VALUE_LIMIT = 16_384
"""Octets of a field that are read."""
CLAIM_LIMIT = 50
"""Results of a field that are read."""

# What was authenticated, by method: the properties in the order in which they are believed.
_DOMAINS = {
    AuthMethod.DMARC: ("header.from",),
    AuthMethod.DKIM: ("header.d", "header.i"),
    AuthMethod.SPF: ("smtp.mailfrom", "smtp.mail", "smtp.envelope-from"),
}


def claims_of(value: bytes) -> tuple[AuthResult, ...]:
    """The results of SPF, DKIM and DMARC in a field's value (all behind its colon), each with the domain it is about.

    What has no domain, or cannot be read, is left out: nothing that is not said clearly may vouch for anything. Never raises.
    """
    text = value[:VALUE_LIMIT].decode("utf-8", "replace")
    found = []
    for words in list(_clauses(text))[2 : 2 + CLAIM_LIMIT]:  # before them stand `i=` and the authserv-id
        claim = _claim(words)
        if claim is not None:
            found.append(claim)
    return tuple(found)


def _claim(words: list[str]) -> AuthResult | None:
    if not words:
        return None
    method, _, outcome = words[0].partition("=")
    pairs = dict(reversed([(name.lower(), text) for name, _, text in (word.partition("=") for word in words[1:])]))
    try:
        kind = AuthMethod(method.partition("/")[0].strip().lower())
        result = AuthOutcome(outcome.strip().lower())
    except ValueError:
        return None
    for name in _DOMAINS.get(kind, ()):
        said = pairs.get(name, "")
        domain = lookup_name(domain_of(said) if "@" in said else said)
        if domain and "." in domain:
            return AuthResult(kind, result, domain, properties=((name, said),))
    return None


def _clauses(text: str) -> Iterator[list[str]]:
    """The parts between semicolons, each as its words; comments are dropped, quoted strings lose their quotes."""
    words: list[str] = []
    word: list[str] = []
    depth, quoted, escaped = 0, False, False
    for character in text:
        if escaped:
            escaped = False
            if not depth:
                word.append(character)
        elif character == "\\" and (quoted or depth):
            escaped = True
        elif quoted:
            if character == '"':
                quoted = False
            else:
                word.append(character)
        elif character == "(":
            depth += 1
        elif character == ")":
            depth = max(0, depth - 1)
        elif depth:
            continue
        elif character == '"':
            quoted = True
        elif character == ";" or character.isspace():
            if word:
                words.append("".join(word))
                word = []
            if character == ";":
                yield words
                words = []
        else:
            word.append(character)
    if not depth and not quoted:  # else something is missing at its end
        yield [*words, "".join(word)] if word else words
