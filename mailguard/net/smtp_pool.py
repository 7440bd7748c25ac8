"""Connections to next hops kept open between messages. One never serves two tenants, nor two ways to prove who we are: all
that distinguishes them is part of the key."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import inf

from mailguard.core.envelope import NextHop
from mailguard.core.transport import AS_SET_FOR_ALL, HopSecurity
from mailguard.core.values import value
from mailguard.net.smtp_client import GoAhead, HopError, Sent, SmtpConnection, Stage, Transaction


@value
class PoolKey:
    """Whose connections, to which next hop, how well protected and as whom; `public_only`: never into a private network."""

    tenant: int
    next_hop: NextHop
    security: HopSecurity = AS_SET_FOR_ALL
    public_only: bool = False


class HopBusyError(HopError):
    """All connections that this next hop is allowed were busy until the time was up. Says nothing about the hop."""


@dataclass(slots=True)
class _Connections:
    idle: list[tuple[SmtpConnection, asyncio.TimerHandle]] = field(default_factory=list)
    busy: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)


class ConnectionPool:
    """Up to `per_hop` connections for each key; idle ones are closed after `idle` seconds, any after `uses` messages.

    When all are busy a message waits `wait` seconds at most: then it is better off in the queue.
    """

    def __init__(self, *, per_hop: int = 20, idle: float = 20.0, uses: int = 100, wait: float = 10.0) -> None:
        self._wait = wait
        self._per_hop = per_hop
        self._idle = idle
        self._uses = uses
        self._hops: dict[PoolKey, _Connections] = {}
        self._closed = False

    async def transact(
        self,
        key: PoolKey,
        transaction: Transaction,
        *,
        dial: Callable[[], Awaitable[SmtpConnection]],
        deadline: float = inf,
        go_ahead: GoAhead | None = None,
    ) -> tuple[Sent, SmtpConnection]:
        """Send on an idle connection of `key`, else on one that `dial` makes, by the loop's time `deadline`.

        A kept connection that turns out to be dead before it answered MAIL is replaced by a fresh one unnoticed. Raises
        HopError, from `dial` or as HopBusyError, and what `go_ahead` raises. The connection is for reading only.
        """
        hop = await self._enter(key, deadline)
        try:
            kept = self._take(hop)
            if kept is not None:
                sent = await kept.send(transaction, deadline=deadline, go_ahead=go_ahead)
                if not sent.stale:
                    self._leave(key, hop, kept, sent)
                    return sent, kept
                self._drop_idle(hop)  # they are as old: the server or the path to it went away
            connection = await dial()
            sent = await connection.send(transaction, deadline=deadline, go_ahead=go_ahead)
        except BaseException:
            self._leave(key, hop, None, None)
            raise
        self._leave(key, hop, connection, sent)
        return sent, connection

    def connections(self, key: PoolKey) -> tuple[int, int]:
        """How many are (busy, idle)."""
        hop = self._hops.get(key)
        return (hop.busy, len(hop.idle)) if hop else (0, 0)

    def close(self) -> None:
        """Close idle connections now, and busy ones as they become free."""
        self._closed = True
        for key, hop in list(self._hops.items()):
            self._drop_idle(hop)
            self._tidy(key, hop)

    async def _enter(self, key: PoolKey, deadline: float) -> _Connections:
        hop = self._hops.get(key)
        if hop is None:
            hop = self._hops[key] = _Connections()
        if hop.busy < self._per_hop:
            hop.busy += 1
            return hop
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        hop.waiting.append(turn)
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + self._wait)):
                await turn  # whoever leaves hands us the place, without lowering `busy`
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._free(key, hop)
            elif turn in hop.waiting:
                hop.waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise HopBusyError(Stage.ROUTE, None, f"all {self._per_hop} connections busy") from error
            raise
        return hop

    def _leave(self, key: PoolKey, hop: _Connections, connection: SmtpConnection | None, sent: Sent | None) -> None:
        if sent is not None and sent.pending is not None:
            # It closes itself when the reply comes; until then the next hop has it open, and it counts.
            sent.pending.add_done_callback(lambda _: self._free(key, hop))
            return
        if connection is not None:
            if connection.usable and connection.uses < self._uses and not self._closed:
                timer = asyncio.get_running_loop().call_later(self._idle, self._expire, key, hop, connection)
                hop.idle.append((connection, timer))
            else:
                connection.close()
        self._free(key, hop)

    def _free(self, key: PoolKey, hop: _Connections) -> None:
        while hop.waiting:
            turn = hop.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        hop.busy -= 1
        self._tidy(key, hop)

    def _take(self, hop: _Connections) -> SmtpConnection | None:
        while hop.idle:
            connection, timer = hop.idle.pop()
            timer.cancel()
            if connection.usable:
                return connection
            connection.close()
        return None

    def _drop_idle(self, hop: _Connections) -> None:
        for connection, timer in hop.idle:
            timer.cancel()
            connection.close()
        hop.idle.clear()

    def _expire(self, key: PoolKey, hop: _Connections, connection: SmtpConnection) -> None:
        hop.idle = [entry for entry in hop.idle if entry[0] is not connection]
        connection.close()
        self._tidy(key, hop)

    def _tidy(self, key: PoolKey, hop: _Connections) -> None:
        if not (hop.idle or hop.busy or hop.waiting):
            self._hops.pop(key, None)
