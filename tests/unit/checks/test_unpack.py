"""The unpack check: what goes to the sandbox, how its answers are believed, and that a virus behind a password is found."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from mailguard.checks.attachments import AttachmentsCheck
from mailguard.checks.unpack import UnpackCheck
from mailguard.checks.unpack_answer import read_answer
from mailguard.checks.unpack_symbols import SYMBOLS
from mailguard.core.attachments import merged
from mailguard.core.errors import UnavailableError
from mailguard.core.verdict import Attachment, CheckResult, CheckStatus
from mailguard.net.clamd import ScanKind, ScanResult
from mailguard.sandbox.frames import Json, WithOctets
from mailguard.sandbox.unpack.tree import tree
from mailguard.sandbox.values import NO_ARGUMENTS, Answer, Outcome
from tests.unit.checks.mail import context, packed
from tests.unit.checks.qr_mails import mail
from tests.unit.sandbox.test_frames import values

VIRUS = b"this is the virus"


class OnTheSpot:
    """A sandbox that works in this process."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.answer = answer
        self.jobs = 0

    async def run(self, function: str, raw: bytes = b"", arguments: Mapping[str, Json] = NO_ARGUMENTS) -> Answer:
        assert function == "unpack.tree"
        self.jobs += 1
        if self.answer:
            return self.answer
        value = tree(raw, arguments)
        assert isinstance(value, WithOctets)
        return Answer(Outcome.OK, value.value, raw=value.raw)


class Knows:
    """A scanner that knows one virus."""

    async def scan(self, content: bytes | memoryview) -> ScanResult:
        return ScanResult(ScanKind.FOUND, "Test-Virus") if content == VIRUS else ScanResult(ScanKind.CLEAN)


class Learns(Knows):
    """A scanner that gets to know the virus in the course of the day."""

    def __init__(self) -> None:
        self.knows = False
        self.asked = 0

    async def scan(self, content: bytes | memoryview) -> ScanResult:
        self.asked += 1
        return await super().scan(content) if self.knows else ScanResult(ScanKind.CLEAN)


class Away:
    """A scanner that is not there."""

    async def scan(self, content: bytes | memoryview) -> ScanResult:
        raise UnavailableError("nobody there")


async def look(
    *files: tuple[str, bytes], sandbox: OnTheSpot | None = None, scanner: Knows | Away | None = None
) -> CheckResult:
    check = UnpackCheck(sandbox or OnTheSpot(), scanner or Knows())
    return await check.run(context(raw=mail(*files)), {})


async def test_what_can_hold_nothing_does_not_go_there() -> None:
    sandbox = OnTheSpot()
    picture = b"\x89PNG\r\n\x1a\n" + bytes(100)
    result = await look(("a.txt", b"plain words\n" * 50), ("b.png", picture), sandbox=sandbox)
    assert sandbox.jobs == 0
    assert result.detail == "nothing to look into"


async def test_a_picture_with_an_archive_behind_it_is_opened() -> None:
    result = await look(("b.png", b"\x89PNG\r\n\x1a\n" + bytes(100) + packed(a_exe=b"MZ")))
    assert {symbol.name for symbol in result.symbols} >= {"UNPACK_TRAILING_DATA", "ATTACHMENT_ARCHIVED_EXECUTABLE"}


async def test_files_in_archives_become_facts() -> None:
    result = await look(("a.zip", packed(b_zip=packed(c_exe=b"MZ\0\0"))))
    assert [(one.name, one.depth) for one in result.attachments] == [
        ("a.zip", 0),
        ("a.zip/b.zip", 1),
        ("a.zip/b.zip/c.exe", 2),
    ]
    assert result.attachments[2].found == ("ATTACHMENT_ARCHIVED_EXECUTABLE",)
    assert result.status is CheckStatus.OK


async def test_what_no_scanner_sees_is_scanned_and_a_failure_shows() -> None:
    import lzma

    compressed = lzma.compress(VIRUS)
    found = await look(("a.xz", compressed))
    assert found.malware == ("Test-Virus",)
    assert next(one.evidence for one in found.symbols if one.name == "UNPACK_MALWARE") == ("a.xz/a: Test-Virus",)
    failed = await look(("a.xz", compressed), scanner=Away())
    assert failed.status is CheckStatus.TEMPERROR
    assert not failed.malware


async def test_ends_of_jobs_are_told() -> None:
    raw = packed(a_txt=b"a")
    busy = await look(("a.zip", raw), sandbox=OnTheSpot(Answer(Outcome.BUSY, detail="nobody free")))
    assert busy.status is CheckStatus.TEMPERROR
    killed = await look(("a.zip", raw), sandbox=OnTheSpot(Answer(Outcome.CPU, detail="killed")))
    assert [symbol.name for symbol in killed.symbols] == ["SANDBOX_LIMIT"]
    assert killed.attachments[0].found == ("SANDBOX_LIMIT",)
    odd = await look(("a.zip", raw), sandbox=OnTheSpot(Answer(Outcome.OK, {"files": 3})))
    assert [symbol.name for symbol in odd.symbols] == ["SANDBOX_CRASH"]


async def test_after_two_files_that_take_all_their_time_the_rest_is_left_alone() -> None:
    slow = {"name": "a", "kind": "text/plain", "size": 1, "depth": 0, "found": [["SANDBOX_LIMIT", "1.2 s"]]}
    sandbox = OnTheSpot(Answer(Outcome.OK, {"files": [slow], "links": []}))
    files = [(f"{number}.zip", packed(**{f"a{number}": b"a"})) for number in range(5)]
    result = await UnpackCheck(sandbox, Knows()).run(context(raw=mail(*files)), {})
    assert "SANDBOX_LIMIT" in [symbol.name for symbol in result.symbols]
    assert sandbox.jobs == 2


async def test_the_same_file_costs_nothing_again() -> None:
    sandbox = OnTheSpot()
    check = UnpackCheck(sandbox, Knows())
    raw = mail(("a.zip", packed(a_txt=b"a")))
    first, again = [await check.run(context(raw=raw), {}) for _ in range(2)]
    assert first == again
    assert sandbox.jobs == 1


async def test_what_a_scanner_said_is_never_remembered() -> None:
    """Signatures come late: what was clean when it was first seen is scanned again with every mail."""
    import lzma

    scanner = Learns()
    check = UnpackCheck(OnTheSpot(), scanner)
    raw = mail(("a.xz", lzma.compress(VIRUS)))
    assert [(await check.run(context(raw=raw), {})).malware for _ in range(2)] == [(), ()]
    scanner.knows = True
    assert (await check.run(context(raw=raw), {})).malware == ("Test-Virus",)
    assert scanner.asked == 3


files = st.fixed_dictionaries(
    {},
    optional={
        name: values | st.text(max_size=300) | st.integers(-2, 9)
        for name in ("name", "kind", "declared", "size", "sha256", "depth", "found", "at")
    },
)


@settings(deadline=None)
@given(
    st.fixed_dictionaries({}, optional={"files": st.lists(files, max_size=5) | values, "links": values}), st.binary()
)
def test_hostile_answers_are_read_or_refused(value: dict[str, Json], raw: bytes) -> None:
    read = read_answer(Answer(Outcome.OK, value, raw=raw), "a.zip", "application/zip")
    if read is None:
        return
    for node in read.nodes:
        assert {symbol for symbol, _ in node.found} <= SYMBOLS.keys()
        assert node.octets is None or 0 <= node.octets.start < node.octets.stop <= len(raw)
        assert len(node.attachment.name) <= 1_024


def test_what_was_taken_apart_replaces_what_a_directory_tells() -> None:
    listed = [
        Attachment("a.zip", "application/zip", "application/zip", 9, "ff"),
        Attachment("a.zip/b", "", "", 5, "", 1),
    ]
    unpacked = [
        Attachment("a.zip", "application/zip", "application/zip", 9, "ff", 0, ("UNPACK_BOMB",)),
        Attachment("a.zip/b", "", "text/plain", 5, "ee", 1),
    ]
    other = Attachment("c.txt", "text/plain", "text/plain", 1, "dd")
    assert merged([*listed, other], unpacked) == (*unpacked, other)
    assert merged(listed, ()) == tuple(listed)


def test_what_names_and_content_say_of_one_file_stands_at_it() -> None:
    digest = "0" * 64
    listed = [
        Attachment("a.zip", "x/y", "application/zip", 9, digest, 0, ("ATTACHMENT_ENCRYPTED",)),
        Attachment("a.zip/b.exe", "", "", 5, "", 1, ("ATTACHMENT_ARCHIVED_EXECUTABLE",)),
        Attachment("a.zip/c.exe", "", "", 5, "", 1, ("ATTACHMENT_ARCHIVED_EXECUTABLE",)),
    ]
    unpacked = [
        Attachment("a.zip", "", "application/zip", 9, digest, 0, ("ARCHIVE_PASSWORD",)),
        Attachment("a.zip/b.exe", "", "application/x-dosexec", 5, digest, 1, ("UNPACK_MALWARE",)),
    ]
    assert [(file.name, file.found) for file in merged(listed, unpacked)] == [
        ("a.zip", ("ARCHIVE_PASSWORD", "ATTACHMENT_ENCRYPTED")),
        ("a.zip/b.exe", ("UNPACK_MALWARE", "ATTACHMENT_ARCHIVED_EXECUTABLE")),
        ("a.zip/c.exe", ("ATTACHMENT_ARCHIVED_EXECUTABLE",)),
    ]


async def test_what_a_name_says_stands_at_the_file() -> None:
    result = await AttachmentsCheck().run(context(raw=mail(("invoice.pdf.exe", b"MZ" + bytes(60)))), {})
    assert {"ATTACHMENT_EXECUTABLE", "ATTACHMENT_DOUBLE_EXTENSION"} <= {*result.attachments[0].found}
