"""What can be learned from a mail that was judged before: its content anew, its sender as it was authenticated then. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from mailguard.checks.features import extract
from mailguard.core.verdict import Findings
from mailguard.learning.content import FEATURES, content_of
from mailguard.learning.delta import Example
from mailguard.learning.traits import traits_of
from mailguard.message.parse import parse


@dataclass(frozen=True, slots=True)
class Read:
    """An example, and what the numbers of its features mean."""

    example: Example
    features: str = FEATURES


def read_example(content: bytes, findings: Findings) -> Read:
    """What is to be learned from the octets of a mail as it came in. `findings`: those that were recorded of it."""
    message = parse(content)
    return Read(Example(content_of(extract(message).packed), traits_of(message, findings.auth)))
