"""TLSA records against certificate chains (RFC 6698, RFC 7671, RFC 7672)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailguard.net.dane import DaneError, Tlsa, TlsaRecord
from tests.servers.pki import Issued, authority, self_signed

CA = authority()
INTERMEDIATE = CA.issue(ca=True, common_name="Intermediate")
SERVER = INTERMEDIATE.issue("mx.client.test", "*.wild.test")


def record(text: str) -> TlsaRecord:
    usage, selector, matching, data = text.split(" ")
    return TlsaRecord(int(usage), int(selector), int(matching), bytes.fromhex(data))


def tlsa(*texts: str, names: tuple[str, ...] = ("mx.client.test",)) -> Tlsa:
    return Tlsa(names, tuple(map(record, texts)))


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
@pytest.mark.parametrize(("usage", "named"), [(3, SERVER), (2, INTERMEDIATE), (2, CA)])
def test_every_form_of_record_is_met(usage: int, named: Issued, selector: int, matching: int) -> None:
    tlsa(named.tlsa(usage, selector, matching)).check(SERVER.der)


def test_end_entity_counts_by_its_key_alone() -> None:
    expired = self_signed("other.test", days=(-20, -10))
    tlsa(expired.tlsa(3)).check(expired.der)


@pytest.mark.parametrize(
    ("shown", "named", "why"),
    [
        (SERVER, self_signed("mx.client.test").tlsa(3), "no TLSA record names"),
        (SERVER, SERVER.tlsa(2), "no TLSA record names"),  # an authority is meant, not the server itself
        (SERVER, authority().tlsa(2), "no TLSA record names"),
        (CA.issue("mx.other.test"), CA.tlsa(2), "no valid path"),
        (CA.issue(common_name="mx.client.test"), CA.tlsa(2), "no valid path"),  # no name but the common one
        (CA.issue("mx.client.test", days=(-20, -10)), CA.tlsa(2), "no valid path"),
        (CA.issue("mx.client.test", days=(5, 10)), CA.tlsa(2), "no valid path"),
        (CA.issue(common_name="no authority", ca=False).issue("mx.client.test"), CA.tlsa(2), "no valid path"),
    ],
    # not by the records, which are new with each process
    ids=["other key", "usage", "other authority", "other name", "common name", "expired", "not yet", "no authority"],
)
def test_what_the_records_do_not_name_is_refused(shown: Issued, named: str, why: str) -> None:
    with pytest.raises(DaneError, match=why):
        tlsa(named).check(shown.der)


def test_an_authority_that_the_server_does_not_show_may_stand_in_dns_as_a_whole() -> None:
    server = CA.issue("mx.client.test", show_issuer=False)
    tlsa(CA.tlsa(2, 0, 0)).check(server.der)
    with pytest.raises(DaneError):
        tlsa(CA.tlsa(2, 0, 1)).check(server.der)


def test_a_signature_of_somebody_else_under_the_same_name_is_no_path() -> None:
    forged = authority("Test CA").issue("mx.client.test", show_issuer=False)
    shown = Issued(forged.certificate, forged.key, (CA.certificate,))
    with pytest.raises(DaneError, match="no valid path"):
        tlsa(CA.tlsa(2)).check(shown.der)


def test_any_name_of_the_hop_will_do_and_wildcards_count() -> None:
    tlsa(CA.tlsa(2), names=("alias.test", "mx.client.test")).check(SERVER.der)
    tlsa(CA.tlsa(2), names=("a.wild.test",)).check(SERVER.der)


def test_one_good_record_is_enough() -> None:
    tlsa(self_signed("x.test").tlsa(3), SERVER.tlsa(3)).check(SERVER.der)


def test_the_strongest_digest_counts_alone() -> None:  # RFC 7671 §9
    with pytest.raises(DaneError):
        tlsa(SERVER.tlsa(3, 1, 1), self_signed("x.test").tlsa(3, 1, 2)).check(SERVER.der)


@pytest.mark.parametrize(
    "unusable",
    [
        TlsaRecord(0, 0, 1, bytes(32)),
        TlsaRecord(1, 1, 1, bytes(32)),
        TlsaRecord(3, 2, 1, bytes(32)),
        TlsaRecord(3, 1, 3, bytes(32)),
        TlsaRecord(3, 1, 1, bytes(31)),
        TlsaRecord(3, 1, 0, b""),
        TlsaRecord(255, 255, 255, b"x"),
    ],
)
def test_unusable_records(unusable: TlsaRecord) -> None:
    assert not unusable.usable
    assert not Tlsa(("a.test",), (unusable,)).usable
    with pytest.raises(DaneError):
        Tlsa(("mx.client.test",), (unusable,)).check(SERVER.der)


def test_time_counts_for_authorities() -> None:
    with pytest.raises(DaneError, match="no valid path"):
        tlsa(CA.tlsa(2)).check(SERVER.der, now=datetime.now(UTC) + timedelta(days=10))


@given(
    st.lists(st.binary(max_size=200), max_size=3),
    st.lists(
        st.builds(TlsaRecord, st.integers(0, 4), st.integers(0, 2), st.integers(0, 3), st.binary(max_size=64)),
        max_size=3,
    ),
)
def test_hostile_chains_and_records_are_refused_and_nothing_else(chain: list[bytes], records: list[TlsaRecord]) -> None:
    with pytest.raises(DaneError):
        Tlsa(("mx.client.test",), tuple(records)).check(chain)
