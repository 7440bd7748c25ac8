"""Parameters of MAIL and RCPT (RFC 5321 §4.1.1.11): text in, options or the Reply that refuses them out. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

from mailguard.core.envelope import MailOptions, RcptOptions
from mailguard.core.reply import Reply
from mailguard.smtp import replies

_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~]+))?")
_SIZE = re.compile(r"[0-9]{1,20}")  # RFC 1870 §5
_XTEXT = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+"  # RFC 3461 §4
_ENVID = re.compile(_XTEXT)
_ORCPT = re.compile(rf"[A-Za-z0-9-]+;{_XTEXT}")
_NOTIFY = frozenset({"SUCCESS", "FAILURE", "DELAY"})
ENVID_LIMIT = 100
"""Characters of ENVID (RFC 3461 §4.4)."""
ORCPT_LIMIT = 500
"""Characters of ORCPT (RFC 3461 §4.2)."""

_MAIL = frozenset({"SIZE", "BODY", "SMTPUTF8"})
_MAIL_DSN = _MAIL | {"RET", "ENVID"}
_RCPT_DSN = frozenset({"NOTIFY", "ORCPT"})


def mail_options(parameters: str, *, esmtp: bool, size_limit: int, dsn: bool) -> MailOptions | Reply:
    """The options of MAIL from what follows its path; or why they are refused.

    `esmtp`: the client said EHLO; `size_limit` in octets; `dsn`: DSN is offered, so RET and ENVID are known.
    """
    if not parameters:
        return MailOptions()
    given = _split(parameters, _MAIL_DSN if dsn else _MAIL, esmtp)
    if isinstance(given, Reply):
        return given
    size, body, ret, envid = (given.get(key) for key in ("SIZE", "BODY", "RET", "ENVID"))
    if "SIZE" in given and not (size and _SIZE.fullmatch(size)):
        return _bad("SIZE is a number of octets")
    if "BODY" in given and (body or "").upper() == "BINARYMIME":
        return _unknown(
            "BODY=BINARYMIME"
        )  # RFC 3030 §3: it is not offered, and what cannot be converted must not be taken
    if "BODY" in given and (body or "").upper() not in ("7BIT", "8BITMIME"):
        return _bad("BODY is 7BIT or 8BITMIME")
    if given.get("SMTPUTF8") is not None:
        return _bad("SMTPUTF8 takes no value")
    if "RET" in given and (ret or "").upper() not in ("FULL", "HDRS"):
        return _bad("RET is FULL or HDRS")
    if "ENVID" in given and not (envid and len(envid) <= ENVID_LIMIT and _ENVID.fullmatch(envid)):
        return _bad("ENVID is xtext of 100 characters at most")
    if size and int(size) > size_limit:
        return replies.MESSAGE_TOO_LARGE
    return MailOptions(
        size=int(size or 0),
        eight_bit=(body or "").upper() == "8BITMIME",
        smtputf8="SMTPUTF8" in given,
        ret=(ret or "").upper(),
        envid=envid or "",
    )


def rcpt_options(parameters: str, *, esmtp: bool, dsn: bool) -> RcptOptions | Reply:
    """The options of RCPT from what follows its path; or why they are refused. See `mail_options`."""
    if not parameters:
        return RcptOptions()
    given = _split(parameters, _RCPT_DSN if dsn else frozenset(), esmtp)
    if isinstance(given, Reply):
        return given
    notify = tuple((given.get("NOTIFY") or "").upper().split(","))
    orcpt = given.get("ORCPT") or ""
    if (
        "NOTIFY" in given
        and notify != ("NEVER",)
        and not (_NOTIFY.issuperset(notify) and len(set(notify)) == len(notify))
    ):
        return _bad("NOTIFY is NEVER, or a list of SUCCESS, FAILURE and DELAY")
    if "ORCPT" in given and not (len(orcpt) <= ORCPT_LIMIT and _ORCPT.fullmatch(orcpt)):
        return _bad("ORCPT is an address type, a semicolon and xtext")
    return RcptOptions(notify=notify if "NOTIFY" in given else (), orcpt=orcpt)


def _split(parameters: str, known: Collection[str], esmtp: bool) -> dict[str, str | None] | Reply:
    """Keyword (upper case) → value, None where it has none; or the Reply that refuses one of them."""
    if not esmtp:
        return Reply(555, "5.5.4", "Parameters need EHLO")
    given: dict[str, str | None] = {}
    for text in parameters.split(" "):
        if not text:
            continue
        match = _PARAMETER.fullmatch(text)
        if match is None:
            return Reply(501, "5.5.4", "Malformed parameter")
        keyword = match[1].upper()
        if keyword not in known:
            return _unknown(keyword)
        if keyword in given:
            return _bad(f"{keyword} is given twice")
        given[keyword] = match[2]
    return given


def _bad(text: str) -> Reply:
    return Reply(501, "5.5.4", text)


def _unknown(parameter: str) -> Reply:
    return Reply(555, "5.5.4", f"Parameter not recognised or not implemented: {parameter[:40]}")
