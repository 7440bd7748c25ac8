"""A message on its way in: in memory or in a file, within its limit; and the room that large ones share."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.smtp.intake import Intake, Room

from .conftest import eventually

PIECES = st.lists(st.sampled_from([b"\r\n.", b"\r", b"\n", b"x" * 30, b".\r\n", b"..", b"\r\n"]), max_size=30)


def intake(path: Path | None = None, *, limit: int = 1000, memory: int = 100, dots: bool = True) -> Intake:
    return Intake(limit=limit, memory=memory, directory=path, dots=dots)


@given(PIECES, st.integers(0, 200))
def test_content_is_the_same_in_memory_and_in_a_file(pieces: list[bytes], memory: int) -> None:
    async def run(memory: int) -> bytes:
        made = intake(memory=memory, limit=5000)
        for piece in pieces:
            await made.add(piece)
        await made.end()
        content = await made.content()
        assert len(content) == made.size
        return content

    assert asyncio.run(run(memory)) == asyncio.run(run(10_000))


async def test_large_content_goes_to_a_file_without_a_name(tmp_path: Path) -> None:
    made = intake(tmp_path)
    for _ in range(9):
        await made.add(b"x" * 98 + b"\r\n")
    assert made.in_file
    assert list(tmp_path.iterdir()) == []
    await made.end()
    assert await made.content() == (b"x" * 98 + b"\r\n") * 9


async def test_message_at_the_limit_passes_one_over_does_not() -> None:
    made = intake(limit=1000)
    await made.add(b"x" * 998 + b"\r\n")
    await made.end()
    assert (made.too_large, made.size) == (False, 1000)
    made = intake(limit=1000)
    await made.add(b"x" * 999 + b"\r\n")
    assert made.too_large
    await made.add(b"and more")
    await made.end()
    assert await made.content() == b""


async def test_dots_of_transparency_do_not_count() -> None:
    made = intake(limit=900)
    await made.add(b"..\r\n" * 300)
    await made.end()
    assert (made.too_large, made.size) == (False, 900)


async def test_newlines_that_are_mended_count() -> None:
    made = intake(limit=900)
    await made.add(b"\n" * 451)
    assert made.too_large


async def test_file_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    made = intake(tmp_path / "nowhere")
    await made.add(b"x" * 200)
    assert made.failed
    await made.add(b"x" * 200)
    await made.end()
    made.close()


async def test_file_that_cannot_be_written_is_told() -> None:
    made = intake()
    await made.add(b"x" * 200)
    assert made._file is not None
    made._file.close()
    with Path("/dev/full").open("wb", buffering=0) as full:
        made._file = full
        await made.add(b"x" * 200)
    assert made.failed


async def test_large_messages_wait_for_room_in_their_order() -> None:
    room = Room(100)
    entered: list[int] = []

    async def enter(octets: int) -> None:
        await room.enter(octets)
        entered.append(octets)

    tasks = [asyncio.create_task(enter(octets)) for octets in (60, 61, 30, 40)]
    await eventually(lambda: room.waiting == 3)
    assert entered == [60]  # 30 would fit, but came later
    room.leave(60)
    await eventually(lambda: entered == [60, 61, 30])
    room.leave(61)
    await asyncio.gather(*tasks)
    assert (entered, room.taken) == ([60, 61, 30, 40], 70)


async def test_message_larger_than_the_room_goes_alone() -> None:
    room = Room(100)
    await room.enter(500)
    other = asyncio.create_task(room.enter(1))
    await eventually(lambda: room.waiting == 1)
    room.leave(500)
    await other
    assert room.taken == 1


async def test_who_stops_waiting_leaves_the_room_to_others() -> None:
    room = Room(100)
    await room.enter(90)
    first, second = asyncio.create_task(room.enter(50)), asyncio.create_task(room.enter(10))
    await eventually(lambda: room.waiting == 2)
    first.cancel()
    await second
    assert room.taken == 100
    third = asyncio.create_task(room.enter(100))
    await eventually(lambda: room.waiting == 1)
    room.leave(90)
    room.leave(10)  # its turn has come, but it does not know yet
    third.cancel()
    with pytest.raises(asyncio.CancelledError):
        await third
    assert (room.taken, room.waiting) == (0, 0)
