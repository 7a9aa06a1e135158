"""The Grafana dashboard shows every metric of the daemon, and no other."""

from __future__ import annotations

import json
import re

from prometheus_client.parser import text_string_to_metric_families

from edge.bundle import STARTER, read_bundle
from edge.metrics import Metrics
from tests.systemd.dashboard import PAGE, render

NAME = re.compile(r"\b(?:intentd|process)_[a-z_]+")
SUFFIXES = ("_bucket", "_total", "_info", "_sum", "_count")


def exported() -> set[str]:
    """The names of the families that the daemon exports."""
    metrics = Metrics()
    metrics.set_model(read_bundle(STARTER))
    return {bare(f.name) for f in text_string_to_metric_families(metrics.render().decode())}


def bare(name: str) -> str:
    """A family's name, without what its samples append to it."""
    return next((name.removesuffix(end) for end in SUFFIXES if name.endswith(end)), name)


def shown() -> set[str]:
    """The families that some panel asks for."""
    panels = json.loads(PAGE.read_text("utf-8"))["panels"]
    queries = (target["expr"] for panel in panels for target in panel["targets"])
    return {bare(name) for query in queries for name in NAME.findall(query)}


def test_every_metric_is_shown_and_every_shown_one_exists() -> None:
    """A panel on a metric that is gone stays empty, and nobody asks why."""
    assert shown() == exported()


def test_dashboard_is_what_its_panels_say() -> None:
    """`python -m tests.systemd.dashboard` writes it anew."""
    assert PAGE.read_text("utf-8") == render()


def test_panels_do_not_overlap_and_each_asks_for_something() -> None:
    """Grafana would move them about without a word."""
    panels = json.loads(PAGE.read_text("utf-8"))["panels"]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels) == len({panel["id"] for panel in panels})
    assert all(panel["targets"] for panel in panels)
