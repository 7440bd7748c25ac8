"""Figures of a run: the values, their ratios, the table that is printed and the JSON that is kept."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figures:
    """Mails a second; milliseconds from the end of a mail to its reply, median and 99th percentile; CPU milliseconds a mail.

    CPU is that of all servers that take part, the scanner's and the name server's included, and of nothing else.
    """

    rate: float
    p50: float
    p99: float
    cpu: float

    @property
    def row(self) -> tuple[float, float, float, float]:
        """The values in order."""
        return self.rate, self.p50, self.p99, self.cpu

    def __str__(self) -> str:
        return f"{self.rate:8.1f}/s  p50 {self.p50:7.1f} ms  p99 {self.p99:7.1f} ms  cpu {self.cpu:6.2f} ms"


def percentile(values: Sequence[float], share: float) -> float:
    """By nearest rank; 0 of nothing."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 100) // 10_000) - 1)] if ordered else 0.0


def figures(count: int, seconds: float, waits: Sequence[float], cpu: float) -> Figures:
    """Of `count` mails within `seconds`, with their `waits` and `cpu` in seconds. Raises ValueError when there were none."""
    if not count or seconds <= 0:
        raise ValueError("no mail came through: nothing to tell")
    return Figures(
        count / seconds,
        1_000 * (statistics.median(waits) if waits else 0.0),
        1_000 * percentile(waits, 99),
        1_000 * cpu / count,
    )


def ratios(of: Figures, to: Figures) -> dict[str, float]:
    """How many times the rate and the CPU time of the other."""
    return {"rate": of.rate / to.rate if to.rate else 0.0, "cpu": of.cpu / to.cpu if to.cpu else 0.0}


def table(title: str, rows: Mapping[str, Figures], *, against: Sequence[str] = ()) -> str:
    """A Markdown table; `against`: the rows that the others are compared with."""
    known = [name for name in against if name in rows]
    heads = [title, "mails/s", "p50 ms", "p99 ms", "CPU ms", *(f"rate × {name}" for name in known)]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, one in rows.items():
        cells = [name, f"{one.rate:,.0f}", f"{one.p50:.1f}", f"{one.p99:.1f}", f"{one.cpu:.2f}"]
        cells += [f"{ratios(one, rows[other])['rate']:.2f}" for other in known]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def machine() -> dict[str, str | int]:
    """What it was measured on: processors, their kind, Python, the revision."""
    info = Path("/proc/cpuinfo").read_text()
    model = next((line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")), "")
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "processors": info.count("\nprocessor") + info.startswith("processor"),
        "processor": model,
        "python": platform.python_version(),
        "revision": revision,
    }


def write(folder: Path, results: Mapping[str, Mapping[str, Figures]], *, options: Mapping[str, object]) -> Path:
    """Keep a run as `<time>.json`; the file."""
    now = datetime.now(UTC)
    folder.mkdir(parents=True, exist_ok=True)
    kept = {
        "at": now.isoformat(timespec="seconds"),
        "machine": machine(),
        "options": options,
        "results": {
            path: {name: {key: round(value, 3) for key, value in asdict(one).items()} for name, one in rows.items()}
            for path, rows in results.items()
        },
    }
    path = folder / f"{now:%Y-%m-%dT%H%M%SZ}.json"
    path.write_text(json.dumps(kept, indent=1) + "\n")
    return path
