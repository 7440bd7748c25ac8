"""The unpack check: attached files are taken apart in the sandbox, and what a virus scanner cannot see in them is given to it.

What is looked into is chosen here (unpack_choice); nothing is opened here, and what comes back is hashed and scanned at most.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Protocol

from mailguard.checks.base import CheckContext
from mailguard.checks.passwords import candidates
from mailguard.checks.qr_links import Code, code_symbols, links_of
from mailguard.checks.sandboxed import INLINE_LIMIT, KILLS, Remembered, Unfinished, is_enough, symbols_of
from mailguard.checks.unpack_answer import Node, Tree, read_answer
from mailguard.checks.unpack_choice import Choice, choose
from mailguard.checks.unpack_links import link_symbols
from mailguard.checks.unpack_symbols import SYMBOLS
from mailguard.checks.yara_file import YaraRules
from mailguard.core.errors import UnavailableError
from mailguard.core.verdict import Attachment, CheckResult, CheckStatus, Symbol
from mailguard.message.message import Message, Part
from mailguard.message.urls import Link, link_of
from mailguard.net.clamd import ScanKind, ScanResult
from mailguard.ops.aside import compute_aside_if
from mailguard.sandbox.frames import Json
from mailguard.sandbox.values import Answer, Outcome, Sandbox

REMEMBERED = 500
"""Files whose tree is remembered, by their content."""
HOSTS = 200
"""Hosts of the links in a mail's files that are handed on."""
EVIDENCE_LIMIT = 5


class Scanner(Protocol):
    """What the check asks of net.clamd.ClamdClient."""

    async def scan(self, content: bytes | memoryview) -> ScanResult:
        """Scan a file. Raises UnavailableError when that could not be done."""
        ...


@dataclass(frozen=True, slots=True)
class Unpacking:
    """How far files are taken apart: `octets` and `files` that may come out of one, its `depth`, CPU `seconds` for it."""

    size: int = 32 * 1024 * 1024
    """Octets of an attachment above which it is not looked into."""
    octets: int = 64 * 1024 * 1024
    files: int = 1_000
    depth: int = 8
    seconds: float = 1.2
    passwords: bool = True


@dataclass(slots=True)
class _Found:
    """What came of the files of one mail."""

    nodes: list[Node] = field(default_factory=list)
    symbols: dict[str, dict[str, None]] = field(default_factory=dict)
    unfinished: list[Unfinished] = field(default_factory=list)
    malware: dict[str, None] = field(default_factory=dict)
    links: list[tuple[str, Link]] = field(default_factory=list)
    """(path of the file, link)."""
    codes: list[Code] = field(default_factory=list)
    failure: str = ""
    scanned: int = 0
    slow: int = 0
    """Files that took all the time that one is given, without being killed for it."""

    def report(self, symbol: str, evidence: str) -> None:
        """A symbol, seen in this."""
        self.symbols.setdefault(symbol, {})[evidence] = None


class UnpackCheck:
    """Reports what stands in unpack_symbols, malware in what a scanner of the mail cannot see, and the facts of all files."""

    name = "unpack"
    needs: tuple[str, ...] = ()

    def __init__(
        self,
        sandbox: Sandbox,
        scanner: Scanner | None,
        unpacking: Unpacking = Unpacking(),
        *,
        rules: Callable[[], YaraRules] = YaraRules,
    ) -> None:
        """`rules`: what the sandbox's processes are given to look for; when they change, what is remembered is forgotten."""
        self._sandbox = sandbox
        self._scanner = scanner
        self._unpacking = unpacking
        self._rules = rules
        self._remembered = Remembered[Tree](REMEMBERED)
        self._remembered_by = rules().hash

    async def run(self, context: CheckContext, results: Mapping[str, CheckResult]) -> CheckResult:
        """See Check. A TEMPERROR when a file could not be looked into, or what came out of it not be scanned."""
        message = context.message
        large = len(message.raw) > INLINE_LIMIT
        size = self._unpacking.size
        choice = await compute_aside_if(large, choose, message, octets=size)
        if not (choice.chosen or choice.too_large):
            return CheckResult(self.name, detail="nothing to look into")
        passwords: tuple[str, ...] = ()
        if self._unpacking.passwords:
            passwords = await compute_aside_if(large, _passwords, message, choice)
        found = _Found()
        for part in choice.chosen:
            if not is_enough(found.unfinished) and found.slow < KILLS:
                await self._look_into(part, passwords, found)
        for name in choice.too_large:
            found.report("UNPACK_TOO_LARGE", name)
        if choice.left_out:
            found.report("UNPACK_TOO_MANY", f"{choice.left_out} attachments more than are looked into")
        return self._result(choice, found, message)

    def _result(self, choice: Choice, found: _Found, message: Message) -> CheckResult:
        ours = [one for one in found.unfinished if one.answer.outcome.is_ours]
        failure = found.failure or (f"{ours[0].name}: {ours[0].answer.detail}" if ours else "")
        of_jobs = symbols_of(found.unfinished)
        taken = {symbol.name for symbol in of_jobs}
        rules = self._rules().symbols
        symbols = tuple(
            Symbol(name, *row, tuple(evidence)[:EVIDENCE_LIMIT])
            for name, evidence in found.symbols.items()
            if name not in taken and (row := SYMBOLS.get(name) or rules.get(name))
        )
        links = link_symbols(found.links) + code_symbols(found.codes, (), message)
        hosts = (link.host for link in (*chain(*map(links_of, found.codes)), *(link for _, link in found.links)))
        detail = f"{len(found.nodes)} files in {len(choice.chosen)} attachments, {found.scanned} scanned"
        return CheckResult(
            self.name,
            CheckStatus.TEMPERROR if failure else CheckStatus.OK,
            symbols=symbols + links + of_jobs,
            malware=tuple(found.malware),
            detail=f"{detail}; {failure}" if failure else detail,
            attachments=tuple(node.attachment for node in found.nodes),
            link_hosts=tuple(islice(dict.fromkeys(filter(None, hosts)), HOSTS)),
        )

    async def _look_into(self, part: Part, passwords: tuple[str, ...], found: _Found) -> None:
        name = part.filename or "unnamed"
        large = part.encoded_size > INLINE_LIMIT
        size = self._unpacking.size
        raw = await compute_aside_if(large, part.decoded, size)
        digest = (await compute_aside_if(large, hashlib.sha256, raw)).hexdigest()
        key = hashlib.sha256(
            "\0".join((digest, name, part.content_type, *passwords)).encode("utf-8", "replace")
        ).digest()
        if self._remembered_by != (rules := self._rules().hash):
            self._remembered.clear()
            self._remembered_by = rules
        octets = b""
        tree = self._remembered.get(key)
        if tree is None:
            answer = await self._sandbox.run("unpack.tree", raw, self._arguments(name, part.content_type, passwords))
            tree = self._read(answer, name, part.content_type)
            if tree is None:
                if answer.outcome is Outcome.OK:
                    answer = Answer(Outcome.CRASH, detail="answered what is no answer")
                _not_done(Attachment(name, part.content_type, "", len(raw), digest), answer, found)
                return
            octets = answer.raw
            if not any(node.octets for node in tree.nodes):
                self._remembered.put(key, tree)
        await self._take(tree, octets, found)

    def _read(self, answer: Answer, name: str, declared: str) -> Tree | None:
        return (
            read_answer(answer, name, declared, rules=self._rules().symbols) if answer.outcome is Outcome.OK else None
        )

    def _arguments(self, name: str, declared: str, passwords: tuple[str, ...]) -> dict[str, Json]:
        limits = self._unpacking
        return {
            "name": name,
            "declared": declared,
            "passwords": [*passwords],
            "octets": limits.octets,
            "files": limits.files,
            "depth": limits.depth,
            "seconds": limits.seconds,
        }

    async def _take(self, tree: Tree, octets: bytes, found: _Found) -> None:
        """Report what a tree says, and scan what it hands back."""
        found.slow += any("SANDBOX_LIMIT" in node.attachment.found for node in tree.nodes)
        scanned: dict[tuple[int, int], tuple[str, ...]] = {}
        for node in tree.nodes:
            path = node.attachment.name
            for symbol, evidence in node.found:
                found.report(symbol, evidence if node.attachment.depth == 0 and evidence else f"{path}: {evidence}")
            names: tuple[str, ...] = ()
            if node.octets is not None and self._scanner is not None:
                place = (node.octets.start, node.octets.stop)
                if place not in scanned:
                    scanned[place] = await self._scan(memoryview(octets)[node.octets], path, found)
                names = scanned[place]
            found.nodes.append(_with(node, names) if names else node)
        for path, url, via in tree.links:
            if via == "qr":
                found.codes.append(Code(url, path))
            elif (link := link_of(url)) is not None:
                found.links.append((path, link))

    async def _scan(self, octets: memoryview, path: str, found: _Found) -> tuple[str, ...]:
        """The symbols that a virus scan of these octets gives the file."""
        assert self._scanner is not None
        if found.failure:
            return ()
        try:
            scan = await self._scanner.scan(octets)
        except UnavailableError as error:
            found.failure = f"{path}: {error}"
            return ()
        found.scanned += 1
        if scan.kind is ScanKind.FOUND:
            found.malware[scan.name] = None
            found.report("UNPACK_MALWARE", f"{path}: {scan.name}")
            return ("UNPACK_MALWARE",)
        return ()


def _with(node: Node, names: tuple[str, ...]) -> Node:
    attachment = node.attachment
    return replace(node, attachment=replace(attachment, found=(*attachment.found, *names)))


def _not_done(file: Attachment, answer: Answer, found: _Found) -> None:
    name = file.name
    if answer.outcome is Outcome.ERROR:
        found.report("UNPACK_BROKEN", f"{name}: {answer.detail}")
        symbol = ("UNPACK_BROKEN",)
    else:
        found.unfinished.append(Unfinished(name, answer))
        if answer.outcome.is_ours:
            return
        symbol = ("SANDBOX_LIMIT",) if answer.outcome.is_limit else ("SANDBOX_CRASH",)
    found.nodes.append(Node(replace(file, found=symbol)))


def _passwords(message: Message, choice: Choice) -> tuple[str, ...]:
    names = [part.filename for part in choice.chosen]
    sender = message.from_mailboxes[0] if message.from_mailboxes else None
    return candidates(
        "\n".join((message.plain, message.rendered.visible)),
        message.subject,
        files=names,
        sender=sender.name if sender is not None and sender.name else "",
    )
