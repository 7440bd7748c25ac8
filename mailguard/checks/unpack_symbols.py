"""Every symbol that taking attachments apart can report: the closed table. What the sandbox says beyond it is dropped.

Points are for what no honest file does (3 to 8); facts that honest files share have none or next to none.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mailguard.checks.attachments import SYMBOLS as NAMES
from mailguard.checks.html import SYMBOLS as HTML
from mailguard.checks.qr_links import SYMBOLS as CODES
from mailguard.checks.sandboxed import SYMBOLS as SANDBOXED

_UNPACK: Mapping[str, tuple[float, str]] = {
    "UNPACK_MALWARE": (0.0, "a virus signature matched in a file that was taken out of an attachment"),
    "UNPACK_BROKEN": (0.3, "a file is broken, so that it could not be looked into to its end"),
    "UNPACK_BOMB": (3.0, "a file swells to a size that only serves to stop who looks into it"),
    "UNPACK_TOO_MANY": (1.0, "an attachment holds more files than are looked into"),
    "UNPACK_TOO_DEEP": (1.5, "files lie deeper within each other than is looked into"),
    "UNPACK_TOO_LARGE": (0.3, "an attachment is too large to be looked into"),
    "UNPACK_TWO_KINDS": (2.5, "a file is of two kinds at once, so that programs disagree about what is in it"),
    "UNPACK_TRAILING_DATA": (0.5, "a file that is shown or read goes on after its end with another file"),
    "UNPACK_ENCODED": (0.5, "a text file holds another file in encoded form"),
    "UNPACK_ENCODED_EXECUTABLE": (3.0, "a text file holds a program in encoded form"),
    "YARA_UNFINISHED": (0.0, "a file is too large for the YARA rules, or was not reached in their time"),
}
"""Any file."""

_ARCHIVES: Mapping[str, tuple[float, str]] = {
    "ARCHIVE_ENCRYPTED": (1.0, "an archive is encrypted, and no password that the mail gives opens it"),
    "ARCHIVE_PASSWORD": (1.5, "an encrypted archive opens with a password that the mail gives"),
    "ARCHIVE_UNOPENED": (0.5, "an archive of a kind that is not opened"),
    "ARCHIVE_DISAGREES": (
        3.0,
        "an archive shows other files, sizes or methods to programs that read it from the front than from its directory",
    ),
    "ARCHIVE_SAME_NAMES": (2.0, "two different files in an archive have one name"),
    "ARCHIVE_OVERLAPS": (4.0, "files in an archive share their octets, as only bombs do"),
    "ARCHIVE_ITSELF": (4.0, "an archive holds itself, without end"),
    "ARCHIVE_PATH": (2.0, "a name in an archive leads out of the folder that it is unpacked into"),
    "ARCHIVE_UNUSUAL": (0.5, "an archive of a kind that is hardly ever sent but to get past filters"),
}

_OFFICE: Mapping[str, tuple[float, str]] = {
    "OFFICE_MACRO": (0.3, "a document has macros"),
    "OFFICE_MACRO_AUTOEXEC": (1.0, "macros of a document start when it is opened or closed"),
    "OFFICE_MACRO_SUSPICIOUS": (1.0, "macros of a document reach for programs, files or the network"),
    "OFFICE_MACRO_RUNS": (6.0, "macros of a document start by themselves and start programs or fetch files"),
    "OFFICE_MACRO_STOMPED": (4.0, "macros of a document do in their compiled form what their text does not say"),
    "OFFICE_MACRO_DISGUISED": (4.0, "a document has macros under a name that says that it has none"),
    "OFFICE_XLM": (1.5, "a workbook has macros of Excel 4"),
    "OFFICE_XLM_HIDDEN": (3.0, "a workbook has macros of Excel 4 in a sheet that is hidden"),
    "OFFICE_DDE": (1.0, "a document takes its content from another program (DDE)"),
    "OFFICE_DDE_RUNS": (6.0, "a document starts a program of the system by DDE"),
    "OFFICE_REMOTE_TEMPLATE": (4.0, "a document fetches its template, with its macros, from the web"),
    "OFFICE_TEMPLATE_SHARE": (0.5, "a document has its template on another machine, as a company's own do"),
    "OFFICE_REMOTE_OBJECT": (3.5, "a document fetches an object, frame or part from another machine when it is opened"),
    "OFFICE_REMOTE_IMAGE": (0.2, "a document fetches a picture from the web, which tells that it was opened"),
    "OFFICE_EXTERNAL_LINK": (0.0, "a document takes content from another file"),
    "OFFICE_EXPLOIT_SHAPE": (7.0, "a document has the form of an attack on the program that opens it"),
    "OFFICE_ATTACKED_CLASS": (3.0, "a document has an object of a class that hardly anything but attacks uses"),
    "OFFICE_EQUATION": (0.3, "a document has an equation of the old editor"),
    "OFFICE_EMBEDDED": (0.1, "a document holds another file"),
    "OFFICE_EMBEDDED_PROGRAM": (5.0, "a document holds a program, a script or a shortcut"),
    "OFFICE_LINKED_PROGRAM": (3.0, "a document holds a link to a program, shown as an object to open"),
    "OFFICE_ACTIVEX": (0.3, "a document has ActiveX controls"),
    "OFFICE_PASSWORD": (
        1.5,
        "an encrypted document opens with a password of the mail, or one that Office tries unasked",
    ),
    "OFFICE_ENCRYPTED": (1.0, "a document is encrypted, and no password that the mail gives opens it"),
}

_RTF: Mapping[str, tuple[float, str]] = {
    "RTF_OBJECT_UPDATE": (1.5, "an RTF file has objects that are opened with it, unasked"),
    "RTF_EXPLOIT_SHAPE": (7.0, "an RTF file has the form of an attack on the program that opens it"),
    "RTF_OBFUSCATED": (3.0, "an RTF file is written to be misread by filters"),
    "RTF_REMOTE_TEMPLATE": (5.0, "an RTF file fetches its template from the web"),
    "RTF_REMOTE_OBJECT": (4.0, "an RTF file fetches an object from another machine"),
}

_SHORTCUTS: Mapping[str, tuple[float, str]] = {
    "ONENOTE_EMBEDDED": (0.2, "a OneNote section holds a file"),
    "ONENOTE_EMBEDDED_PROGRAM": (6.0, "a OneNote section holds a program, a script or a shortcut"),
    "SHORTCUT": (1.0, "a shortcut, which opens something else"),
    "SHORTCUT_RUNS": (6.0, "a shortcut that makes a program of the system run what the shortcut says"),
    "SHORTCUT_REMOTE": (3.0, "a shortcut to another machine, or that fetches something from there"),
    "SHORTCUT_HIDDEN": (3.0, "a shortcut that hides what it does, or other files in it"),
    "OFFICE_QUERY": (3.0, "a file that makes Excel fetch and run what a page says"),
}

_PDF: Mapping[str, tuple[float, str]] = {
    "PDF_BROKEN": (0.2, "a PDF that no reader opens; nothing in it is packed, so it was searched as it stands"),
    "PDF_FIELD_SCRIPT": (0.0, "fields of a PDF's form have scripts"),
    "PDF_XFA_SCRIPT": (0.2, "a PDF's XML form has scripts"),
    "PDF_JAVASCRIPT": (0.5, "a PDF has a script"),
    "PDF_JAVASCRIPT_SUSPICIOUS": (3.0, "a PDF's script does what attacks do: it decodes, exports or leads elsewhere"),
    "PDF_OPEN_ACTION": (0.7, "a PDF runs something when it or a page is opened"),
    "PDF_LAUNCH": (4.0, "a PDF starts a program"),
    "PDF_NETWORK_SHARE": (
        4.0,
        "a PDF reaches for a share of another computer, which gives away the reader's credentials",
    ),
    "PDF_REMOTE_GO_TO": (0.3, "a PDF leads into another file"),
    "PDF_SUBMIT_FORM": (0.5, "a PDF sends its form, or takes its content from elsewhere"),
    "PDF_EMBEDDED_FILE": (0.0, "a PDF holds another file"),
    "PDF_RICH_MEDIA": (0.5, "a PDF holds media or 3-D content"),
    "PDF_LINK_OVER_PAGE": (1.0, "one link lies over most of a PDF's page"),
    "PDF_MANY_OBJECTS": (0.5, "a PDF has more objects than are looked at"),
    "PDF_PASSWORD": (1.0, "an encrypted PDF opens with a password that the mail gives"),
    "PDF_ENCRYPTED": (0.7, "a PDF is encrypted, and no password that the mail gives opens it"),
}

_PAGES: Mapping[str, tuple[float, str]] = {
    "PAGE_HIDES_FILE": (2.0, "a page holds a file in encoded form"),
    **{
        name: row
        for name, row in HTML.items()
        if name.startswith(("PAGE_", "SVG_")) or name in ("HIDDEN_TEXT_MOSTLY", "HIDDEN_WITHIN_WORDS")
    },
}
"""What acts in pages within other files has the names that it has in attached ones."""

_DISKS: Mapping[str, tuple[float, str]] = {
    "DISK_IMAGE": (1.5, "an image of a disk, which hides from Windows that what is in it came by mail"),
    "INSTALLER": (1.0, "an installer of Windows"),
    "INSTALLER_RUNS": (1.5, "an installer that runs programs or scripts of its own while it installs"),
}

SYMBOLS: Mapping[str, tuple[float, str]] = MappingProxyType(
    {
        **_UNPACK,
        **_ARCHIVES,
        **_OFFICE,
        **_RTF,
        **_SHORTCUTS,
        **_DISKS,
        **_PDF,
        **_PAGES,
        "QR_PICTURE_TOO_LARGE": CODES["QR_PICTURE_TOO_LARGE"],
        **NAMES,
        **SANDBOXED,
    }
)
"""Symbols with their default points, and what they mean. NAMES are reported of files within archives as of attached ones,
and of mails within files as of the mail itself."""
