"""Taking what is personal out of recorded texts and findings. Pure: what stays is enough for counts, and says that something went."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import replace

from mailguard.core.verdict import Attachment, AuthResult, CheckResult, Findings, Symbol

ERASED = "(erased)"
"""What stands where somebody's address stood in a text."""
_ANY_ADDRESS = re.compile(r"""[^\s<>"'(),;:\[\]]+@[^\s<>"'(),;:\[\]@]+""")
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,10}$")


class Redaction:
    """Finds some addresses in texts, in any case, and puts `stand_in` there; without addresses: whatever looks like one."""

    def __init__(self, addresses: Collection[str] = (), *, stand_in: str = ERASED) -> None:
        self._stand_in = stand_in
        self._pattern = _ANY_ADDRESS
        if addresses:
            wanted = "|".join(re.escape(address) for address in sorted(addresses, key=len, reverse=True))
            # Whole addresses only: not the end of a longer local part, not the start of a longer domain.
            self._pattern = re.compile(rf"(?<![\w.+=-])(?:{wanted})(?![\w-]|\.\w)", re.IGNORECASE)

    def found_in(self, text: str) -> bool:
        """Whether one of the addresses is in `text`."""
        return self._pattern.search(text) is not None

    def text(self, text: str) -> str:
        """`text` without the addresses."""
        return self._pattern.sub(lambda _: self._stand_in, text)

    def json(self, text: str) -> str:
        """JSON without the addresses in its strings, keys included; what is no JSON is taken as text."""
        try:
            value = json.loads(text)
        except ValueError:
            return self.text(text)
        return json.dumps(self._value(value), separators=(",", ":"))

    def _value(self, value: object) -> object:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self._value(item) for item in value]
        if isinstance(value, dict):
            return {self.text(str(name)): self._value(item) for name, item in value.items()}
        return value


def bare(findings: Findings) -> Findings:
    """Findings without what is personal: names and points of symbols, results and domains of methods, types of files stay.

    Evidence, file names but for their extension, hosts of links, hashes of files, and the author's address go.
    """
    return Findings(
        results=bare_results(findings.results),
        attachments=tuple(map(_bare_attachment, findings.attachments)),
    )


def bare_results(results: Iterable[CheckResult]) -> tuple[CheckResult, ...]:
    """The same of results by themselves."""
    return tuple(map(_bare_result, results))


def _bare_result(result: CheckResult) -> CheckResult:
    return replace(
        result,
        symbols=tuple(Symbol(symbol.name, symbol.score, symbol.description) for symbol in result.symbols),
        auth=tuple(AuthResult(one.method, one.outcome, one.domain) for one in result.auth),
        detail="",
        attachments=tuple(map(_bare_attachment, result.attachments)),
    )


def _bare_attachment(attachment: Attachment) -> Attachment:
    extension = _EXTENSION.search(attachment.name)
    return replace(attachment, name=f"erased{extension[0]}" if extension else "erased", sha256="")
