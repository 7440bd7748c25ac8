"""Finding out how a real clamd is configured, by asking it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailguard.net.clamd import ClamdClient, ClamdUnavailable
from mailguard.net.clamd_probe import probe
from tests.servers.clamd import installed, private_clamd

pytestmark = pytest.mark.skipif(not installed(), reason="clamd is not installed")
SIZE_LIMIT = 2_000_000


async def what_is_said(root: Path, **settings: str) -> list[str]:
    with private_clamd(root, **settings) as clamd:
        client = ClamdClient(clamd.address)
        try:
            return [problem.where.split()[-1] for problem in await probe(client, size_limit=SIZE_LIMIT)]
        finally:
            await client.close()


async def test_as_shipped_nothing_is_wrong(tmp_path: Path) -> None:
    assert await what_is_said(tmp_path) == []


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"AlertExceedsMax": "no"}, "AlertExceedsMax"),
        ({"StreamMaxLength": "1M"}, "StreamMaxLength"),
        ({"MaxFileSize": "1M"}, "MaxScanSize"),
    ],
)
async def test_what_would_let_mail_through_unscanned_is_named(
    tmp_path: Path, settings: dict[str, str], setting: str
) -> None:
    assert await what_is_said(tmp_path, **settings) == [setting]


async def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(ClamdUnavailable):
        await probe(ClamdClient(str(tmp_path / "no.sock")), size_limit=10)
