"""Text of HTML that is kept from its reader: by which means, and what is shown although it looks hidden."""

from __future__ import annotations

import time

import pytest

from mailguard.message.colours import colour_of, near
from mailguard.message.hidden import HIDDEN_LIMIT, TEXT_LIMIT, HiddenBy
from mailguard.message.text import render_html


@pytest.mark.parametrize(
    ("element", "by"),
    [
        ("<div style='display:none'>xx</div>", HiddenBy.DISPLAY),
        ("<div style='color:red; DISPLAY : None !important'>xx</div>", HiddenBy.DISPLAY),
        ("<span style='visibility:hidden'>xx</span>", HiddenBy.DISPLAY),
        ("<span style='opacity:0'>xx</span>", HiddenBy.DISPLAY),
        ("<p hidden>xx</p>", HiddenBy.DISPLAY),
        ("<div style='max-height:0px;overflow:hidden'>xx</div>", HiddenBy.DISPLAY),
        ("<div style='display:none'><p>x<b>x</b></p></div>", HiddenBy.DISPLAY),
        ("<span style='font-size:0'>xx</span>", HiddenBy.SIZE),
        ("<span style='font-size: 1px; line-height: 1px'>xx</span>", HiddenBy.SIZE),
        ("<span style='font-size:.1em'>xx</span>", HiddenBy.SIZE),
        ("<div style='font-size:0px'>xx<b style='font-size:12px'>and</b></div>", HiddenBy.SIZE),
        ("<font color='#ffffff'>xx</font>", HiddenBy.COLOUR),
        ("<span style='color:#fefefe'>xx</span>", HiddenBy.COLOUR),
        ("<div bgcolor=#eeeeee><p><font color=#f0f0f0>xx</font></p></div>", HiddenBy.COLOUR),
        ("<div style='background:#f4f4f4'><span style='color:rgb(250, 250, 250)'>xx</span></div>", HiddenBy.COLOUR),
        ("<div style='text-indent:-9999px'>xx</div>", HiddenBy.POSITION),
        ("<div style='position:absolute;left:-5000px'>xx</div>", HiddenBy.POSITION),
        ("<style>.h{color:red;display:none}</style><div class=h>xx</div>", HiddenBy.CLASS),
    ],
)
def test_hidden(element: str, by: HiddenBy) -> None:
    rendered = render_html(f"<p>seen</p>{element}<p>too</p>")
    assert [(one.by, one.text) for one in rendered.hidden] == [(by, "xx")]
    assert "xx" in rendered.text
    assert "xx" not in rendered.visible
    assert rendered.visible.startswith("seen")
    assert rendered.visible.endswith("too")


@pytest.mark.parametrize(
    "element",
    [
        "<td style='font-size:0px'><div style='font-size:14px'>xx</div></td>",
        "<span style='font-size:10px'>xx</span>",
        "<span style='font-size:0.9em'>xx</span>",
        "<a style='color:#fff;background:#00f'>xx</a>",
        "<table bgcolor=black><tr><td><a style='color:white'>xx</a></table>",
        "<div style='background-image:url(x)'><font color=white>xx</font></div>",
        "<div background='x.png'><font color=white>xx</font></div>",
        "<style>.dark{background:black}</style><div class=dark><font color=white>xx</font></div>",
        "<div style='opacity:0.9'>xx</div>",
        "<div style='overflow:hidden'>xx</div>",
        "<div style='max-height:0'>xx</div>",
        "<a style='mso-hide:all'>xx</a>",
        "<div style='background-color:#fff'>xx</div>",
        "<style>.m{display:none} @media (max-width:600px){.m{display:block}}</style><p class=m>xx</p>",
        "<style>@media print{.m{display:none}}</style><p class=m>xx</p>",
        "<p style='color:hidden'>xx</p>",
    ],
)
def test_shown(element: str) -> None:
    rendered = render_html(f"<p>seen</p> {element}")
    assert rendered.hidden == ()
    assert rendered.visible == rendered.text
    assert rendered.visible.split() == ["seen", "xx"]


def test_letters_hidden_within_a_word() -> None:
    rendered = render_html("<p>Micro<span style='font-size:0'>zqx</span>soft Office</p>")
    assert rendered.visible == "Microsoft Office"
    assert [one.within_word for one in rendered.hidden] == [True]


def test_each_hidden_text_counts_once() -> None:
    inner = "<i style='display:none'>in</i>" * 3
    rendered = render_html(f"<div style='display:none'>out {inner}</div><p>seen</p>")
    assert [one.text for one in rendered.hidden] == ["out ininin"]
    assert rendered.visible == "seen"


def test_hidden_texts_have_limits() -> None:
    rendered = render_html(
        "<p style='display:none'>" + "x" * (TEXT_LIMIT + 9) + "</p>" + "<p hidden>y</p>" * (HIDDEN_LIMIT + 9) + "z"
    )
    assert len(rendered.hidden) == HIDDEN_LIMIT
    assert len(rendered.hidden[0].text) == TEXT_LIMIT
    assert rendered.visible == "z"


@pytest.mark.parametrize(
    "piece",
    [
        "<div style='font-size:0'>a",
        "<div style='display:none'>a",
        "<div style='color:white'>a",
        "<p hidden>a</p>",
        "<style>.a{display:none}</style>",
        "<style>@media</style>",
        "<style>@media{</style>",
        "<font color=white>a",
    ],
)
def test_hostile_html_is_done_soon(piece: str) -> None:
    source = piece * (100_000 // len(piece)) if piece.startswith(("<p", "<st")) else piece * 1_400
    started = time.process_time()
    render_html(source)
    assert time.process_time() - started < 1.5


@pytest.mark.parametrize(
    ("value", "colour"),
    [
        ("#FFF", (255, 255, 255)),
        ("#0a0b0C", (10, 11, 12)),
        ("fefefe", (254, 254, 254)),
        (" White ", (255, 255, 255)),
        ("rgb(1, 2, 300)", (1, 2, 255)),
        ("transparent", None),
        ("#12345", None),
        ("", None),
    ],
)
def test_colours(value: str, colour: tuple[int, int, int] | None) -> None:
    assert colour_of(value) == colour


def test_near() -> None:
    assert near((255, 255, 255), (240, 240, 240))
    assert not near((255, 255, 255), (255, 255, 200))
