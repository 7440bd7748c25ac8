"""A private Postfix on loopback: as the client's mail server (delivers into maildirs) or as a sender (relays to MailGuard)."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.ports import accepts, free_port, wait_until

_MASTER = """\
127.0.0.1:{port} inet n - n - 50 smtpd
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

_MAIN = """\
compatibility_level = 3.6
queue_directory = {root}/spool
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
data_directory = {root}/data
mail_owner = postfix
setgid_group = postdrop
myhostname = {hostname}
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
local_transport = error:none
maillog_file = {root}/maillog
maillog_file_prefixes = /var, /dev/stdout, {root}
smtpd_peername_lookup = no
disable_dns_lookups = yes
smtp_tls_security_level = may
in_flow_delay = 0
{more}
"""


@dataclass(frozen=True)
class Postfix:
    """A running Postfix. `root` holds its configuration, spool, log and maildirs."""

    root: Path
    port: int

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "MAIL_CONFIG": str(self.root / "etc")}

    def mails(self, domain: str, user: str) -> list[bytes]:
        """What was delivered to `user@domain`, as files of its maildir."""
        folder = self.root / "mail" / domain / user / "new"
        return [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []

    def send(self, sender: str, recipients: list[str], message: bytes) -> None:
        """Inject a mail by this Postfix's `sendmail`."""
        subprocess.run(
            ["/usr/sbin/sendmail", "-C", str(self.root / "etc"), "-i", "-f", sender, "--", *recipients],
            input=message,
            env=self.environment,
            check=True,
        )

    def log(self) -> str:
        path = self.root / "maillog"
        return path.read_text(errors="replace") if path.exists() else ""

    def queue(self) -> str:
        """The output of `postqueue -p`."""
        return subprocess.run(
            ["postqueue", "-p"], env=self.environment, capture_output=True, text=True, check=False
        ).stdout

    def command(self, verb: str) -> None:
        subprocess.run(["postfix", verb], env=self.environment, capture_output=True, check=True)


USERS = ("u", "v", "postmaster", "abuse", *(f"u{n}" for n in range(10)))


@contextmanager
def running_postfix(**options: Any) -> Iterator[Postfix]:
    """A Postfix that is stopped in the end; `options` as of `start_postfix`."""
    # Not pytest's folder: that is private to one user, and every new run of pytest makes sure that it is.
    root = Path(tempfile.mkdtemp(prefix="mg-postfix-", dir="/tmp"))
    server = None
    try:
        server = start_postfix(root, **options)
        yield server
    finally:
        if server:
            stop_postfix(server)
        shutil.rmtree(root, ignore_errors=True)


def start_postfix(
    root: Path,
    *,
    hostname: str,
    domains: tuple[str, ...] = (),
    users: tuple[str, ...] = USERS,
    relay_to: int = 0,
    more: str = "",
) -> Postfix:
    """Start a Postfix under `root`, which everybody must be able to enter: the mail server of `users` at `domains`, or with `relay_to` a sender to that port."""
    port = free_port()
    etc = root / "etc"
    shutil.copytree("/etc/postfix", etc, dirs_exist_ok=True)
    for folder in ("spool", "data", "mail"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    root.chmod(0o755)  # Postfix's users must pass through
    shutil.chown(root / "data", "postfix")
    shutil.chown(root / "mail", "nobody", "nogroup")
    if relay_to:
        more += f"\nrelayhost = [127.0.0.1]:{relay_to}\n"
    if domains:
        more += "\n".join(
            [
                "",
                f"virtual_mailbox_domains = {' '.join(domains)}",
                f"virtual_mailbox_base = {root}/mail",
                f"virtual_mailbox_maps = texthash:{etc}/mailboxes",
                "virtual_uid_maps = static:65534",
                "virtual_gid_maps = static:65534",
                "virtual_minimum_uid = 100",
                "virtual_transport = virtual",
                "smtpd_recipient_restrictions = reject_unlisted_recipient, reject_unauth_destination",
            ]
        )
        (etc / "mailboxes").write_text("".join(f"{u}@{d} {d}/{u}/\n" for d in domains for u in users))
    (etc / "main.cf").write_text(_MAIN.format(root=root, hostname=hostname, more=more))
    (etc / "master.cf").write_text(_MASTER.format(port=port))
    server = Postfix(root, port)
    server.command("start")
    wait_until(lambda: accepts(port), what=f"Postfix on port {port}")
    return server


def stop_postfix(server: Postfix) -> None:
    """Stop it; idempotent."""
    subprocess.run(["postfix", "stop"], env=server.environment, capture_output=True, check=False)
