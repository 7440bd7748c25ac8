"""A relay with many clients, each with a domain and a next hop of its own, so that every test of a file has a fresh one.

What the relay recorded is read by its command line within this process: a look costs milliseconds, not a start of Python.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mailguard.core.ids import is_message_id
from tests.servers.ports import wait_until
from tests.servers.relay import ROOT, Relay
from tests.servers.sink_thread import SinkThread, running_sink
from tests.servers.smtp_sink import Received

Unit = dict[str, Any]
"""A mail for one recipient as `mailguard trace --json` shows it."""


@dataclass(frozen=True, slots=True)
class Client:
    """A tenant with one domain, whose next hop is `sink`."""

    name: str
    domain: str
    sink: SinkThread

    def address(self, user: str = "u") -> str:
        """An address of its domain."""
        return f"{user}@{self.domain}"

    @property
    def got(self) -> list[Received]:
        """What its next hop took, oldest first."""
        return self.sink.messages


@dataclass
class Town:
    """The relay and its clients. `next_client` gives one that no other test of the file uses."""

    relay: Relay
    clients: dict[str, Client] = field(default_factory=dict)
    spare: list[Client] = field(default_factory=list)

    def __getitem__(self, name: str) -> Client:
        return self.clients[name]

    def next_client(self) -> Client:
        """One of the spare clients."""
        return self.spare.pop()

    # the command line

    def run(self, *arguments: object, check: bool = True) -> tuple[int, str]:
        """Run a command; its exit code and what it printed, errors included."""
        done = self.relay.run(*arguments, check=check)
        return done.returncode, done.stdout + done.stderr

    def json(self, *arguments: object) -> Any:
        """What a command prints with `--json`."""
        return json.loads(self.run(*arguments, "--json")[1])

    def units(self, recipient: str) -> list[Unit]:
        """All mail for an address, oldest first; what was refused at the door is not among it."""
        return [row for row in self.json("trace", "--to", recipient) if row["type"] == "mail"]

    def unit(self, recipient: str) -> Unit:
        """The only mail for an address."""
        (unit,) = self.units(recipient)
        return unit

    def reached(self, recipient: str, state: str, *, seconds: float = 20) -> Unit:
        """The only mail for an address, once it is there and in a state."""

        def there() -> bool:
            return [unit["state"] for unit in self.units(recipient)] == [state]

        wait_until(there, seconds=seconds, what=f"{recipient} being {state}")
        return self.unit(recipient)

    # what is on the disk

    @property
    def data(self) -> Path:
        """The relay's storage."""
        return self.relay.root / "data"

    def bodies(self) -> set[str]:
        """The messages whose body is kept."""
        return {path.name for path in self.data.glob("??/*") if is_message_id(path.name)}

    def logged(self, event: str, **facts: object) -> list[Mapping[str, Any]]:
        """The lines of the log that tell of an event, with these facts among theirs."""
        lines = [json.loads(line) for line in self.relay.log.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == event and facts.items() <= line.items()]


def story(unit: Unit) -> list[tuple[str, str]]:
    """The states that a mail went through, each with its reason, as the trace tells."""
    return [(event["to_state"], event["reason"]) for event in unit["events"] if event["kind"] == "state"]


def attempts(unit: Unit) -> list[Mapping[str, Any]]:
    """The facts of each delivery attempt."""
    return [event["detail"] for event in unit["events"] if event["kind"] == "attempt"]


def add_profiles(folder: Path, profiles: Mapping[str, str]) -> Path:
    """A copy of the shipped policies with more profiles, given as YAML by name."""
    shutil.copytree(ROOT / "policies", folder)
    for name, text in profiles.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


@contextmanager
def open_town(
    relay: Relay,
    *,
    clients: Mapping[str, Sequence[str]] | None = None,
    spare: int = 0,
    commands: Sequence[Sequence[object]] = (),
    ready: bool = True,
) -> Iterator[Town]:
    """Start `relay` with clients: by name, each with options of `tenant add`, and so many `spare` ones.

    `commands` are run before it starts.
    """
    with ExitStack() as stack:
        town = Town(relay)
        options: dict[str, Sequence[str]] = {**(clients or {}), **{f"spare{number}": () for number in range(spare)}}
        for name, more in options.items():
            client = Client(name, f"{name}.test", stack.enter_context(running_sink()))
            town.run(
                "tenant", "add", name, "--domain", client.domain, "--next-hop", f"127.0.0.1:{client.sink.port}", *more
            )
            if name in (clients or {}):
                town.clients[name] = client
            else:
                town.spare.append(client)
        for command in commands:
            town.run(*command)
        stack.callback(relay.stop)
        relay.start(ready=ready)
        yield town
