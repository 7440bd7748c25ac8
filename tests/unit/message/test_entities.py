"""Entities that swell are told from those that honest drawings define."""

from __future__ import annotations

import time

import pytest

from mailguard.message.entities import LIMIT, swells

ILLUSTRATOR = (
    '<!DOCTYPE svg [<!ENTITY ns_svg "http://www.w3.org/2000/svg"><!ENTITY ns_xlink "http://www.w3.org/1999/xlink">]>'
)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "<a/>",
        ILLUSTRATOR + '<svg xmlns="&ns_svg;"/>',
        '<!ENTITY a "&b;"><!ENTITY b "x">&a;',
        "<!ENTITY a",
        "<!ENTITY a '&a'>",
    ],
)
def test_honest_entities_are_nothing(source: str) -> None:
    assert swells(source) == ""


def test_what_swells_is_named() -> None:
    laughs = '<!ENTITY l0 "lol">' + "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    assert swells(laughs) == "l7"
    assert swells(f"<!ENTITY a '{'x' * 50_000}'>" + "&a;" * (LIMIT // 50_000 + 1)) == "a"
    assert swells("<!ENTITY a '&b;'><!ENTITY b \"&a;\">") in ("a", "b")
    assert swells("<!ENTITY a '&a;'>") == "a"
    assert swells("<!ENTITY % a '%a;'>") == "a"


def test_hostile_definitions_end_in_time() -> None:
    chain = "".join(f"<!ENTITY e{n} '&e{n + 1};'>" for n in range(9_000))
    started = time.process_time()
    for source in (
        chain,
        "<!ENTITY a" * 20_000,
        "<!ENTITY a '" * 20_000,
        "<!ENTITY a '&" + "a" * 200_000,
        "<!ENTITY " + " " * 200_000,
    ):
        swells(source)
    assert time.process_time() - started < 1
