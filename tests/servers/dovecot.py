"""A private Dovecot that takes mail by LMTP (RFC 2033), on a port of loopback and on a socket, into maildirs."""

from __future__ import annotations

import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.ports import accepts, free_port, wait_until

_CONF = """\
protocols = lmtp
base_dir = {root}/run
state_dir = {root}/state
instance_name = {root}
listen = 127.0.0.1
log_path = {root}/log
ssl = no
auth_mechanisms = plain
mail_location = maildir:~/Maildir
mail_plugins = quota
default_internal_user = {user}
default_login_user = {user}
service lmtp {{
  client_limit = 1
  unix_listener {root}/lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
}}
userdb {{
  driver = passwd-file
  args = {root}/users
}}
passdb {{
  driver = static
  args = nopassword=y
}}
protocol lmtp {{
  auth_username_format = %Ln
  mail_plugins = quota
  postmaster_address = postmaster@client.test
  hostname = mail.client.test
}}
recipient_delimiter = +
lmtp_rcpt_check_quota = no
plugin {{
  quota = count:User quota
  quota_vsizes = yes
  quota_grace = 0
}}
"""


@dataclass(frozen=True)
class Dovecot:
    """A running Dovecot: `port` and `path` take LMTP. `root` holds its configuration, log and maildirs."""

    root: Path
    port: int

    @property
    def path(self) -> Path:
        """Its socket."""
        return self.root / "lmtp"

    def mails(self, user: str) -> list[bytes]:
        """What was delivered to a user, oldest first."""
        folder = self.root / "mail" / user / "Maildir" / "new"
        return [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []

    def give_quota(self, full: Sequence[str]) -> None:
        """Let no more mail fit into the mailboxes of these users."""
        owner = pwd.getpwnam("nobody")
        lines = []
        for folder in sorted((self.root / "mail").iterdir()):
            quota = "userdb_quota_rule=*:bytes=1" if folder.name in full else ""
            lines.append(f"{folder.name}::{owner.pw_uid}:{owner.pw_gid}::{folder}::{quota}\n")
        (self.root / "users").write_text("".join(lines))

    def log(self) -> str:
        """All it said."""
        path = self.root / "log"
        return path.read_text(errors="replace") if path.exists() else ""


def installed() -> bool:
    """Whether Dovecot's LMTP server is there."""
    return shutil.which("dovecot") is not None and Path("/usr/lib/dovecot/lmtp").exists()


@contextmanager
def running_dovecot(users: Sequence[str], *, full: Sequence[str] = ()) -> Iterator[Dovecot]:
    """A Dovecot with these users, as root; the mailboxes of those who are `full` take nothing."""
    root = Path(tempfile.mkdtemp(prefix="mg-dovecot-", dir="/tmp"))
    root.chmod(0o755)  # Dovecot's users must pass through
    try:
        for user in users:
            folder = root / "mail" / user
            folder.mkdir(parents=True)
            shutil.chown(folder, "nobody", "nogroup")
        server = Dovecot(root, free_port())
        server.give_quota(full)
        config = root / "dovecot.conf"
        config.write_text(_CONF.format(root=root, port=server.port, user="dovecot"))
        process = subprocess.Popen(
            ["dovecot", "-F", "-c", str(config)], stdout=subprocess.DEVNULL, stderr=(root / "errors").open("wb")
        )
        try:
            wait_until(
                lambda: process.poll() is not None or (accepts(server.port) and server.path.exists()),
                what="Dovecot taking mail",
            )
            if process.poll() is not None:
                raise RuntimeError(f"Dovecot did not start: {(root / 'errors').read_text()}{server.log()}")
            yield server
        finally:
            process.terminate()
            process.wait(20)
    finally:
        shutil.rmtree(root, ignore_errors=True)
