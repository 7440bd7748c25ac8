"""A private spamd (SpamAssassin) on a socket, with two rules of the tests' own."""

from __future__ import annotations

import os
import shutil
import socket as sockets
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.ports import wait_until

_RULES = """\
required_score 5
use_bayes 0
util_rb_tld test com
header TEST_WINNER Subject =~ /winner/i
score TEST_WINNER 7.5
header TEST_CLIENT X-Spam-Relays-External =~ / ip=8\\.8\\.4\\.4 .* helo=mx\\.sender\\.test /
score TEST_CLIENT 0.1
header TEST_SENDER Return-Path =~ /ann@sender\\.test/
score TEST_SENDER 0.1
"""


def is_installed() -> bool:
    """Whether the package is there."""
    return shutil.which("spamd") is not None


@contextmanager
def private_spamd() -> Iterator[str]:
    """The address of a spamd that is stopped in the end."""
    # Not pytest's folder: that is private to one user, and spamd becomes another.
    with tempfile.TemporaryDirectory(prefix="mg-spamd-", dir="/tmp") as folder:
        root = Path(folder)
        root.chmod(0o755)
        socket = root / "spamd.sock"
        process = subprocess.Popen(_command(root, socket), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: _pings(socket), what=f"spamd at {socket}")
            yield str(socket)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _command(root: Path, socket: Path) -> list[str]:
    rules = root / "rules"
    rules.mkdir()
    (rules / "init.pre").write_text("loadplugin Mail::SpamAssassin::Plugin::Check\n")
    (rules / "local.cf").write_text(_RULES)
    children = ["--max-children=1", "--min-children=1", "--min-spare=1", "--max-spare=1"]
    user = ["--username=nobody"] if os.geteuid() == 0 else []
    return [
        "spamd", "--local", *children, *user, "--nouser-config", f"--socketpath={socket}", f"--syslog={root}/log",
        f"--configpath={rules}", f"--siteconfigpath={rules}", f"--helper-home-dir={root}",
    ]  # fmt: skip


def _pings(path: Path) -> bool:
    with sockets.socket(sockets.AF_UNIX) as client:
        client.settimeout(5)
        try:
            client.connect(str(path))
            client.sendall(b"PING SPAMC/1.5\r\n\r\n")
            return b"PONG" in client.recv(100)
        except OSError:
            return False
