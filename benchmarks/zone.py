"""The DNS of the bench: sender domains with SPF, DKIM key and DMARC, all other names NXDOMAIN. unbound, or else our own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.host import wait_until
from benchmarks.judge_cpu import Signer
from tests.dns_server import DnsServer
from tests.servers.ports import accepts, free_port

_CONFIG = """\
server:
  interface: 127.0.0.1@{port}
  access-control: 127.0.0.0/8 allow
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{root}"
  pidfile: ""
  use-syslog: no
  logfile: "{root}/unbound.log"
  module-config: "iterator"
  local-zone: "." static
{data}
remote-control:
  control-enable: no
"""


@contextmanager
def serving(signers: Sequence[Signer], root: Path) -> Iterator[str]:
    """`host:port` of a name server that knows the signers' domains."""
    names: dict[str, dict[str, list[str]]] = {"mail.sender.test": {"A": ["127.0.0.1"]}}
    for signer in signers:
        names[signer.domain] = {"TXT": ["v=spf1 ip4:127.0.0.0/8 -all"], "A": ["127.0.0.1"]}
        names[f"_dmarc.{signer.domain}"] = {"TXT": [f"v=DMARC1; p=reject; rua=mailto:d@{signer.domain}"]}
        names[f"bench._domainkey.{signer.domain}"] = {"TXT": [signer.record]}
    if not shutil.which("unbound"):
        with DnsServer(names, ttl=3600) as server:
            yield server.address
        return
    root.mkdir(parents=True, exist_ok=True)
    port, config = free_port(), root / "unbound.conf"
    config.write_text(_CONFIG.format(port=port, root=root, data="\n".join(_lines(names))))
    process = subprocess.Popen(["unbound", "-c", config])
    try:
        wait_until(lambda: accepts(port), seconds=30, what="unbound")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _lines(names: dict[str, dict[str, list[str]]]) -> Iterator[str]:
    for name, records in names.items():
        for kind, values in records.items():
            for value in values:
                text = " ".join(f'"{value[at : at + 250]}"' for at in range(0, len(value), 250))
                yield f"  local-data: '{name}. 3600 {kind} {text if kind == 'TXT' else value}'"
