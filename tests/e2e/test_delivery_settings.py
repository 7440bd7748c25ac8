"""Wrong settings of deliveries keep the relay from starting, and it says why."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.servers.relay import Relay


@pytest.mark.parametrize(
    ("setting", "value", "why"),
    [
        ("CA_FILE", "/no/such/ca.pem", "the authorities in /no/such/ca.pem cannot be used: No such file"),
        ("CLIENT_CERTIFICATE", "/no/such/own.pem", "the client certificate /no/such/own.pem cannot be used"),
        ("TLS", "dane", "dns.trust_ad = true"),
    ],
)
def test_wrong_settings_stop_the_start_and_say_why(
    new_relay: Callable[..., Relay], setting: str, value: str, why: str
) -> None:
    done = new_relay(environment={f"MAILGUARD_OUTBOUND__{setting}": value}).cli("serve", check=False)
    assert done.returncode == 2
    assert why in done.stderr and "Traceback" not in done.stderr
