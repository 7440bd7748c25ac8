"""The clamd client against a real clamd, and against one that misbehaves."""

from __future__ import annotations

import asyncio
import io
import signal
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailguard.core.errors import UnavailableError
from mailguard.net.clamd import ClamdClient, ClamdUnavailable, ScanKind, ScanResult, interpret
from tests.servers.clamd import EICAR, EICAR_NAME, Clamd, installed, private_clamd

pytestmark = pytest.mark.skipif(not installed(), reason="clamd is not installed")


@pytest.fixture(scope="module")
def clamd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clamd]:
    with private_clamd(tmp_path_factory.mktemp("clamd"), StreamMaxLength="1M") as running:
        yield running


@asynccontextmanager
async def client(address: str, **settings: float) -> AsyncIterator[ClamdClient]:
    made = ClamdClient(address, **settings)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        await made.close()


def nested_zip(depth: int, content: bytes = b"hello") -> bytes:
    for i in range(depth):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{i}.zip", content)
        content = file.getvalue()
    return content


@pytest.mark.parametrize("how", ["address", "socket"])
async def test_tells_clean_from_found_on_one_connection(clamd: Clamd, how: str) -> None:
    async with client(getattr(clamd, how)) as scanner:
        for _ in range(3):
            assert await scanner.scan(b"Subject: hello\r\n\r\nhello\r\n") == ScanResult(ScanKind.CLEAN)
            assert await scanner.scan(b"x: y\r\n\r\n" + EICAR) == ScanResult(ScanKind.FOUND, EICAR_NAME)
        assert await scanner.scan(b"") == ScanResult(ScanKind.CLEAN)
        assert len(scanner._idle) == 1


async def test_many_scans_at_once_get_their_own_answers(clamd: Clamd) -> None:
    async with client(clamd.address, connections=4) as scanner:
        mails = [EICAR if i % 3 == 0 else b"x" * (i * 5_000) for i in range(40)]
        results = await asyncio.gather(*map(scanner.scan, mails))
        assert [r.kind is ScanKind.FOUND for r in results] == [i % 3 == 0 for i in range(40)]
        assert len(scanner._idle) <= 4


async def test_a_large_mail_goes_in_chunks(tmp_path: Path) -> None:
    with private_clamd(tmp_path, StreamMaxLength="60M") as running:
        async with client(running.address) as scanner:
            assert (await scanner.scan(b"x" * 5_000_000 + EICAR)).kind is ScanKind.FOUND


@pytest.mark.parametrize("how", ["address", "socket"])
async def test_too_long_a_stream_is_too_large_and_the_next_scan_works(clamd: Clamd, how: str) -> None:
    async with client(getattr(clamd, how)) as scanner:
        for size in (1_100_000, 20_000_000):
            for _ in range(3):
                assert await scanner.scan(b"x" * size) == ScanResult(ScanKind.TOO_LARGE)
                assert (await scanner.scan(EICAR)).kind is ScanKind.FOUND


async def test_what_is_known_to_be_too_large_is_not_sent(tmp_path: Path) -> None:
    async with client(str(tmp_path / "nobody"), max_size=10) as scanner:
        assert await scanner.scan(b"x" * 11) == ScanResult(ScanKind.TOO_LARGE)


async def test_limits_and_encryption_are_not_malware(clamd: Clamd, corpora: Callable[[str], Path]) -> None:
    async with client(clamd.address) as scanner:
        result = await scanner.scan(nested_zip(30))
        assert (result.kind, result.name) == (ScanKind.LIMIT, "Heuristics.Limits.Exceeded.MaxRecursion")


@pytest.mark.parametrize(
    ("answer", "kind", "name"),
    [
        ("stream: OK", ScanKind.CLEAN, ""),
        ("stream: Win.Test.EICAR_HDB-1 FOUND", ScanKind.FOUND, "Win.Test.EICAR_HDB-1"),
        ("stream: Eicar(44d88612fea8a8f36de82e1278abb02f:68) FOUND", ScanKind.FOUND, "Eicar"),
        (
            "stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND",
            ScanKind.LIMIT,
            "Heuristics.Limits.Exceeded.MaxFileSize",
        ),
        ("stream: Heuristics.Encrypted.Zip FOUND", ScanKind.ENCRYPTED, "Heuristics.Encrypted.Zip"),
        ("stream: Heuristics.Phishing.Email FOUND", ScanKind.HEURISTIC, "Heuristics.Phishing.Email"),
        ("stream: PUA.Win.Packer.Upx-1 FOUND", ScanKind.PUA, "PUA.Win.Packer.Upx-1"),
        ("INSTREAM size limit exceeded. ERROR", ScanKind.TOO_LARGE, ""),
    ],
)
def test_meaning_of_answers(answer: str, kind: ScanKind, name: str) -> None:
    assert interpret(answer) == ScanResult(kind, name)


@pytest.mark.parametrize("answer", ["stream: Can't allocate memory ERROR", "", "UNKNOWN COMMAND"])
def test_an_error_is_never_clean(answer: str) -> None:
    with pytest.raises(ClamdUnavailable):
        interpret(answer)


async def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    for address in ("127.0.0.1:1", str(tmp_path / "no.sock"), "no-such-host.invalid:3310"):
        async with client(address) as scanner:
            with pytest.raises(UnavailableError):
                await scanner.scan(b"x")
            assert not await scanner.ping()


async def test_survives_a_restart_of_clamd(tmp_path: Path) -> None:
    with private_clamd(tmp_path) as running:
        async with client(running.address) as scanner:
            assert (await scanner.scan(EICAR)).kind is ScanKind.FOUND
            running.stop()
            with pytest.raises(ClamdUnavailable):
                await scanner.scan(EICAR)
            running.start()
            assert (await scanner.scan(EICAR)).kind is ScanKind.FOUND
            running.stop()
            running.start()
            assert (await scanner.scan(EICAR)).kind is ScanKind.FOUND  # over an idle connection that has died


async def test_a_clamd_that_hangs_is_unavailable_and_leaves_no_connection(tmp_path: Path) -> None:
    with private_clamd(tmp_path) as running:
        async with client(running.address, timeout=0.3) as scanner:
            assert (await scanner.scan(b"x")).kind is ScanKind.CLEAN
            running.signal(signal.SIGSTOP)
            with pytest.raises(ClamdUnavailable, match="in time"):
                await scanner.scan(EICAR)
            running.signal(signal.SIGCONT)
            assert not scanner._idle
            assert (await scanner.scan(EICAR)).kind is ScanKind.FOUND


async def test_a_cancelled_scan_gives_its_answer_to_nobody(tmp_path: Path) -> None:
    with private_clamd(tmp_path) as running:
        async with client(running.address, connections=1) as scanner:
            await scanner.scan(b"x")
            running.signal(signal.SIGSTOP)
            task = asyncio.create_task(scanner.scan(EICAR))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            running.signal(signal.SIGCONT)
            assert (await scanner.scan(b"x")).kind is ScanKind.CLEAN


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def pretender(handler: Handler) -> AsyncIterator[str]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def read_stream(reader: asyncio.StreamReader) -> None:
    await reader.readuntil(b"zINSTREAM\0")
    while size := int.from_bytes(await reader.readexactly(4)):
        await reader.readexactly(size)


@pytest.mark.parametrize(
    "answer", [b"2: stream: OK\0", b"stream: OK\0", b"1: \0", b"1: stream: OK", b"x" * 10_000, b""]
)
async def test_a_wrong_answer_is_never_clean(answer: bytes) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_stream(reader)
        writer.write(answer)
        writer.close()

    async with pretender(handle) as address, client(address) as scanner:
        with pytest.raises(ClamdUnavailable):
            await scanner.scan(b"x")


async def test_an_idle_connection_that_clamd_gave_up_is_replaced() -> None:
    scans = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal scans
        await read_stream(reader)
        scans += 1
        writer.write(b"1: stream: OK\0")
        writer.write(b"COMMAND READ TIMED OUT\0")
        writer.close()

    async with pretender(handle) as address, client(address) as scanner:
        for _ in range(3):
            assert (await scanner.scan(b"x")).kind is ScanKind.CLEAN
    assert scans == 3


async def test_ping_and_version(clamd: Clamd) -> None:
    async with client(clamd.address) as scanner:
        assert await scanner.ping()
        version = await scanner.version()
        assert version.engine[0].isdigit()
        assert version.database is None or version.database >= 0


async def test_version_with_signatures() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"zVERSION\0")
        writer.write(b"ClamAV 1.4.3/27800/Tue Nov 17 09:05:12 2026\0")
        writer.close()

    async with pretender(handle) as address, client(address) as scanner:
        version = await scanner.version()
        assert (version.engine, version.database) == ("1.4.3", 27800)
        assert version.database_at == datetime(2026, 11, 17, 9, 5, 12, tzinfo=UTC)
