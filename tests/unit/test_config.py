"""Settings: defaults, the file, the environment, every error at once; and the documentation of every key."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mailguard.config import Settings, load_settings, resolve_secret
from mailguard.config.load import fields, shown
from mailguard.config.problems import dotted, nearest
from mailguard.config.reference import example, markdown
from mailguard.config.secrets import redact
from mailguard.config.values import split_host_port
from mailguard.core.errors import ConfigError

ROOT = Path(__file__).parents[2]


def load(tmp_path: Path, text: str = "", environ: dict[str, str] | None = None) -> Settings:
    file = tmp_path / "mailguard.toml"
    file.write_text(text)
    return load_settings(file, environ or {})


def problems(tmp_path: Path, text: str = "", environ: dict[str, str] | None = None) -> list[str]:
    """What is said of it, the file's name cut to `FILE`."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, environ)
    return [str(problem).replace(str(tmp_path / "mailguard.toml"), "FILE") for problem in caught.value.problems]


# --- defaults --------------------------------------------------------------------------------------------------------


def test_without_a_file_all_is_default() -> None:
    settings = load_settings(None, {}, search=())
    assert settings.server.listen == ("127.0.0.1:2525",)
    assert settings.storage.path == Path.cwd() / "var"
    assert settings.database.url == f"sqlite:///{Path.cwd()}/var/mailguard.db"
    assert settings.server.authserv_id == settings.server.hostname == settings.outbound.helo
    assert Settings().queue == settings.queue


def test_a_file_is_sought_where_it_is_usual(tmp_path: Path) -> None:
    usual = tmp_path / "usual.toml"
    usual.write_text("[dns]\ntimeout = 7")
    assert load_settings(None, {}, search=(tmp_path / "gone.toml", usual)).dns.timeout == 7


def test_the_environment_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text("[dns]\ntimeout = 7")
    assert load_settings(None, {"MAILGUARD_CONFIG": str(file)}).dns.timeout == 7


def test_names_follow_the_hostname(tmp_path: Path) -> None:
    settings = load(tmp_path, '[server]\nhostname = "MX.Provider.example."')
    assert settings.server.hostname == "mx.provider.example"
    assert settings.server.authserv_id == "mx.provider.example"
    assert settings.outbound.helo == settings.outbound.from_domain == "mx.provider.example"
    settings = load(
        tmp_path,
        '[server]\nhostname = "a.example"\nauthserv_id = "b.example"\n[outbound]\nfrom_domain = "c.example"\nhelo = ""',
    )
    assert (settings.server.authserv_id, settings.outbound.from_domain) == ("b.example", "c.example")
    assert settings.outbound.helo == "a.example"


def test_paths_are_taken_from_the_files_directory(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        '[storage]\npath = "data"\n[policies]\npath = "/etc/policies"\n'
        '[server]\ntls_certificate = "tls/c.pem"\ntls_key = "/tls/k.pem"',
    )
    assert settings.storage.path == tmp_path / "data"
    assert settings.database.url == f"sqlite:///{tmp_path}/data/mailguard.db"
    assert settings.policies.path == Path("/etc/policies")
    assert (settings.server.tls_certificate, settings.server.tls_key) == (str(tmp_path / "tls/c.pem"), "/tls/k.pem")
    assert load(tmp_path, '[database]\nurl = "sqlite:///x.db"').database.url == f"sqlite:///{tmp_path}/x.db"
    assert load(tmp_path, '[database]\nurl = "sqlite:////x.db"').database.url == "sqlite:////x.db"


def test_settings_are_frozen(tmp_path: Path) -> None:
    settings = load(tmp_path)
    with pytest.raises(ValidationError):
        settings.dns.timeout = 3  # type: ignore[misc]


# --- the environment -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("SERVER__LISTEN", "0.0.0.0:25", ("0.0.0.0:25",)),
        ("SERVER__LISTEN", "0.0.0.0:25, [::]:25", ("0.0.0.0:25", "[::]:25")),
        ("SERVER__LISTEN", '["0.0.0.0:25", "[::]:25"]', ("0.0.0.0:25", "[::]:25")),
        ("SERVER__WORKERS", "4", 4),
        ("SERVER__HOSTNAME", "mx.example", "mx.example"),
        ("SERVER__STRICT_PIPELINING", "false", False),
        ("SERVER__BARE_NEWLINE", "refuse", "refuse"),
        ("DNS__NAMESERVERS", "", ()),
        ("DNS__NAMESERVERS", "[]", ()),
        ("DNS__NAMESERVERS", "[::1]:53,::1", ("[::1]:53", "::1")),
        ("DNS__TIMEOUT", "2.5", 2.5),
        ("HTTP__LISTEN", "", ""),
        ("CHECKS__ENABLED", "clamav,spf", ("clamav", "spf")),
        ("STORAGE__PATH", "/data", Path("/data")),
        ("CLAMAV__ADDRESS", "/run/clamav/clamd.ctl", "/run/clamav/clamd.ctl"),
    ],
)
def test_a_variable_overrides_the_file(tmp_path: Path, variable: str, text: str, expected: object) -> None:
    file = '[server]\nlisten = ["127.0.0.1:1"]\nworkers = 9\n[dns]\nnameservers = ["192.0.2.53"]'
    settings: Any = load(tmp_path, file, {f"MAILGUARD_{variable}": text})
    section, _, key = variable.lower().partition("__")
    assert getattr(getattr(settings, section), key) == expected


@pytest.mark.parametrize(
    "text",
    [
        '[{zone = "bl.example", symbol = "DNSBL_X", score = 2, codes = ["127.0.0.2"]}]',
        '[{"zone": "bl.example", "symbol": "DNSBL_X", "score": 2, "codes": ["127.0.0.2"]}]',
    ],
)
def test_a_list_of_tables_is_toml_or_json(tmp_path: Path, text: str) -> None:
    (zone,) = load(tmp_path, "", {"MAILGUARD_DNSBL__ZONES": text}).dnsbl.zones
    assert (zone.zone, zone.symbol, zone.score, zone.codes) == ("bl.example", "DNSBL_X", 2.0, ("127.0.0.2",))


def test_variables_of_others_are_left_alone(tmp_path: Path) -> None:
    environ = {"MAILGUARD_SERVICE_HOST": "10.0.0.1", "MAILGUARD_PORT_25_TCP": "x", "PATH": "/bin", "MAILGUARDIAN": "x"}
    assert load(tmp_path, "", environ) == load(tmp_path)


def test_a_slip_in_a_variables_name_is_told(tmp_path: Path) -> None:
    environ = {"MAILGUARD_SERVER_LISTEN": "x", "MAILGUARD_DNS__TIMOUT": "3", "MAILGUARD_DNS__TIMEOUT": "soon"}
    assert problems(tmp_path, "", environ) == [
        "MAILGUARD_DNS__TIMOUT: is not a setting; did you mean MAILGUARD_DNS__TIMEOUT?",
        "MAILGUARD_SERVER_LISTEN: is not a setting; did you mean MAILGUARD_SERVER__LISTEN?",
        "MAILGUARD_DNS__TIMEOUT: 'soon' must be a number",
    ]


# --- errors ----------------------------------------------------------------------------------------------------------

WRONG = """\
[server]
listn = ["0.0.0.0:25"]
listen = ["mx.example:25", "1.2.3.4:99999", "0.0.0.0:25"]
workers = "many"
size_limit = 1
bare_newline = "keep"
tls_key = "k.pem"
proxy_listen = ["127.0.0.1:26"]
proxy_trusted = ["10.0.0.0/99"]
[clamv]
x = 1
[clamav]
address = "localhost"
[dnsbl]
zones = [{zone = "a b", symbl = "X"}]
[outbound]
postmaster = "me"
smarthost = "relay.example:0"
[billing]
time_zone = "Mars/Olympus"
[database]
url = "mysql://root:hunter2@db/x"
[log]
level = 3
"""


def test_all_errors_are_told_at_once_with_key_value_and_what_is_allowed(tmp_path: Path) -> None:
    address = "must be host:port, address:port or [IPv6 address]:port, the port at most 65535"
    assert sorted(problems(tmp_path, WRONG)) == sorted(
        [
            "FILE server.listn: unknown key; did you mean listen?",
            "FILE server.listen[0]: 'mx.example:25' must be an address of this machine and a port, such as 0.0.0.0:25 or "
            "[::]:25",
            f"FILE server.listen[1]: '1.2.3.4:99999' {address}",
            "FILE server.workers: 'many' must be a whole number",
            "FILE server.size_limit: 1 must be at least 65536",
            "FILE server.bare_newline: 'keep' is not one of normalise, refuse",
            "FILE server.tls_key: 'k.pem' must be given together with tls_certificate, or neither",
            "FILE server.proxy_trusted[0]: '10.0.0.0/99' must be an IP address or a range such as 192.0.2.0/24 or "
            "2001:db8::/32",
            "FILE clamv: unknown key; did you mean clamav?",
            f"FILE clamav.address: 'localhost' {address}, or the path of a socket",
            "FILE dnsbl.zones[0].zone: 'a b' must be a host name in ASCII letters, digits, hyphens and dots",
            "FILE dnsbl.zones[0].symbol: is missing",
            "FILE dnsbl.zones[0].symbl: unknown key; did you mean symbol?",
            "FILE outbound.postmaster: 'me' must be a mail address such as postmaster@provider.example",
            "FILE outbound.smarthost: 'relay.example:0' must name a port from 1 to 65535",
            "FILE billing.time_zone: 'Mars/Olympus' must be a time zone's IANA name such as Europe/Berlin",
            "FILE database.url: the value must be sqlite:///PATH or postgresql://USER@HOST/DATABASE",
            "FILE log.level: 3 is not one of debug, info, warning, error",
        ]
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[server\n", "FILE: is not TOML: "),
        ("server = 3", "FILE server: 3 must be a table of keys and values"),
        ("[server]\nproxy_listen = ['127.0.0.1:26']", "FILE server.proxy_trusted: must name the addresses"),
        ("[server]\nlisten = []", "FILE server.proxy_listen: must not be empty when listen is empty too"),
        ("[server]\nlisten = '0.0.0.0:25'", "FILE server.listen: '0.0.0.0:25' must be a list"),
        ("[server]\ntls_certificate = 'c.pem'", "FILE server.tls_key: '' must be given together with tls_certificate"),
        ("[server]\nhostname = ''", "FILE server.hostname: '' must be a host name"),
        (
            "[[dnsbl.zones]]\nzone = 'bl.example'\nsymbol = 'X'\ncodes = ['192.0.2.2']",
            "FILE dnsbl.zones[0].codes[0]: '192.0.2.2' must be an address within 127.0.0.0/8",
        ),
        ("[dns]\ntimeout = 0", "FILE dns.timeout: 0 must be more than 0"),
        ("[dns]\ntimeout = inf", "FILE dns.timeout: inf "),
        ("[checks]\nenabled = ['clamv']", "FILE checks.enabled[0]: 'clamv' is not one of clamav, "),
    ],
)
def test_one_error(tmp_path: Path, text: str, expected: str) -> None:
    told = problems(tmp_path, text)
    assert len(told) == 1, told
    assert told[0].startswith(expected)


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone.toml: cannot be read: No such file"):
        load_settings(tmp_path / "gone.toml", {})


def test_a_file_that_is_not_utf_8_is_told(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(b"# \xff")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load_settings(file, {})


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "MAILGUARD_SERVER__LISTEN",
                "MAILGUARD_DNSBL__ZONES",
                "MAILGUARD_LOG__LEVEL",
                "MAILGUARD_DATABASE__URL",
                "MAILGUARD_HTTP__LISTEN",
                "MAILGUARD_X__Y",
            ]
        ),
        st.text(),
    )
)
def test_any_environment_gives_settings_or_a_config_error(environ: dict[str, str]) -> None:
    try:
        load_settings(None, environ, search=())
    except ConfigError as error:
        assert error.problems


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_a_secret_is_read_from_where_it_is(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://mg:hunter2@db/mg\n")
    settings = load(tmp_path, f'[database]\nurl = "secret:file:{file}"')
    assert settings.database.url == "postgresql://mg:hunter2@db/mg"
    environ = {"MAILGUARD_DATABASE__URL": "secret:env:DB_URL", "DB_URL": "postgresql://mg@db/other"}
    assert load(tmp_path, "", environ).database.url == "postgresql://mg@db/other"


def test_a_secret_is_not_shown(tmp_path: Path) -> None:
    settings = load(tmp_path, '[database]\nurl = "postgresql://mg:hunter2@db/mg"')
    assert "hunter2" not in repr(settings)
    assert shown(settings)["database"]["url"] == "postgresql://mg:***@db/mg"


def test_a_password_of_its_own_is_not_shown_at_all(tmp_path: Path) -> None:
    text = '[outbound]\nsmarthost = "relay.example:587"\nsmarthost_username = "u"\nsmarthost_password = "hunter2://x"'
    settings = load(tmp_path, text)
    assert settings.outbound.smarthost_password == "hunter2://x"
    assert "hunter2" not in repr(settings)
    assert shown(settings)["outbound"]["smarthost_password"] == "***"
    assert problems(tmp_path, text.replace('smarthost_username = "u"\n', "")) == [
        "FILE outbound.smarthost_password: the value must be given together with smarthost_username, or neither"
    ]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("secret:file:/nowhere", "refers to the file /nowhere, which cannot be read: No such file or directory"),
        ("secret:env:GONE", "refers to the variable GONE, which is empty or not set"),
        ("secret:vault:x", "must be secret:file:PATH or secret:env:NAME"),
        ("secret:file:", "must be secret:file:PATH or secret:env:NAME"),
    ],
)
def test_a_secret_that_cannot_be_had_is_told(tmp_path: Path, reference: str, expected: str) -> None:
    assert problems(tmp_path, f'[database]\nurl = "{reference}"') == [f"FILE database.url: '{reference}' {expected}"]


def test_what_is_no_reference_is_the_value() -> None:
    assert resolve_secret("plain", {}) == "plain"


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://u:p@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:p:q@h:5432/d", "postgresql://u:***@h:5432/d"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("sqlite:///a:b@c", "sqlite:///a:b@c"),
        ("postgresql://u:p@q@h/d", "postgresql://u:***@h/d"),
        (
            "postgresql://h/d?user=u&password=p%20q&sslmode=require",
            "postgresql://h/d?user=u&password=***&sslmode=require",
        ),
    ],
)
def test_a_password_in_a_url_is_masked(url: str, masked: str) -> None:
    assert redact(url) == masked


# --- helpers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [("h.example:25", ("h.example", 25)), ("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:53", ("::1", 53))],
)
def test_host_and_port_are_split(text: str, expected: tuple[str, int]) -> None:
    assert split_host_port(text) == expected


@pytest.mark.parametrize("text", ["", "h", "h:", ":25", "::1:53", "[h]:5", "[127.0.0.1]:5", "1.2.3:5", "h:x", "h:٣"])
def test_what_is_not_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be host:port"):
        split_host_port(text)


def test_places_are_written_as_in_the_file() -> None:
    assert dotted(("dnsbl", "zones", 0, "zone")) == "dnsbl.zones[0].zone"
    assert nearest("hostnam", ["hostname", "listen"]) == "did you mean hostname?"
    assert nearest("zzz", ["hostname", "listen"]) == "known are hostname, listen"


# --- documentation ---------------------------------------------------------------------------------------------------


def test_every_key_is_described() -> None:
    assert [f"{section}.{key}" for section, key, info in fields() if not info.description] == []


@pytest.mark.parametrize(
    ("name", "made", "command"),
    [
        ("configuration.md", markdown(), "mailguard config reference"),
        ("mailguard.example.toml", example(), "mailguard config reference --toml"),
    ],
)
def test_the_reference_has_not_drifted(name: str, made: str, command: str) -> None:
    assert (ROOT / "docs" / name).read_text() == made, f"run `{command} > docs/{name}`"


def test_the_example_is_the_defaults() -> None:
    text = example()
    assert tomllib.loads(text) == {name: {} for name in Settings.model_fields}
    wanted = "\n".join(
        line.removeprefix("#") if line.startswith("#") and line[1:2] != " " else line for line in text.splitlines()
    )
    settings = Settings.model_validate(tomllib.loads(wanted))
    plain = Settings.model_validate({"server": {"hostname": "mx.provider.example"}})
    assert settings == plain


def test_the_doors_limits_have_the_names_and_defaults_of_the_door() -> None:
    from mailguard.smtp.door import SmtpSettings

    door = {field.name: field.default for field in dataclasses.fields(SmtpSettings)}
    server = type(Settings().server).model_fields
    shared = [key for key in server if key in door and key != "hostname"]
    assert "recipients_per_message" in shared
    assert {key: server[key].default for key in shared} == {key: door[key] for key in shared}
    assert server["size_limit"].default == door["message_size"]
