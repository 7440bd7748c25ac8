"""Settings of the processes in which hostile files are looked into."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mailguard.config.section import Section
from mailguard.config.values import Count, Seconds

Brief = Annotated[float, Field(gt=0, le=60)]


class UnpackSection(Section):
    """How far attached files are taken apart: docs/checks/unpack.md."""

    size: int = Field(
        33_554_432, ge=65_536, le=67_108_864, description="Octets of an attachment above which it is not."
    )
    octets: int = Field(
        67_108_864, ge=1_048_576, le=268_435_456, description="Octets that come out of one attachment at most."
    )
    files: int = Field(1_000, ge=1, le=10_000, description="Files that come out of one attachment at most.")
    depth: int = Field(8, ge=1, le=16, description="How deep files within each other are looked into.")
    passwords: bool = Field(True, description="Whether encrypted files are tried with the words of the mail.")


class SandboxSection(Section):
    """Processes without rights that look into files for the relay: docs/sandbox.md."""

    processes: int = Field(
        2,
        ge=1,
        le=64,
        description="Processes at most, per worker; one is kept ready, the others are started when first needed.",
    )
    user: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}$")] = Field(
        "nobody", description="Whom they become when the relay runs as root. Otherwise they stay who the relay is."
    )
    time: Brief = Field(10, description="Seconds by the clock that one file may take; then its process is killed.")
    cpu: Brief = Field(2, description="Seconds of CPU that one file may take; then its process is killed.")
    memory: int = Field(
        184_549_376, ge=33_554_432, description="Octets of memory that one file may take; then its process is killed."
    )
    jobs: Count = Field(200, description="Files after which a process is replaced by a new one.")
    queue: Count = Field(32, description="Files that wait for a process at most, per worker; more are not looked into.")
    wait: Seconds = Field(
        5, description="Seconds that a file waits for a process; then it is not looked into (a TEMPERROR of its check)."
    )
