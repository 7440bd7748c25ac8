"""No metric and no log event that nothing counts or says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from mailguard.ops.log import MailLog
from mailguard.ops.metrics import Metrics

PACKAGE = Path(__file__).parents[3] / "mailguard"
CODE = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py") if path.parent.name != "ops")


def test_every_metric_is_counted_somewhere() -> None:
    own = ast.parse((PACKAGE / "ops" / "metrics.py").read_text())
    (metrics,) = (node for node in own.body if isinstance(node, ast.ClassDef) and node.name == "Metrics")
    methods = {node.name: ast.unparse(node) for node in metrics.body if isinstance(node, ast.FunctionDef)}
    names = {name for name, value in vars(Metrics(CollectorRegistry())).items() if isinstance(value, MetricWrapperBase)}
    unused = set()
    for name in names - {"build_info"}:
        through = [
            method
            for method, text in methods.items()
            if not method.startswith("_") and re.search(rf"self\.{name}\b", text)
        ]
        if not any(re.search(rf"\.{used}\b", CODE) for used in (name, *through)):
            unused.add(name)
    assert unused == set()


def test_every_event_of_the_mail_log_is_said_somewhere() -> None:
    methods = {name for name, value in vars(MailLog).items() if callable(value) and not name.startswith("_")}
    assert {name for name in methods if not re.search(rf"log\.{name}\(", CODE)} == set()
