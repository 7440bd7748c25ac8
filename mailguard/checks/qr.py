"""The qr check: QR codes and their kin in pictures, PDFs and drawings are read in the sandbox, and their links judged as links.

What is looked into is chosen here, in the relay; nothing is decoded here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from mailguard.checks.base import CheckContext
from mailguard.checks.qr_drawn import Drawing, drawings
from mailguard.checks.qr_links import Code, code_symbols, links_of
from mailguard.checks.qr_pictures import Candidate, choose
from mailguard.checks.sandboxed import INLINE_LIMIT, Remembered, Unfinished, is_enough, symbols_of
from mailguard.core.verdict import CheckResult, CheckStatus
from mailguard.message.pictures import PIXELS
from mailguard.ops.aside import compute_aside_if
from mailguard.sandbox.values import Answer, Outcome, Sandbox

REMEMBERED = 2_000
"""Files whose codes are remembered, by their content: signatures' logos and newsletters' pictures come again and again."""
TEXTS, TEXT_LIMIT = 8, 4_096
"""Texts of one file, and their characters, that are believed."""


@dataclass(slots=True)
class _Found:
    """What came of the files of one mail."""

    codes: list[Code] = field(default_factory=list)
    unfinished: list[Unfinished] = field(default_factory=list)
    looked_into: int = 0


class QrCheck:
    """Reports QR_* and SANDBOX_* symbols and the hosts of the links in codes (`CheckResult.link_hosts`)."""

    name = "qr"
    needs: tuple[str, ...] = ()

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._remembered = Remembered[tuple[str, ...]](REMEMBERED)

    async def run(self, context: CheckContext, results: Mapping[str, CheckResult]) -> CheckResult:
        """See Check. A TEMPERROR when a file could not be looked into because no process of the sandbox was free."""
        message = context.message
        large = len(message.raw) > INLINE_LIMIT
        choice = await compute_aside_if(large, choose, message)
        drawn = await compute_aside_if(large, drawings, message)
        if not (choice.chosen or choice.too_large or drawn):
            return CheckResult(self.name, detail="nothing to look into")
        found = _Found()
        for candidate in choice.chosen:
            if not is_enough(found.unfinished):
                await self._look_into(candidate, found)
        for drawing in drawn:
            if not is_enough(found.unfinished):
                await self._look_at(drawing, found)
        ours = [one for one in found.unfinished if one.answer.outcome.is_ours]
        detail = f"{found.looked_into} looked into, {choice.left_out} left out"
        return CheckResult(
            self.name,
            CheckStatus.TEMPERROR if ours else CheckStatus.OK,
            symbols=code_symbols(found.codes, choice.too_large, message) + symbols_of(found.unfinished),
            detail=f"{detail}; {ours[0].name}: {ours[0].answer.detail}" if ours else detail,
            link_hosts=tuple(dict.fromkeys(link.host for code in found.codes for link in links_of(code))),
        )

    async def _look_into(self, candidate: Candidate, found: _Found) -> None:
        large = candidate.octets > INLINE_LIMIT
        raw = await compute_aside_if(large, candidate.read)
        key = (await compute_aside_if(large, hashlib.sha256, raw)).digest()
        texts = self._remembered.get(key)
        if texts is None:
            if candidate.size is None:
                answer = await self._sandbox.run("codes.pdf", raw)
            else:
                answer = await self._sandbox.run("codes.picture", raw, {"pixels": PIXELS})
            texts = _texts(answer)
            if answer.outcome not in (Outcome.OK, Outcome.ERROR):
                found.unfinished.append(Unfinished(candidate.name, answer))
                return
            self._remembered.put(key, texts)
        found.looked_into += 1
        found.codes += [Code(text, candidate.name) for text in texts]

    async def _look_at(self, drawing: Drawing, found: _Found) -> None:
        arguments = {"width": drawing.width, "across": drawing.across, "down": drawing.down}
        answer = await self._sandbox.run("codes.drawing", drawing.cells, arguments)
        if answer.outcome not in (Outcome.OK, Outcome.ERROR):
            found.unfinished.append(Unfinished(drawing.name, answer))
            return
        found.looked_into += 1
        found.codes += [Code(text, drawing.name, drawn=True) for text in _texts(answer)]


def _texts(answer: Answer) -> tuple[str, ...]:
    """What the codes say, if the answer has the form that it must have."""
    value = answer.value
    texts = value.get("texts") if isinstance(value, dict) else None
    if not isinstance(texts, list):
        return ()
    return tuple(text[:TEXT_LIMIT] for text in texts[:TEXTS] if isinstance(text, str) and text)
