"""What can be found out of a running clamd's configuration by asking it: whether it says so when it stops at a limit, and how
large a stream it takes. `ops.clamd_conf` reads the file, where there is one to read.
"""

from __future__ import annotations

import io
import zipfile

from mailguard.core.errors import Problem
from mailguard.net.clamd import ClamdClient, ScanKind

NESTING = 120
"""Archives within each other in the probe: more than any sensible MaxRecursion (default 17)."""


async def probe(client: ClamdClient, *, size_limit: int) -> tuple[Problem, ...]:
    """What does not fit a relay that takes messages of `size_limit` octets. Raises ClamdUnavailable.

    Sends a small archive and `size_limit` octets of nothing, so it is for the start and for the doctor, not for each minute.
    """
    problems = []
    where = f"clamd at {client.address}"
    nested = await client.scan(nested_archive(NESTING))
    if nested.kind is ScanKind.CLEAN:
        message = "answers OK past its own limits: set `AlertExceedsMax yes` in clamd.conf"
        problems.append(Problem(f"{where} AlertExceedsMax", message))
    largest = await client.scan(bytes(size_limit))
    if largest.kind is ScanKind.TOO_LARGE:
        message = f"does not take {size_limit} octets, the largest mail: raise it in clamd.conf"
        problems.append(Problem(f"{where} StreamMaxLength", message))
    elif largest.kind is ScanKind.LIMIT:
        message = f"does not scan {size_limit} octets, the largest mail ({largest.name}): raise it in clamd.conf"
        problems.append(Problem(f"{where} MaxFileSize, MaxScanSize", message))
    return tuple(problems)


def nested_archive(depth: int) -> bytes:
    """A text in a zip in a zip, `depth` times."""
    content = b"x"
    for _ in range(depth):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.zip", content)
        content = file.getvalue()
    return content
