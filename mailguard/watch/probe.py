"""One run of the probe: its mails go through the door side by side, and are looked for until all have come to an end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from mailguard.core.errors import UnavailableError
from mailguard.core.ids import new_message_id
from mailguard.net.smtp_client import Handshake, Target
from mailguard.watch.probe_canary import Canary
from mailguard.watch.probe_mails import header_message_id, probe_mail
from mailguard.watch.probe_mark import Kind, Mark
from mailguard.watch.probe_send import send
from mailguard.watch.probe_verdict import Arrived, ProbeMail, Recorded, Seen

POLL = 0.1
"""Seconds between two looks into the record or at the canary that listens here."""
POLL_MAILBOX = 2.0
"""Seconds between two looks into a mailbox somewhere else."""
GRACE = 1.0
"""Seconds for which bad mail is still waited for at the canary when the clean one is there: it should not come."""

LookUp = Callable[[str], Recorded | None]
"""What the relay's record says of the mail with a Message-ID. Blocks; raises UnavailableError."""
Fetch = Callable[[Sequence[str]], dict[str, bytes]]
"""The mails with these Message-IDs out of the canary's mailbox. Blocks; raises UnavailableError."""


@dataclass(frozen=True, slots=True)
class Run:
    """What to send, to whom, and through which door. `timeout` in seconds: for each conversation, and then for the arrival."""

    sender: str
    recipient: str
    key: str
    kinds: tuple[Kind, ...]
    door: Target
    handshake: Handshake
    timeout: float


@dataclass(frozen=True, slots=True)
class Eyes:
    """Where mail is looked for; what is None is not looked at."""

    canary: Canary | None = None
    fetch: Fetch | None = None
    look_up: LookUp | None = None


@dataclass(slots=True)
class _Watch:
    """A mail that is on its way. `ended`: when its data did (time.monotonic, seconds)."""

    mail: ProbeMail
    name: str
    ended: float


async def probe(run: Run, eyes: Eyes, *, at: int) -> list[ProbeMail]:
    """Send the mails at `at` (ms UTC) and see what becomes of them. `eyes.canary` listens already."""
    watches = await asyncio.gather(*(_send(run, Mark(new_message_id(at), at, kind)) for kind in run.kinds))
    looks: list[Awaitable[None]] = []
    if eyes.canary is not None:
        looks.append(_at_canary(watches, eyes.canary, run.timeout))
    if eyes.fetch is not None:
        looks.append(_in_mailbox(watches, eyes.fetch, run.timeout))
    if eyes.look_up is not None:
        looks.append(_in_record(watches, eyes.look_up, run.timeout))
    await asyncio.gather(*looks)
    return [watch.mail for watch in watches]


async def _send(run: Run, mark: Mark) -> _Watch:
    content = probe_mail(mark, sender=run.sender, recipient=run.recipient)
    said, ended = await send(
        mark.put_on(content, recipient=run.recipient, key=run.key),
        sender=run.sender,
        recipient=run.recipient,
        door=run.door,
        handshake=run.handshake,
        patience=run.timeout,
    )
    name = header_message_id(mark, sender=run.sender)
    return _Watch(ProbeMail(mark, content, said), name, ended)


def _note(watch: _Watch, **seen: object) -> None:
    watch.mail = replace(watch.mail, seen=replace(watch.mail.seen, **seen))  # type: ignore[arg-type]


def _seen(watch: _Watch) -> Seen:
    return watch.mail.seen


async def _at_canary(watches: Sequence[_Watch], canary: Canary, patience: float) -> None:
    for watch in watches:
        _note(watch, at_canary=True)

    async def look() -> bool:
        for watch in watches:
            taken = canary.find(watch.name)
            if taken is not None and _seen(watch).arrived is None:
                _note(watch, arrived=Arrived(taken.content, max(0, round((taken.at - watch.ended) * 1000))))
        return _all_that_should_are_there(watches)

    if await _repeat(look, POLL, patience):
        await asyncio.sleep(GRACE)
        await look()


async def _in_mailbox(watches: Sequence[_Watch], fetch: Fetch, patience: float) -> None:
    for watch in watches:
        _note(watch, at_canary=True)
    with _blind(watches, at_canary=False):
        await _look_into_mailbox(watches, fetch, patience)


async def _look_into_mailbox(watches: Sequence[_Watch], fetch: Fetch, patience: float) -> None:
    async def look() -> bool:
        missing = {watch.name: watch for watch in watches if _seen(watch).arrived is None}
        for name, content in (await asyncio.to_thread(fetch, list(missing))).items():
            after = max(0, round((time.monotonic() - missing[name].ended) * 1000))
            _note(missing[name], arrived=Arrived(content, after))
        return _all_that_should_are_there(watches)

    if await _repeat(look, POLL_MAILBOX, patience):
        await asyncio.sleep(GRACE)
        await look()


def _all_that_should_are_there(watches: Sequence[_Watch]) -> bool:
    """Whether the clean mail has arrived; without one nothing is awaited but what should not come."""
    return all(
        _seen(watch).arrived is not None or not watch.mail.said.taken
        for watch in watches
        if watch.mail.mark.kind is Kind.CLEAN
    )


async def _in_record(watches: Sequence[_Watch], look_up: LookUp, patience: float) -> None:
    sent = [watch for watch in watches if watch.mail.said.after_data]
    for watch in sent:
        _note(watch, in_record=True)

    async def look() -> bool:
        for watch in sent:
            recorded = _seen(watch).recorded
            if recorded is None or not recorded.is_settled:
                _note(watch, recorded=await asyncio.to_thread(look_up, watch.name))
        return all((recorded := _seen(watch).recorded) is not None and recorded.is_settled for watch in sent)

    with _blind(sent, in_record=False):
        await _repeat(look, POLL, patience)


@contextmanager
def _blind(watches: Sequence[_Watch], **unseen: bool) -> Iterator[None]:
    """A place that cannot be looked into is told, and no reason to forget what the door said."""
    try:
        yield
    except UnavailableError as error:
        for watch in watches:
            _note(watch, blind=str(error), **unseen)


async def _repeat(look: Callable[[], Awaitable[bool]], pause: float, patience: float) -> bool:
    """Look until it is so, `patience` seconds at most, the last time at their end; whether it is."""
    deadline = time.monotonic() + patience
    while not await look():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        await asyncio.sleep(min(pause, left))
    return True
