"""A private OpenLDAP server on loopback, with a few people in it, LDAPS and STARTTLS."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mailguard.smtp.tls import self_made
from tests.servers.ports import accepts, free_port, wait_until

BASE = "dc=client,dc=test"
BIND_DN = f"cn=reader,{BASE}"
PASSWORD = "s3cret"  # of a server that lives for a test

_CONF = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile {root}/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
database mdb
suffix "{base}"
rootdn "{bind_dn}"
rootpw {password}
directory {root}/db
access to attrs=mail,entry by dn.exact="{bind_dn}" read by * none
access to * by * none
"""

_TOP = f"""\
dn: {BASE}
objectClass: dcObject
objectClass: organization
dc: client
o: Client

"""


@dataclass
class Slapd:
    """A server. `certificate` is its own authority, for the name `localhost`."""

    root: Path
    port: int
    tls_port: int
    certificate: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Listen, on the same ports as before."""
        urls = f"ldap://127.0.0.1:{self.port}/ ldaps://127.0.0.1:{self.tls_port}/"
        command = [program(), "-f", self.root / "slapd.conf", "-h", urls, "-d", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: accepts(self.port), what="slapd")

    def stop(self) -> None:
        """End it; what it holds stays."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None


def program() -> str:
    """The path of slapd, or nothing."""
    return shutil.which("slapd") or shutil.which("slapd", path="/usr/sbin:/usr/local/sbin") or ""


@contextmanager
def running_slapd(addresses: Sequence[str]) -> Iterator[Slapd]:
    """A server that knows a person with each of `addresses`."""
    root = Path(tempfile.mkdtemp(prefix="mg-slapd-"))
    certificate, key = self_made(root / "tls", hostname="localhost")
    server = Slapd(root, free_port(), free_port(), certificate)
    (root / "db").mkdir()
    (root / "slapd.conf").write_text(
        _CONF.format(root=root, certificate=certificate, key=key, base=BASE, bind_dn=BIND_DN, password=PASSWORD)
    )
    people = "".join(
        f"dn: uid=u{number},{BASE}\nobjectClass: inetOrgPerson\nuid: u{number}\ncn: U{number}\nsn: U{number}\nmail: {address}\n\n"
        for number, address in enumerate(addresses)
    )
    try:
        subprocess.run(
            [program(), "-T", "add", "-f", root / "slapd.conf"],
            input=(_TOP + people).encode(),
            check=True,
            capture_output=True,
        )
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(root, ignore_errors=True)
