"""The dashboard and the alert rules ask for what there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatekit import Metrics

DOCS = Path(__file__).resolve().parents[2] / "docs"
RULES = DOCS / "alerts" / "gatekit.yml"
_NAME = re.compile(r"\b(?:http|gatekit)_[a-z_]+\b")
_LABELS = re.compile(r"([a-z_]+)\s*\{([^}]*)\}|by \(([^)]*)\)")


def expressions() -> Iterator[str]:
    board = json.loads((DOCS / "dashboards" / "gatekit.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]
    text = RULES.read_text()
    yield from re.findall(r"expr: \|\n((?: {10,}.*\n)+)", text)


def known() -> tuple[set[str], set[str]]:
    """The names of samples, and all labels."""
    prometheus = Metrics(prometheus=True).prometheus
    assert prometheus is not None
    registry = prometheus.registry
    names = set(registry._names_to_collectors)
    labels = {
        label
        for collector in registry._collector_to_names
        for label in getattr(collector, "_labelnames", ())
    }
    return names, labels | {"le"}


def test_they_ask_for_what_is_counted() -> None:
    """A name or a label that nobody writes is an empty panel, or an alert that never comes."""
    names, labels = known()
    found = list(expressions())
    assert len(found) > 25
    for expression in found:
        assert set(_NAME.findall(expression)) <= names, expression
        for _, matchers, groups in _LABELS.findall(expression):
            asked = re.findall(r"([a-z_]+)\s*[=!]", matchers) or groups.split(", ")
            assert {label.strip() for label in asked if label.strip()} <= labels, expression


def test_all_that_is_counted_is_on_the_dashboard() -> None:
    """But what only the alerts ask for, and the number of a cache's entries."""
    shown = {name for expression in expressions() for name in _NAME.findall(expression)}
    families = {
        re.sub(r"_(total|created|bucket|count|sum)$", "", name)
        for name in known()[0]
        if name.startswith(("http_", "gatekit_"))
    }
    asked = {re.sub(r"_(total|created|bucket|count|sum)$", "", name) for name in shown}
    assert families - asked == {"gatekit_cache_entries"}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_has_no_complaint() -> None:
    """By its own checker of rules."""
    done = subprocess.run(
        ["promtool", "check", "rules", str(RULES)], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout.decode()
