"""The containers, without an engine: Dockerfiles, compose file, Prometheus, Grafana, clamd's settings, the systemd unit.

The tools are Debian's own (docker-compose, promtool, clamd, systemd-analyze); a test is skipped loudly where one is missing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dockerfile_parse import DockerfileParser
from prometheus_client import CollectorRegistry

from mailguard.checks.hashes_file import load_hashes
from mailguard.checks.rules_file import load_rules
from mailguard.checks.yara_file import load_yara
from mailguard.config import load_settings
from mailguard.ops.clamd_conf import clamd_problems
from mailguard.ops.metrics import Metrics
from mailguard.web.state import RelayState, StateCollector
from tests.servers.clamd import EICAR
from tests.servers.ports import free_port, wait_until
from tests.unit.test_docs import write_docs

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = [DOCKER / "Dockerfile", DOCKER / "clamav" / "Dockerfile"]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def tool(name: str) -> str:
    path = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip(f"TOOL MISSING: {name} is not installed, so this was not tested (`make test` installs it)")
    return path


def run(*command: str | Path, cwd: Path | None = None, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        check=False,
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


# --- Dockerfiles -----------------------------------------------------------------------------------------------------


def instructions(file: Path, tmp_path: Path) -> list[tuple[str, str]]:
    # The parser makes its cache beside the file: on a copy.
    copy = tmp_path / "Dockerfile"
    copy.write_text(file.read_text())
    return [
        (entry["instruction"], entry["value"])
        for entry in DockerfileParser(str(copy)).structure
        if entry["instruction"] != "COMMENT"
    ]


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_dockerfiles_are_sound(file: Path, tmp_path: Path) -> None:
    steps = instructions(file, tmp_path)
    known = {
        *("FROM", "RUN", "COPY", "ENV", "LABEL", "USER", "WORKDIR", "VOLUME", "EXPOSE"),
        *("STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"),
    }
    assert {name for name, _ in steps} <= known
    last = max(number for number, (name, _) in enumerate(steps) if name == "FROM")
    final = steps[last:]
    names = [name for name, _ in final]
    assert names.count("USER") == 1 and names.index("USER") < names.index("ENTRYPOINT")
    user = dict(final)["USER"]
    assert user.split(":")[0] not in ("root", "0")
    assert {"HEALTHCHECK", "VOLUME", "ENTRYPOINT"} <= set(names)
    for name, value in final:
        if name in ("ENTRYPOINT", "CMD"):
            assert json.loads(value), "the exec form, so that signals arrive"
    for name, value in steps:
        if name == "FROM":
            assert re.match(r"[\w./-]+:[\w.-]+( AS \w+)?$", value) and ":latest" not in value
        if name == "RUN" and "apt-get install" in value:
            assert "--no-install-recommends" in value and "rm -rf /var/lib/apt/lists/*" in value
        assert not re.search(r"password|secret|token", value, re.IGNORECASE)


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_what_is_copied_is_there_and_not_ignored(file: Path, tmp_path: Path) -> None:
    context = ROOT if file.parent == DOCKER else file.parent
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for name, value in instructions(file, tmp_path):
        if name == "COPY" and "--from=" not in value:
            for source in [word for word in value.split() if not word.startswith("--")][:-1]:
                assert (context / source).exists(), source
                if context == ROOT:
                    assert any(source == entry or source.startswith(f"{entry}/") for entry in allowed), source


def test_the_wheel_that_the_image_installs_is_whole(tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "mailguard", source / "mailguard", ignore=shutil.ignore_patterns("__pycache__"))
    python = ROOT / ".venv" / "bin" / "python"
    if not python.exists():
        pytest.skip("no .venv: `make dev` makes it")
    run(python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, source)
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    ours = {str(path.relative_to(source)) for path in (source / "mailguard").rglob("*") if path.is_file()}
    assert ours - packed == set()


def test_the_policies_that_the_image_copies_are_whole(tmp_path: Path) -> None:
    copies = [value.split() for name, value in instructions(DOCKER / "Dockerfile", tmp_path) if name == "COPY"]
    settings = tomllib.loads((DOCKER / "mailguard.toml").read_text())
    assert ["policies", settings["policies"]["path"]] in copies
    shipped = run("git", "ls-files", "policies", cwd=ROOT).splitlines() if (ROOT / ".git").exists() else None
    for kind, load in (("rules", load_rules), ("yara", load_yara), ("hashes", load_hashes)):
        assert len(load(ROOT / "policies" / kind)) > 0
        assert shipped is None or any(path.startswith(f"policies/{kind}/") for path in shipped), kind


# --- compose ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def test_compose_file_fits_its_schema() -> None:
    out = run(
        tool("docker-compose"), "--file", ROOT / "docker-compose.yml", "config", MAILGUARD_HOSTNAME="mx.example.com"
    )
    services = yaml.safe_load(out)["services"]
    assert set(services) == {"migrate", "relay", "clamav", "postgres", "prometheus", "grafana"}
    assert services["relay"]["environment"]["MAILGUARD_SERVER__HOSTNAME"] == "mx.example.com"


def test_compose_asks_for_the_host_name() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "MAILGUARD_HOSTNAME"}
    command = [tool("docker-compose"), "--file", str(ROOT / "docker-compose.yml"), "config"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "the name that the MX records of the clients point to" in done.stderr


def test_services_are_confined(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service and "cap_add" not in service
        assert ":latest" not in service["image"] and ":" in service["image"]
        if "build" not in service:
            assert service["user"] not in ("root", "0"), name
            assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name
        for key in service.get("environment", {}):
            assert "PASSWORD" not in key or key.endswith("_FILE"), f"{name}: {key} is in clear"


def test_only_the_door_is_open_to_the_world(compose: dict[str, Any]) -> None:
    ports = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert ports == {"relay": ["25:2525"], "grafana": ["127.0.0.1:3000:3000"]}
    assert compose["networks"]["inside"] == {"internal": True}


def test_volumes_secrets_and_networks_are_declared_and_used(compose: dict[str, Any]) -> None:
    services = compose["services"].values()
    mounts = [mount.split(":") for service in services for mount in service.get("volumes", [])]
    named = {source for source, *_ in mounts if not source.startswith(".")}
    assert named == set(compose["volumes"])
    for source, _, *mode in mounts:
        if source.startswith("."):
            assert (ROOT / source).exists() and mode == ["ro"]
    assert {secret for service in services for secret in service.get("secrets", [])} == set(compose["secrets"])
    assert {network for service in services for network in service["networks"]} == set(compose["networks"])
    for service in services:
        for needed, how in service.get("depends_on", {}).items():
            other = compose["services"][needed]
            if how["condition"] == "service_healthy":
                assert "healthcheck" in other or "build" in other


def test_versions_agree(compose: dict[str, Any]) -> None:
    assert compose["services"]["relay"]["image"] == f"mailguard:{VERSION}"
    assert compose["services"]["clamav"]["image"] == f"mailguard-clamav:{VERSION}"


def test_secrets_are_made_once_and_fit_together(tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    shutil.copy(DOCKER / "make-secrets", tmp_path / "docker")
    run(tmp_path / "docker" / "make-secrets")
    made = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    assert set(made) == {"database_url", "postgres_password", "grafana_password"}
    assert len(made["postgres_password"]) == 32
    assert made["database_url"] == f"postgresql://mailguard:{made['postgres_password']}@postgres/mailguard"
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    run(tmp_path / "docker" / "make-secrets")
    assert made == {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_containers_configuration_is_valid(tmp_path: Path, compose: dict[str, Any]) -> None:
    secret = tmp_path / "database_url"
    secret.write_text("postgresql://mailguard:pw@postgres/mailguard")
    file = tmp_path / "mailguard.toml"
    file.write_text((DOCKER / "mailguard.toml").read_text().replace("/run/secrets/database_url", str(secret)))
    settings = load_settings(file, {"MAILGUARD_SERVER__HOSTNAME": "mx.example.com"})
    assert settings.server.hostname == "mx.example.com"
    assert settings.database.url == secret.read_text()
    door = compose["services"]["relay"]["ports"][0].split(":")[-1]
    assert settings.server.listen == (f"0.0.0.0:{door}",)
    assert settings.storage.path == Path("/var/lib/mailguard")
    # The container outlives the drain.
    grace = int(compose["services"]["relay"]["stop_grace_period"].rstrip("s"))
    assert grace > settings.server.drain_seconds + 5


# --- ClamAV ----------------------------------------------------------------------------------------------------------


def test_clamd_is_set_as_the_relay_relies_on() -> None:
    limit = load_settings(None, {}, search=()).server.size_limit
    assert clamd_problems(DOCKER / "clamav" / "clamd.conf", size_limit=limit) == []


@pytest.fixture
def clamav(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """The container's entrypoint, with its own clamd.conf but for paths and port; freshclam fetches nothing."""
    tool("clamd")
    (tmp_path / "db").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "db" / "eicar.ndb").write_text(f"Eicar-Test:0:*:{EICAR.hex()}\n")
    (tmp_path / "db" / "daily.cvd.placeholder").touch()
    port = free_port()
    conf = (DOCKER / "clamav" / "clamd.conf").read_text()
    conf = conf.replace("/var/lib/clamav", str(tmp_path / "db")).replace("TCPSocket 3310", f"TCPSocket {port}")
    (tmp_path / "clamd.conf").write_text(conf.replace("TCPAddr 0.0.0.0", "TCPAddr 127.0.0.1"))
    fake = tmp_path / "bin" / "freshclam"
    fake.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/freshclam.calls\n')
    fake.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}:/usr/sbin",
        "CLAMAV_DATABASE": str(tmp_path / "db"),
        "CLAMAV_CONF": str(tmp_path),
    }
    log = (tmp_path / "log").open("w")
    process = subprocess.Popen([DOCKER / "clamav" / "entrypoint.sh"], env=environment, stdout=log, stderr=log)
    try:
        yield tmp_path, port
    finally:
        process.terminate()
        process.wait(10)
        log.close()


def test_the_scanners_entrypoint_starts_a_clamd_that_is_healthy(clamav: tuple[Path, int]) -> None:
    root, port = clamav
    check = [str(DOCKER / "clamav" / "healthcheck.sh")]
    environment = {**os.environ, "CLAMD_PORT": str(port)}

    def healthy() -> bool:
        return subprocess.run(check, env=environment, capture_output=True, check=False).returncode == 0

    wait_until(healthy, what="clamd healthy")
    calls = (root / "freshclam.calls").read_text().splitlines()
    assert len(calls) == 2, "once before clamd starts, since there was no .cvd, and once as a daemon"
    assert "--daemon" in calls[1]
    environment["CLAMD_PORT"] = str(free_port())
    assert not healthy()


# --- monitoring ------------------------------------------------------------------------------------------------------


def known_series() -> set[str]:
    names = {row[0] for row in write_docs().metric_rows()}
    histograms = {row[0] for row in write_docs().metric_rows() if row[1] == "histogram"}
    return names | {f"{name}_{suffix}" for name in histograms for suffix in ("bucket", "sum", "count")}


def test_prometheus_takes_its_configuration_and_alerts() -> None:
    assert "SUCCESS" in run(tool("promtool"), "check", "config", DOCKER / "prometheus" / "prometheus.yml")
    run(tool("promtool"), "test", "rules", "alerts_test.yml", cwd=DOCKER / "prometheus")


def test_prometheus_scrapes_the_relay_where_it_listens() -> None:
    jobs = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    (relay,) = (job for job in jobs if job["job_name"] == "mailguard")
    (target,) = relay["static_configs"][0]["targets"]
    listen = tomllib.loads((DOCKER / "mailguard.toml").read_text())["http"]["listen"]
    assert target == f"relay:{listen.rpartition(':')[2]}"


def test_alerts_ask_for_metrics_that_are_there() -> None:
    used = re.findall(r"mailguard_\w+", re.sub(r"summary:.*", "", (DOCKER / "prometheus" / "alerts.yml").read_text()))
    assert set(used) - known_series() == set()


def expressions() -> Iterator[tuple[str, str]]:
    board = json.loads((DOCKER / "grafana" / "dashboards" / "mailguard.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def test_the_dashboard_asks_for_metrics_that_are_there() -> None:
    used = {name for _, expression in expressions() for name in re.findall(r"mailguard_\w+", expression)}
    assert used - known_series() == set()
    assert len(used) > 20


def test_the_dashboards_questions_parse(tmp_path: Path) -> None:
    rules = [
        {
            "record": f"dashboard:{number}",
            "expr": expression.replace("$__rate_interval", "5m").replace("$tenant", ".*"),
        }
        for number, (_, expression) in enumerate(expressions())
    ]
    file = tmp_path / "dashboard.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    run(tool("promtool"), "check", "rules", file)


def test_the_dashboards_panels_do_not_overlap_and_have_their_source() -> None:
    board = json.loads((DOCKER / "grafana" / "dashboards" / "mailguard.json").read_text())
    source = yaml.safe_load((DOCKER / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text())
    uid = source["datasources"][0]["uid"]
    cells: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    for panel in board["panels"]:
        place = panel["gridPos"]
        covered = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not covered & cells and place["x"] + place["w"] <= 24, panel["title"]
        cells |= covered
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == uid


def test_promtool_likes_what_the_relay_shows(tmp_path: Path) -> None:
    from prometheus_client import generate_latest

    registry = CollectorRegistry()
    registry.register(Metrics(CollectorRegistry()).registry)
    state: RelayState = write_docs().SAMPLE
    registry.register(StateCollector(state))
    done = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=generate_latest(registry), capture_output=True, check=False
    )
    complaints = [line for line in done.stderr.decode().splitlines() if line.strip()]
    assert complaints == []


# --- systemd ---------------------------------------------------------------------------------------------------------


def test_the_systemd_unit_is_valid_and_binds_port_25_without_root(tmp_path: Path) -> None:
    program = tmp_path / "mailguard"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = (DOCKER / "mailguard.service").read_text()
    unit = tmp_path / "mailguard.service"
    unit.write_text(text.replace("/opt/mailguard/.venv/bin/mailguard", str(program)))
    run(tool("systemd-analyze"), "verify", unit)
    for line in ("User=mailguard", "AmbientCapabilities=CAP_NET_BIND_SERVICE", "NoNewPrivileges=yes", "KillMode=mixed"):
        assert line in text.splitlines()
    out = run(tool("systemd-analyze"), "security", "--offline=true", "--threshold=20", unit)
    assert "OK" in out
    stop = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert stop and int(stop[1]) > load_settings(None, {}, search=()).server.drain_seconds + 5
