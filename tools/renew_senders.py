"""Makes mailguard/checks/data/known.txt anew: well-known firms and their domains, from the npm package simple-icons (CC0).

Run it where npm is: `.venv/bin/python tools/renew_senders.py`. The other files of that folder are written by hand.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from mailguard.checks.identity_data import fold_name, organisation

TARGET = Path(__file__).resolve().parent.parent / "mailguard" / "checks" / "data" / "known.txt"
PACKAGE = "simple-icons"
HEADER = """\
# Well-known firms, projects and web sites: whose name it is, and its domain.
# Source: titles and source URLs of the npm package {package} {version} (licence CC0-1.0), those whose domain bears the name.
# Trademarks are their owners'. As of {date}. Made by tools/renew_senders.py.
"""


def main() -> int:
    """Fetch the package and write the file. Tells how many there are."""
    with tempfile.TemporaryDirectory() as folder:
        made = subprocess.run(
            ["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, capture_output=True, text=True
        )
        with tarfile.open(Path(folder) / made.stdout.split()[-1]) as archive:
            version = json.loads(_member(archive, "package/package.json"))["version"]
            icons = json.loads(_member(archive, "package/data/simple-icons.json"))
    known = dict(sorted(known_domains(icons)))
    lines = [f"{name} = {domain}" for domain, name in sorted(known.items(), key=lambda item: item[1].casefold())]
    header = HEADER.format(package=PACKAGE, version=version, date=datetime.datetime.now(datetime.UTC).date())
    TARGET.write_text(header + "\n".join(lines) + "\n", "utf-8")
    sys.stdout.write(f"{len(lines)} well-known domains in {TARGET.name}\n")
    return 0


def known_domains(icons: list[dict[str, str]]) -> Iterator[tuple[str, str]]:
    """(domain, name) of each icon whose source lies on a domain that bears its name."""
    for icon in icons:
        domain = organisation((urlsplit(icon["source"]).hostname or "").lower())
        label = fold_name(domain.partition(".")[0])
        name = fold_name(icon["title"])
        if len(label) >= 3 and (label == name or (len(name) >= 5 and name in label)):
            yield domain, icon["title"].replace("=", " ").strip()


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise FileNotFoundError(f"{PACKAGE} has no {name}")
    return file.read()


if __name__ == "__main__":
    sys.exit(main())
