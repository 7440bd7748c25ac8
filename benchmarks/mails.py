"""Mails for the load: from templates or made up, each one new, signed by its sender's domain, ready for DATA."""

from __future__ import annotations

import base64
import random
from collections.abc import Sequence
from pathlib import Path

from benchmarks.judge_cpu import Signer, as_new

WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "that",
    "for",
    "it",
    "as",
    "was",
    "with",
    "be",
    "by",
    "on",
    "not",
    "he",
    "his",
    "but",
    "at",
    "are",
    "this",
    "have",
    "from",
    "or",
    "had",
    "an",
    "they",
    "which",
    "one",
    "you",
    "were",
    "all",
    "her",
    "she",
    "there",
    "would",
    "their",
    "we",
    "him",
    "been",
    "has",
    "when",
    "who",
    "will",
    "no",
    "more",
    "if",
    "out",
    "so",
    "up",
    "said",
    "what",
    "its",
    "about",
    "than",
    "into",
    "them",
    "can",
    "only",
    "other",
    "time",
    "new",
    "some",
    "could",
    "these",
    "two",
    "may",
    "first",
    "then",
    "do",
    "any",
    "like",
    "my",
    "now",
    "over",
    "such",
    "our",
    "man",
    "me",
    "even",
    "meeting",
    "report",
    "invoice",
    "project",
    "team",
    "budget",
    "order",
    "delivery",
    "customer",
    "offer",
    "price",
    "week",
    "office",
    "please",
    "find",
    "attached",
]
EICAR_TEXT = bytes.fromhex(
    "58354f2150254041505b345c505a58353428505e2937434329377d2445494341522d5354414e444152442d414e544956495255532d544553"
    "542d46494c452124482b482a"
)
"""What every scanner knows as a test, made of its hexadecimal form so that none objects to this source."""


def made_up(octets: int, number: int) -> bytes:
    """A plain text of about so many octets, in lines; the same for the same number."""
    chosen = random.Random(number)
    lines, size = [], 0
    while size < octets:
        line = " ".join(chosen.choices(WORDS, k=12))
        lines.append(line)
        size += len(line) + 2
    head = f"Subject: a mail of {octets} octets\nTo: u@client.test\nDate: Mon, 24 Aug 2026 10:00:00 +0000\nMIME-Version: 1.0\n"
    return f"{head}Content-Type: text/plain; charset=utf-8\n\n".encode() + "\n".join(lines).encode() + b"\n"


def with_attachments(octets: int, number: int) -> bytes:
    """A mail of about so many octets: a short text and two attachments in base64, a picture's worth of noise and a table."""
    chosen = random.Random(number)
    noise = chosen.randbytes(octets * 3 // 8)
    table = "\n".join(",".join(chosen.choices(WORDS, k=8)) for _ in range(octets * 3 // 8 // 41)).encode()
    parts = [
        b"Content-Type: text/plain; charset=utf-8\n\n" + made_up(600, number).partition(b"\n\n")[2],
        b"Content-Type: application/octet-stream; name=plan.dat\nContent-Transfer-Encoding: base64\n"
        b"Content-Disposition: attachment; filename=plan.dat\n\n" + base64.encodebytes(noise),
        b"Content-Type: text/csv; name=table.csv\nContent-Transfer-Encoding: base64\n"
        b"Content-Disposition: attachment; filename=table.csv\n\n" + base64.encodebytes(table),
    ]
    head = b"Subject: the plan\nTo: u@client.test\nDate: Mon, 24 Aug 2026 10:00:00 +0000\nMIME-Version: 1.0\n"
    body = b"".join(b"--frontier\n" + part + b"\n" for part in parts)
    return head + b"Content-Type: multipart/mixed; boundary=frontier\n\n" + body + b"--frontier--\n"


def with_malware(number: int) -> bytes:
    """A mail that a scanner finds."""
    return made_up(1_000, number) + EICAR_TEXT + b"\n"


def stuffed(mail: bytes) -> bytes:
    """The mail as DATA takes it: dots doubled, the end marked (RFC 5321 §4.5.2)."""
    first = b"." if mail.startswith(b".") else b""
    return first + mail.replace(b"\r\n.", b"\r\n..") + b".\r\n"


def batch(templates: Sequence[bytes], count: int, word: str, signer: Signer) -> list[bytes]:
    """`count` new mails, from one template after the other."""
    return [
        stuffed(as_new(templates[number % len(templates)], f"{word}-{number}".encode(), signer))
        for number in range(count)
    ]


def templates_of(folder: Path | None) -> list[bytes]:
    """The `*.eml` of a folder; without one, 24 made-up mails of 2 to 30 KB."""
    if folder is not None and (found := sorted(folder.glob("*.eml"))):
        return [path.read_bytes() for path in found]
    return [made_up(2_000 + 1_200 * number, number) for number in range(24)]
