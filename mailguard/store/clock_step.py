"""After the database's clock was set back: nothing that waits, and no lease, lasts much longer for it.

Every time here is absolute, so a clock that is set forward makes things due, and one that is set back makes them wait. What
lies further ahead than any wait can be stands there from before the step, and is drawn near.
"""

from __future__ import annotations

from sqlalchemy import Connection, and_, or_, update

from mailguard.store.db import now
from mailguard.store.leases import WORKER
from mailguard.store.schema import leases, queue


def draw_near_in(connection: Connection, *, longest_wait: int, lease: int, worker_lease: int) -> int:
    """Shorten what is too far ahead by the database's clock; returns how many places in the queue that were.

    All in milliseconds. `longest_wait` is longer than any wait for an attempt, `lease` than any lease of the queue:
    what nobody holds and is due later than that becomes due now, what is held gets a fresh lease, which its holder, if he
    lives, renews, and which else runs out. `worker_lease` does so for workers: living ones beat again within seconds.
    """
    at = now(connection)
    free = and_(queue.c.holder == "", ~queue.c.held, queue.c.due_at > at + longest_wait)
    drawn = connection.execute(update(queue).where(free).values(due_at=at)).rowcount
    far = or_(queue.c.lease_until > at + lease, queue.c.due_at > at + lease)
    held = and_(queue.c.holder != "", ~queue.c.held, far)
    drawn += connection.execute(update(queue).where(held).values(lease_until=at + lease, due_at=at + lease)).rowcount
    workers = and_(leases.c.name.startswith(WORKER, autoescape=True), leases.c.until > at + worker_lease)
    connection.execute(update(leases).where(workers).values(until=at + worker_lease))
    return drawn
