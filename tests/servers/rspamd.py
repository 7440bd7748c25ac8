"""A private rspamd on a loopback port, with two rules of the tests' own."""

from __future__ import annotations

import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.ports import accepts, free_port, wait_until

_CONFIG = """\
options {{
    pidfile = "{root}/rspamd.pid";
    control_socket = "{root}/control.sock mode=0600";
    hs_cache_dir = "{root}";
    temp_dir = "{root}";
    filters = "";
    disable_hyperscan = true;
    dns {{ nameserver = ["127.0.0.1:1"]; timeout = 0.1s; retransmits = 1; }}
    url_tld = "{root}/suffixes.dat";
}}
logging {{ type = "file"; filename = "{root}/log"; level = "info"; }}
metric {{ name = "default"; actions {{ reject = 15; add_header = 6; }} }}
lua = "{root}/rules.lua";
worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; }}
"""
_RULES = """\
local function symbol(name, score, seen)
  rspamd_config:register_symbol({ name = name, type = 'normal', score = score, callback = seen })
end
symbol('TEST_WINNER', 7.5, function(task)
  if (task:get_subject() or ''):find('winner') then return true, 1.0, 'winner' end
end)
symbol('TEST_ENVELOPE', 0.0, function(task)
  local from, rcpt = task:get_from('smtp'), task:get_recipients('smtp')
  return true, 1.0, { tostring(task:get_from_ip()), task:get_helo() or '', (from and from[1] or {}).addr or '',
    (rcpt and rcpt[1] or {}).addr or '' }
end)
"""


def is_installed() -> bool:
    """Whether the package is there."""
    return shutil.which("rspamd") is not None


@contextmanager
def private_rspamd(root: Path) -> Iterator[str]:
    """The address of an rspamd that is stopped in the end."""
    port = free_port()
    (root / "suffixes.dat").write_text("com\ntest\nexample\n")  # the whole list takes it seconds to compile
    (root / "rules.lua").write_text(_RULES)
    (root / "rspamd.conf").write_text(_CONFIG.format(root=root, port=port))
    # As root it wants to become another user, unless it is told that this is no production.
    command = ["rspamd", "--no-fork", "--insecure", "--config", str(root / "rspamd.conf")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: accepts(port) and _pings(port), what=f"rspamd on port {port}")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _pings(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
