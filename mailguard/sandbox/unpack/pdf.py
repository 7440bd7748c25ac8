"""What stands in a PDF: scripts, what runs when it is opened, embedded files, links. ISO 32000-2 §12.6 names the actions.

The catalogue is walked first, then the other objects in their order, as far as the limits reach: what acts hides at either.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pikepdf
from pikepdf import Array, Dictionary, Name, Object, Stream, String

from mailguard.sandbox.unpack.pdf_script import verdict_of
from mailguard.sandbox.unpack.pdf_streams import content_of, prepare_streams
from mailguard.sandbox.unpack.work import File, Work

OBJECTS = 50_000
"""Objects that are looked at, besides those that the catalogue leads to."""
SECONDS = 0.8
"""Seconds of the processor after which no further objects are looked at."""
DEPTH = 12
"""Dictionaries and arrays within each other that are walked."""
NODES = 20_000
"""Dictionaries and arrays that are walked from the catalogue and from objects that hold something of interest."""
SCRIPTS = 20
"""Scripts that are handed on as files."""
SCRIPT_LIMIT = 1024 * 1024
"""Octets of a script, or of a form's part, that are read."""
LINKS = 100
"""Links that are handed on."""
PLAIN = 8 * 1024 * 1024
"""Octets of a file that cannot be mended that are searched."""

# What is worth a walk, in an object as qpdf writes it: names decoded, references left as they are.
_OF_INTEREST = re.compile(
    rb"/(?:JS|JavaScript|Launch|EF|URI|SubmitForm|ImportData|GoToR|GoToE|XFA|RichMedia|3D|OpenAction|AA|Rendition)\b"
)
_HASHED = re.compile(rb"#([2-7][0-9a-fA-F])")
_PLAINLY = (
    ("PDF_JAVASCRIPT", re.compile(rb"/(?:JavaScript|JS)\b")),
    ("PDF_LAUNCH", re.compile(rb"/S\s{0,9}/Launch\b")),
    ("PDF_OPEN_ACTION", re.compile(rb"/OpenAction\s{0,9}<<")),
    ("PDF_EMBEDDED_FILE", re.compile(rb"/EmbeddedFile\b")),
)
_ELSEWHERE = re.compile(r"\\\\|//|[a-z][a-z0-9+.\-]+:", re.IGNORECASE)
_RUNS = frozenset({"/JavaScript", "/Launch", "/SubmitForm", "/ImportData", "/GoToR", "/GoToE", "/URI", "/Rendition"})
_XFA_SCRIPT = re.compile(rb"<script\b[^>]*>(.{1,200000}?)</script\s*>", re.IGNORECASE | re.DOTALL)
_PAPER = re.compile(r"(?:[^/\\:\s][^\\:]*)?[^/\\:\s]\.(?:pdf|ps|dvi|tex|txt|png|jpe?g)", re.IGNORECASE)
_BOX = 612.0 * 792.0


@dataclass(slots=True)
class _Walk:
    """The state of looking into one PDF."""

    file: File
    work: Work
    seen: set[tuple[int, int]] = field(default_factory=set)
    digests: set[bytes] = field(default_factory=set)
    nodes: int = 0
    scripts: int = 0
    links: int = 0


def open_pdf(file: File, work: Work) -> None:
    """See openers.Opener."""
    try:
        pdf = _opened(file, work)
    except pikepdf.PdfError:
        _by_patterns(file, work)
        if b"stream" in file.raw:  # may be compressed: patterns do not see what it holds
            raise
        work.found(file, "PDF_BROKEN", "searched as it stands")
        return
    if pdf is None:
        return
    with pdf:
        walk = _Walk(file, work)
        _catalogue(walk, pdf)
        _objects(walk, pdf)
        _cover(walk, pdf)


def prepare() -> None:
    """Read a little PDF of each kind, so that nothing is left to be imported."""
    prepare_streams()
    for encryption in (
        False,
        pikepdf.Encryption(owner="o", user="u", R=6),
        pikepdf.Encryption(owner="o", user="u", R=4),
    ):
        with pikepdf.new() as pdf:
            pdf.add_blank_page()
            pdf.Root.OpenAction = Dictionary(S=Name.JavaScript, JS=pdf.make_stream(b"1"))
            pdf.Root.AcroForm = Dictionary(XFA=Array([String("a"), pdf.make_stream(b"<a/>")]))
            out = io.BytesIO()
            pdf.save(out, encryption=encryption, object_stream_mode=pikepdf.ObjectStreamMode.generate)
        file = File("a.pdf", out.getvalue(), "application/pdf")
        open_pdf(file, Work(file, passwords=["x", "u"]))
        broken = File("a.pdf", out.getvalue()[:-40], "application/pdf")
        with contextlib.suppress(pikepdf.PdfError):
            open_pdf(broken, Work(broken, passwords=["u"]))


def _opened(file: File, work: Work) -> pikepdf.Pdf | None:
    """With the empty password, or one that the mail gives; None, and reported, when none opens it."""
    for number, password in enumerate(("", *work.passwords)):
        try:
            pdf = pikepdf.open(io.BytesIO(file.raw), password=password, inherit_page_attributes=False)
        except pikepdf.PasswordError:
            continue
        if number:
            work.found(file, "PDF_PASSWORD", "opened with a password of the mail")
        return pdf
    work.found(file, "PDF_ENCRYPTED", f"{len(work.passwords)} passwords tried")
    return None


def _by_patterns(file: File, work: Work) -> None:
    """Of a file that cannot be mended: what stands in it for all to see. Some readers are more patient."""
    shown = _HASHED.sub(lambda match: bytes([int(match[1], 16)]), file.raw[:PLAIN])
    for symbol, pattern in _PLAINLY:
        if match := pattern.search(shown):
            work.found(file, symbol, f"in a broken file: {match[0][:60].decode('latin-1')}")


def _catalogue(walk: _Walk, pdf: pikepdf.Pdf) -> None:
    root = pdf.trailer.get("/Root")
    if not isinstance(root, Dictionary):
        return
    action = root.get("/OpenAction")
    if isinstance(action, Dictionary):
        _runs_by_itself(walk, action, "OpenAction")
    _additional(walk, root, "catalogue")
    for name in ("/OpenAction", "/AA", "/Names", "/AcroForm"):
        if (value := root.get(name)) is not None:
            _node(walk, value, 0, formatting=name == "/AcroForm")


def _additional(walk: _Walk, owner: Dictionary, what: str) -> None:
    """Actions that events of a document or page set off (§12.6.3)."""
    actions = owner.get("/AA")
    if isinstance(actions, Dictionary):
        for event in list(actions.keys())[:10]:
            if isinstance(action := actions.get(event), Dictionary):
                _runs_by_itself(walk, action, f"{what} {event}")


def _runs_by_itself(walk: _Walk, action: Dictionary, when: str) -> None:
    kind = str(action.get("/S", ""))
    if kind in _RUNS:
        walk.work.found(walk.file, "PDF_OPEN_ACTION", f"{when}: {kind}")


def _objects(walk: _Walk, pdf: pikepdf.Pdf) -> None:
    """All other objects, in their order; of each only what `_OF_INTEREST` finds in it is walked."""
    end = time.process_time() + SECONDS
    entries = pdf.get_xref_table()
    for count, key in enumerate(entries):
        if count >= OBJECTS or (count % 256 == 0 and time.process_time() > end):
            walk.work.found(walk.file, "PDF_MANY_OBJECTS", f"{len(entries)} objects, {count} looked at")
            return
        one = pdf.get_object(key)
        if isinstance(one, Stream):
            shown = one.stream_dict.unparse(resolved=True)
        elif isinstance(one, Dictionary | Array):
            shown = one.unparse(resolved=True)
        else:
            continue
        if _OF_INTEREST.search(shown):
            _node(walk, one, 0, formatting=False)


def _node(walk: _Walk, value: object, depth: int, *, formatting: bool) -> None:
    """One dictionary or array and what lies below. `formatting`: it belongs to a form's fields."""
    if not isinstance(value, Dictionary | Array | Stream) or depth > DEPTH or walk.nodes >= NODES:
        return
    if value.is_indirect:
        if value.objgen in walk.seen:
            return
        walk.seen.add(value.objgen)
    walk.nodes += 1
    if isinstance(value, Array):
        for index in range(min(len(value), NODES)):
            if walk.nodes >= NODES:
                return
            _node(walk, value[index], depth + 1, formatting=formatting)
        return
    entries = value.stream_dict if isinstance(value, Stream) else value
    _facts(walk, entries, formatting=formatting)
    for name in list(entries.keys()):
        if name not in ("/Parent", "/P", "/Dest", "/Resources"):
            inner = formatting or name in ("/Fields", "/Kids")
            _node(walk, entries.get(name), depth + 1, formatting=inner)


def _facts(walk: _Walk, entries: Dictionary, *, formatting: bool) -> None:
    kind = str(entries.get("/S", ""))
    subtype = str(entries.get("/Subtype", ""))
    if "/JS" in entries:
        _script(walk, entries.get("/JS"), formatting=formatting)
    if kind == "/Launch" and _is_paper(entries):
        _remote(walk, entries)
    elif kind == "/Launch":
        walk.work.found(walk.file, "PDF_LAUNCH", _program(entries))
    elif kind in ("/GoToR", "/GoToE"):
        _remote(walk, entries)
    elif kind in ("/SubmitForm", "/ImportData"):
        target = _path(entries.get("/F"))
        walk.work.found(walk.file, "PDF_SUBMIT_FORM", f"{kind[1:]} {target}")
        _network(walk, target)
    elif kind == "/URI":
        _link(walk, _text(entries.get("/URI")))
    if subtype in ("/RichMedia", "/3D", "/Movie", "/Sound"):
        walk.work.found(walk.file, "PDF_RICH_MEDIA", subtype[1:])
    if "/EF" in entries:
        _embedded(walk, entries)
    if "/XFA" in entries:
        _xfa(walk, entries.get("/XFA"))
    if "/AA" in entries and str(entries.get("/Type", "")) == "/Page":
        _additional(walk, entries, "page")


def _script(walk: _Walk, value: object, *, formatting: bool) -> None:
    source = content_of(value, SCRIPT_LIMIT) if isinstance(value, Stream) else _text(value).encode("utf-8", "replace")
    _judge(walk, source, "PDF_FIELD_SCRIPT" if formatting else "PDF_JAVASCRIPT")


def _judge(walk: _Walk, source: bytes, symbol: str) -> None:
    verdict = verdict_of(source)
    if verdict.formats_only:
        walk.work.found(walk.file, "PDF_FIELD_SCRIPT", verdict.shown)
        return
    walk.work.found(walk.file, symbol, verdict.shown)
    if verdict.suspicious:
        walk.work.found(walk.file, "PDF_JAVASCRIPT_SUSPICIOUS", verdict.suspicious)
    digest = hashlib.sha256(source).digest()
    if digest not in walk.digests and walk.scripts < SCRIPTS:
        walk.digests.add(digest)
        walk.scripts += 1
        walk.work.add(walk.file, f"script {walk.scripts}", source, via="script")


def _xfa(walk: _Walk, value: object) -> None:
    """Scripts of an XML form: its parts are streams in an array, or one stream."""
    parts = [value[index] for index in range(min(len(value), 40))] if isinstance(value, Array) else [value]
    for part in parts:
        if isinstance(part, Stream):
            for match in _XFA_SCRIPT.finditer(content_of(part, SCRIPT_LIMIT)):
                _judge(walk, match[1], "PDF_XFA_SCRIPT")


def _embedded(walk: _Walk, entries: Dictionary) -> None:
    files = entries.get("/EF")
    if not isinstance(files, Dictionary):
        return
    name = _text(entries.get("/UF")) or _text(entries.get("/F")) or "file"
    for key in ("/F", "/UF", "/DOS", "/Unix", "/Mac"):
        stream = files.get(key)
        if not isinstance(stream, Stream) or (stream.is_indirect and stream.objgen in walk.seen):
            continue
        if stream.is_indirect:
            walk.seen.add(stream.objgen)
        most = walk.work.may_hold(walk.file, -1)
        raw = content_of(stream, most + 1)
        if len(raw) > most:
            walk.work.may_hold(walk.file, len(raw))
        walk.work.found(walk.file, "PDF_EMBEDDED_FILE", name)
        declared = str(stream.stream_dict.get("/Subtype", "")).lstrip("/")
        walk.work.add(walk.file, name, raw, declared=declared if "/" in declared else "")


def _program(action: Dictionary) -> str:
    """The program that a launch action names, with its parameters (§12.6.4.6)."""
    shown = [_path(action.get("/F"))]
    for system in ("/Win", "/Unix", "/Mac"):
        if isinstance(parameters := action.get(system), Dictionary):
            shown += [_path(parameters.get("/F")), _text(parameters.get("/P"))]
    return " ".join(filter(None, shown)) or "nothing named"


def _is_paper(action: Dictionary) -> bool:
    """Whether a launch action opens another document beside the PDF, as typesetting programs write links between them."""
    if any(isinstance(action.get(system), Dictionary) for system in ("/Win", "/Unix", "/Mac")):
        return False
    return bool(_PAPER.fullmatch(_path(action.get("/F"))))


def _remote(walk: _Walk, action: Dictionary) -> None:
    target = _path(action.get("/F"))
    if target:
        walk.work.found(walk.file, "PDF_REMOTE_GO_TO", target)
        _network(walk, target)


def _network(walk: _Walk, target: str) -> None:
    """A share of another computer: Windows hands the reader's credentials to it as soon as it is asked for."""
    if target.startswith(("\\\\", "//", "file://")):
        walk.work.found(walk.file, "PDF_NETWORK_SHARE", target)
    elif _ELSEWHERE.match(target):
        _link(walk, target)


def _link(walk: _Walk, url: str) -> None:
    if url and walk.links < LINKS:
        walk.links += 1
        walk.work.link(walk.file, url)
        _network_link(walk, url)


def _network_link(walk: _Walk, url: str) -> None:
    if url.startswith(("\\\\", "file://")):
        walk.work.found(walk.file, "PDF_NETWORK_SHARE", url)
    elif url.lower().startswith("javascript:"):
        _judge(walk, url.encode("utf-8", "replace"), "PDF_JAVASCRIPT")


def _path(value: object) -> str:
    """A file's or page's name, plain or in a file specification (§7.11)."""
    if isinstance(value, Dictionary):
        return _text(value.get("/UF")) or _text(value.get("/F")) or _text(value.get("/Unix"))
    return _text(value)


def _text(value: object) -> str:
    if isinstance(value, String):
        return str(value).replace("\0", "")
    return ""


def _cover(walk: _Walk, pdf: pikepdf.Pdf) -> None:
    """Whether one link lies over most of the only page, or of the first of two: the shape of phishing."""
    pages = list(_first_pages(pdf, 3))
    if not 1 <= len(pages) <= 2:
        return
    page = pages[0]
    annotations = page.get("/Annots")
    if not isinstance(annotations, Array) or len(annotations) > 5:
        return
    box = _area(page.get("/MediaBox")) or _BOX
    for index in range(len(annotations)):
        one = annotations[index]
        if isinstance(one, Dictionary) and isinstance(action := one.get("/A"), Dictionary) and "/URI" in action:
            area = _area(one.get("/Rect"))
            if area >= box / 2:
                walk.work.found(walk.file, "PDF_LINK_OVER_PAGE", _text(action.get("/URI")))


def _first_pages(pdf: pikepdf.Pdf, limit: int) -> Iterator[Dictionary]:
    """Leaves of the tree of pages, without its count, which may lie."""
    root = pdf.trailer.get("/Root")
    waiting: list[object] = [root.get("/Pages")] if isinstance(root, Dictionary) else []
    found = visited = 0
    while waiting and found < limit and visited < 200:
        node = waiting.pop()
        visited += 1
        if not isinstance(node, Dictionary):
            continue
        kids = node.get("/Kids")
        if isinstance(kids, Array):
            waiting.extend(kids[index] for index in reversed(range(min(len(kids), 20))))
        else:
            found += 1
            yield node


def _area(rectangle: Object | Mapping[str, object] | None) -> float:
    if not isinstance(rectangle, Array) or len(rectangle) != 4:
        return 0.0
    try:
        left, lower, right, upper = (float(str(rectangle[index])) for index in range(4))
    except ValueError:
        return 0.0
    return abs(right - left) * abs(upper - lower)
