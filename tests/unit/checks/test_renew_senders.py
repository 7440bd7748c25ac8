"""The script that renews the list of well-known domains: what it takes from icons, and what it leaves."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

TOOL = Path(__file__).parents[3] / "tools" / "renew_senders.py"


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("renew_senders", TOOL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_domains_that_bear_the_name_are_taken() -> None:
    icons = [
        {"title": "Acme", "source": "https://www.acme.com/press"},
        {"title": "Río Azul", "source": "https://brand.rio-azul.co.uk"},
        {"title": "Tulip", "source": "https://github.com/tulip/logo"},
        {"title": "X", "source": "https://x.com"},
        {"title": "Nobody", "source": ""},
    ]
    assert dict(tool().known_domains(icons)) == {"acme.com": "Acme", "rio-azul.co.uk": "Río Azul"}


def test_the_file_is_as_the_tool_writes_it() -> None:
    text: str = tool().TARGET.read_text("utf-8")
    heading = [line for line in text.splitlines() if line.startswith("#")]
    names = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(heading) == 3
    assert len(names) > 1_500
    assert all(" = " in line for line in names)
