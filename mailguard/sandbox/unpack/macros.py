"""What macros do: whether they start by themselves, and what they reach for. Of VBA and of Basic in OpenDocument alike."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable

from mailguard.sandbox.unpack.work import File, Work

_AUTOEXEC = re.compile(
    r"\b(?:Sub|Function)\s+((?:Auto_?(?:Exec|Open|Close|Exit|New)"
    r"|Document_?(?:Open|New|Close|BeforeClose|ContentControlOnEnter|Change|SyncXML)|DocumentOpen|DocumentChange"
    r"|Workbook_(?:Open|Activate|Deactivate|Close|BeforeClose|BeforePrint|SheetActivate|WindowActivate)"
    r"|Worksheet_(?:Activate|Calculate|Change|SelectionChange)|(?:NewDocument|WorkbookOpen|PresentationOpen)"
    r"|Presentation_Open|Slide_?Show\w{0,20}|On_?Slide_?Show\w{0,20}|App_(?:Document|Workbook|Presentation)Open"
    r"|\w{1,40}_(?:Painted|Painting|GotFocus|LostFocus|Layout|Resize|MouseMove|MouseEnter|MouseHover|"
    r"BeforeNavigate2|DocumentComplete|DownloadBegin|DownloadComplete|FileDownload|NavigateComplete2|ProgressChange"
    r"|StatusTextChange|TitleChange|OnConnecting|OnDisconnected)))\s*\(",
    re.IGNORECASE,
)
"""Entry points that the program calls when a document is opened, shown, changed or closed."""

# What reaches out of the document, as it stands in a macro; each with the word that is told of it.
_STARTS: tuple[tuple[str, str], ...] = (
    ("Shell", r"\bShell\s*[\s(\"]|\bShell\$|\.Shell\b"),
    ("WScript.Shell", r"WScript\.Shell|Wscr\w{0,3}\.Sh"),
    ("Shell.Application", r"Shell\.Application"),
    ("ShellExecute", r"\bShellExecute\w?\b|\.ShellExecute"),
    ("CreateProcess", r"\bCreateProcess\w?\b"),
    ("WinExec", r"\bWinExec\b"),
    ("PowerShell", r"\bpwsh\b|power\W{0,3}shell"),
    ("cmd", r"\bcmd(?:\.exe)?[\s\"]{1,3}/[ckrv]\b|%comspec%|\bcmd\.exe\b"),
    ("mshta", r"\bmshta\b"),
    ("rundll32", r"\brundll32\b"),
    ("regsvr32", r"\bregsvr32\b"),
    ("certutil", r"\bcertutil\b"),
    ("bitsadmin", r"\bbitsadmin\b"),
    ("wmic", r"\bwmic\b"),
    ("cscript", r"\b[cw]script(?:\.exe)?\s"),
    ("WMI", r"winmgmts:|Win32_Process(?:Startup)?\b"),
    ("URLDownloadToFile", r"\bURLDownloadTo\w{0,12}\b"),
    ("XMLHTTP", r"MSXML2?\.\w{0,8}XMLHTTP|Microsoft\.XMLHTTP|WinHttp\.WinHttpRequest|InternetExplorer\.Application"),
    ("ADODB.Stream", r"ADODB\.Stream"),
    ("VirtualAlloc", r"\b(?:VirtualAlloc(?:Ex)?|VirtualProtect|RtlMoveMemory|CreateThread|CreateRemoteThread)\b"),
    ("WriteProcessMemory", r"\bWriteProcessMemory\b|\bNtWriteVirtualMemory\b|\bEnumSystemLocales\w?\b"),
    ("ScriptControl", r"MSScriptControl|ScriptControl\.|\.ExecuteExcel4Macro|ExecuteExcel4Macro"),
    ("schtasks", r"\bschtasks\b|Schedule\.Service"),
    ("CLSID", r"\bnew:\{?[0-9A-F]{8}-"),
    ("MacScript", r"\bMacScript\s*\(|\bAppleScriptTask\b|\bpopen\b.{0,40}\bLib\b"),
)
"""What starts programs or fetches files."""
_REACHES: tuple[tuple[str, str], ...] = (
    ("CreateObject", r"\b(?:Create|Get)Object\s*\("),
    ("CallByName", r"\bCallByName\b"),
    ("Declare", r"\bDeclare\s+(?:PtrSafe\s+)?(?:Sub|Function)\b"),
    ("Environ", r"\bEnviron\$?\s*\("),
    ("write", r"\bFor\s+(?:Output|Binary|Append)\b|\.(?:SaveToFile|CreateTextFile|OpenTextFile)\b"),
    ("registry", r"\.Reg(?:Write|Delete)\b|\bSaveSetting\b|AccessVBOM"),
    ("VBProject", r"\.VBProject\b|\.VBComponents\b|\bCodeModule\b"),
    ("decoding", r"\bStrReverse\s*\(|bin\.base64|(?:\bChr[WB]?\$?\s*\(\s*[\d&H]{1,6}[^)]{0,20}\)\s*[&+]\s*){4}"),
)
"""What honest macros use as well."""
_RULES = [(word, re.compile(pattern, re.IGNORECASE), True) for word, pattern in _STARTS]
_RULES += [(word, re.compile(pattern, re.IGNORECASE), False) for word, pattern in _REACHES]

_COMPILED = frozenset(
    {
        "wscript",
        "shellexecute",
        "shellexecutea",
        "urldownloadtofilea",
        "urldownloadtofile",
        "createprocessa",
        "virtualalloc",
        "virtualallocex",
        "winexec",
        "rtlmovememory",
        "createthread",
        "winmgmts",
    }
)
_COMPILED_ENTRIES = frozenset({"autoopen", "auto_open", "document_open", "workbook_open", "autoexec", "autoclose"})

_COMMENT = re.compile(r"^[^\S\n]*(?:'|Rem\b)[^\n]*", re.IGNORECASE | re.MULTILINE)
_CONTINUED = re.compile(r"[^\S\n]_\r?\n[^\S\n]*")
_CHR = re.compile(r"\bChr[WB]?\$?\s*\(\s*(?:(\d{1,5})|&H([0-9A-F]{1,4}))&?\s*\)", re.IGNORECASE)
_JOINED = re.compile(r'"\s*[&+]\s*"')
_REVERSED = re.compile(r'StrReverse\s*\(\s*"([^"\n]{2,4000})"\s*\)', re.IGNORECASE)
_HEX = re.compile(r'"((?:[0-9A-Fa-f]{2}){8,4000})"')
_BASE64 = re.compile(r'"((?:[A-Za-z0-9+/]{4}){4,2000}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?)"')
TEXT_LIMIT = 1024 * 1024
"""Characters of macro text that are judged: what does harm stands in the first."""


def judge(
    file: File,
    work: Work,
    texts: Iterable[tuple[str, str]],
    *,
    extra: str = "",
    started: str = "",
) -> None:
    """Report what macros do. `texts` are (where, source); `extra` is other text of theirs, as in forms; `started` says what
    else than their names starts them, if anything does."""
    source = "\n".join(text for _, text in texts)[:TEXT_LIMIT]
    plain = _CONTINUED.sub(" ", source)
    plain = _COMMENT.sub("", plain)
    entries = list(dict.fromkeys(match[1] for match in _AUTOEXEC.finditer(plain)))[:6]
    if started:
        entries.append(started)
    everything = f"{plain}\n{extra}\n{revealed(plain)}"
    starts = [word for word, rule, strong in _RULES if strong and rule.search(everything)]
    reaches = [word for word, rule, strong in _RULES if not strong and rule.search(everything)]
    if entries:
        work.found(file, "OFFICE_MACRO_AUTOEXEC", ", ".join(entries))
    # One that honest macros use too is none; two of them are what is said of neither alone.
    suspicious = [*starts, *reaches] if starts or len(reaches) > 1 else []
    if suspicious:
        work.found(file, "OFFICE_MACRO_SUSPICIOUS", ", ".join(suspicious))
    if entries and starts:
        work.found(file, "OFFICE_MACRO_RUNS", f"{', '.join(entries)}: {', '.join(suspicious)}")


def judge_compiled(file: File, work: Work, names: frozenset[str], texts: Iterable[tuple[str, str]]) -> None:
    """Report macros whose compiled form does what their text does not say (VBA stomping): the text is what filters read."""
    source = "\n".join(text for _, text in texts).lower()
    calls = sorted(name for name in names & _COMPILED if name not in source)
    entries = sorted(name for name in names & _COMPILED_ENTRIES if name not in source)
    if calls and (entries or any(name in source for name in _COMPILED_ENTRIES)):
        work.found(file, "OFFICE_MACRO_STOMPED", ", ".join([*entries, *calls]))


def revealed(source: str) -> str:
    """Texts that a macro puts together, turns round or encodes, as far as that can be told without running it."""
    folded = _JOINED.sub("", _CHR.sub(_letter, source))
    out = [folded] if folded != source else []
    out += [match[1][::-1] for match in _REVERSED.finditer(folded)]
    for match in _HEX.finditer(folded):
        out.append(bytes.fromhex(match[1]).decode("latin-1"))
        out.append(out[-1][::-1])
    for match in _BASE64.finditer(folded):
        try:
            raw = base64.b64decode(match[1])
        except (binascii.Error, ValueError):
            continue
        out.append(raw.replace(b"\0", b"").decode("latin-1"))
    return "\n".join(out)[:TEXT_LIMIT]


def _letter(match: re.Match[str]) -> str:
    number = int(match[1]) if match[1] else int(match[2], 16)
    return f'"{chr(number)}"' if 32 <= number < 127 and number != 34 else '" "'
