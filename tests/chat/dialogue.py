"""The dialogue format: parsing a file into steps.

A dialogue is a text file. Its first lines are comments (`#`) that say what is shown and which section of which standard
rules. Then, a line each, in order:

    @ name = value    a setting: of SmtpSettings, or `listener = "proxy"`, `tls = False`, `door = "fake"`
    C: text           the client sends this line, with CRLF; `C:` lines that follow each other go out in one write
    C> text           the client sends exactly this, without CRLF
    S: text           the next reply's last line begins with this (`S: <closed>`: the server ends the connection)
    S~ pattern        the regular expression is found in the next reply (its lines joined by newlines)
    TLS               the client shakes hands for TLS
    PAUSE             what was said so far goes out, so that what follows comes in another packet
    END               the client sends no more, and still reads
    M: sender -> recipient, recipient       the Door received this message, in this order, and no others
    M> text                                 and this is its content, exactly; lines that follow each other are joined
    M: none                                 it received no message at all
    R: reason address                       the Door was told of this refusal, in this order, and of no others

In `C`, `M>` lines: `\\r \\n \\t \\0 \\xHH \\\\` stand for octets, and `{text*N}` for N times the text. Other text is UTF-8.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_ESCAPE = re.compile(rb"\\(r|n|t|0|\\|x[0-9a-fA-F]{2})")
_ESCAPES = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
_REPEAT = re.compile(rb"\{([^{}]*)\*([0-9]+)\}")


@dataclass(frozen=True)
class Step:
    """One thing that is said or expected: `kind` is the word it begins with."""

    kind: str
    text: str
    line: int


@dataclass
class Dialogue:
    """A parsed file. `messages` and `refusals` are None when the file does not say."""

    name: str
    comment: str
    settings: dict[str, object] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    messages: list[tuple[str, list[str], bytes | None]] | None = None
    refusals: list[str] | None = None

    @property
    def portable(self) -> bool:
        """Whether it holds for any running relay that takes mail for client.test, with its settings at their defaults."""
        return all((name, value) == ("tls", True) for name, value in self.settings.items())


def parse(path: Path) -> Dialogue:
    """The dialogue in a file. Raises ValueError with the line that is wrong."""
    lines = path.read_text("utf-8").splitlines()
    dialogue = Dialogue(path.stem, "\n".join(_comment(lines)))
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        word, _, text = line.partition(" ")
        if word == "@":
            name, _, value = text.partition("=")
            dialogue.settings[name.strip()] = ast.literal_eval(value.strip())
        elif word in ("C:", "C>", "S:", "S~", "TLS", "PAUSE", "END"):
            dialogue.steps.append(Step(word, text, number))
        elif word == "M:":
            dialogue.messages = dialogue.messages or []
            if text != "none":
                sender, _, recipients = text.partition("->")
                dialogue.messages.append((sender.strip(), [each.strip() for each in recipients.split(",")], None))
        elif word == "M>" and dialogue.messages:
            sender, recipients_, content = dialogue.messages[-1]
            dialogue.messages[-1] = (sender, recipients_, (content or b"") + octets(text))
        elif word == "R:":
            dialogue.refusals = [*(dialogue.refusals or []), text]
        else:
            raise ValueError(f"{path}:{number}: {line!r} is none of the format's lines")
    return dialogue


def octets(text: str) -> bytes:
    """What a text with escapes stands for."""
    raw = _REPEAT.sub(lambda match: match[1] * int(match[2]), text.encode("utf-8"))
    return _ESCAPE.sub(lambda m: bytes.fromhex(m[1][1:].decode()) if m[1][:1] == b"x" else _ESCAPES[m[1]], raw)


def _comment(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("#"):
            return
        yield line.lstrip("# ")
