"""Which opener looks into which kind of file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from mailguard.sandbox.unpack import (
    archives,
    arj,
    cards,
    deflate64,
    disks,
    encoded,
    encrypted,
    mail,
    office_flat,
    office_ole,
    office_xml,
    onenote,
    outlook,
    page,
    pdf,
    pkcs7,
    rtf,
    seven,
    shortcuts,
    tnef,
    zip_views,
)
from mailguard.sandbox.unpack.work import File, Work

Opener = Callable[[File, Work], None]
"""Reports what is in a file and adds what lies within. Raises whatever it likes for a broken one; ExhaustedError goes up."""

_OFFICE: Mapping[str, Sequence[Opener]] = {
    "application/vnd.ms-outlook": (outlook.open_message, office_ole.open_ole),
    "application/x-msi": (outlook.open_installer,),
    "application/x-iso9660-image": (disks.report_image, archives.open_archive),
    "application/x-udf": (disks.open_udf,),
    **dict.fromkeys(
        (
            "application/x-vhd",
            "application/x-vhdx",
            "application/x-vmdk",
            "application/x-qcow2",
            "application/x-fat-image",
            "application/x-raw-disk-image",
            "application/x-apple-diskimage",
        ),
        (disks.open_disk,),
    ),
    "application/rtf": (rtf.open_rtf,),
    "application/onenote": (onenote.open_onenote,),
    "application/x-office-xml": (office_flat.open_flat,),
    "application/x-ms-shortcut": (shortcuts.open_shortcut,),
    "text/plain": (shortcuts.open_text_shortcut, encoded.open_text),
    "text/x-base64": (encoded.open_base64,),
    "text/x-uuencode": (encoded.open_uuencode,),
    "application/mac-binhex40": (encoded.open_binhex,),
    **dict.fromkeys(
        (
            "text/x-sylk",
            "text/x-ms-iqy",
            "application/x-mswinurl",
            "application/windows-library+xml",
            "application/windows-settings+xml",
        ),
        (shortcuts.open_text_shortcut,),
    ),
    **dict.fromkeys(
        (
            "application/x-ole-storage",
            "application/x-ole-encrypted",
            "application/x-ole-package",
            "application/msword",
            "application/vnd.ms-excel",
            "application/vnd.ms-powerpoint",
            "application/vnd.ms-publisher",
            "application/vnd.visio",
        ),
        (office_ole.open_ole,),
    ),
    **dict.fromkeys(
        (
            "application/vnd.openxmlformats-officedocument",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            "application/vnd.openxmlformats-officedocument.presentationml.presentation",
            "application/vnd.ms-visio.drawing",
            "application/vnd.ms-package",
            "application/vnd.oasis.opendocument",
        ),
        (office_xml.open_package,),
    ),
}

_PAGES: Mapping[str, Sequence[Opener]] = {
    "application/pdf": (pdf.open_pdf,),
    "text/html": (page.open_page,),
    "image/svg+xml": (page.open_page,),
    "message/rfc822": (mail.open_mail,),
    "multipart/related": (mail.open_mail,),
    "application/vnd.ms-tnef": (tnef.open_tnef,),
    "text/calendar": (cards.open_card,),
    "text/vcard": (cards.open_card,),
    "application/pkcs7-mime": (pkcs7.open_pkcs7,),
    "application/pgp-encrypted": (pkcs7.open_pgp,),
    "application/pgp-signature": (pkcs7.open_signature,),
}

_ARCHIVES: Mapping[str, Sequence[Opener]] = {
    **dict.fromkeys(
        (
            "application/zip",
            "application/java-archive",
            "application/vnd.android.package-archive",
            "application/epub+zip",
            "application/vnd.ms-appx",
            "application/x-rar",
            "application/x-7z-compressed",
            "application/x-tar",
            "application/x-cpio",
            "application/x-archive",
            "application/vnd.debian.binary-package",
            "application/x-rpm",
            "application/vnd.ms-cab-compressed",
            "application/x-iso9660-image",
            "application/x-lzh",
            "application/x-xar",
            "application/warc",
        ),
        (archives.open_archive,),
    ),
    "application/x-arj": (arj.open_arj,),
    **dict.fromkeys(
        (
            "application/gzip",
            "application/x-bzip2",
            "application/x-xz",
            "application/zstd",
            "application/x-lzma",
            "application/x-lz4",
            "application/x-lzip",
            "application/x-lzop",
            "application/x-compress",
        ),
        (archives.open_compressed,),
    ),
    **dict.fromkeys(
        (
            "application/x-ace",
            "application/x-alz",
            "application/x-egg",
            "application/x-zoo",
            "application/x-stuffit",
            "application/x-ms-wim",
            "application/x-lrzip",
            "application/x-ms-compress-szdd",
            "application/vnd.ms-htmlhelp",
            "application/x-installshield",
            "application/x-sis",
            "text/x-yenc",
        ),
        (archives.mark_unopened,),
    ),
}

OPENERS: Mapping[str, Sequence[Opener]] = MappingProxyType({**_ARCHIVES, **_OFFICE, **_PAGES})
"""By MIME type, as kinds.kind_of tells it; all of a kind's openers look, in this order."""

OF_ANY: Sequence[Opener] = (archives.open_second_kind, disks.open_second_image, zip_views.compare_views)
"""What looks at every file, whatever its kind, before the openers of its kind."""

PREPARE: Sequence[Callable[[], None]] = (
    deflate64.prepare,
    archives.prepare,
    seven.prepare,
    pdf.prepare,
    page.prepare,
    mail.prepare,
    cards.prepare,
    encrypted.prepare,
    office_xml.prepare,
)
"""What each format's module does before the process gives up its rights: import all that it imports when first needed, open
what it opens. Afterwards no file can be opened, and no memory become code."""


def prepare() -> None:
    """Do all of PREPARE."""
    for one in PREPARE:
        one()
