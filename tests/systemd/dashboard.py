"""Writes systemd/grafana.json from the panels below: `python -m tests.systemd.dashboard`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.systemd.units import SHIPPED

__all__ = ["PAGE", "PANELS", "Panel", "render"]

PAGE: Path = SHIPPED / "grafana.json"
WIDTH, HEIGHT = 8, 7
COLUMNS = 3
SOURCE = {"type": "prometheus", "uid": "${source}"}


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph: expressions over the daemon's metrics, with the name of each curve."""

    title: str
    queries: tuple[tuple[str, str], ...]
    """PromQL and legend; `$box` stands for the chosen instances."""
    unit: str = "short"
    kind: str = "timeseries"
    help: str = ""


def quantile(q: float, metric: str, by: str = "") -> str:
    """A quantile over five minutes."""
    labels = f"le, {by}" if by else "le"
    buckets = f"rate({metric}_bucket{{instance=~'$box'}}[5m])"
    return f"histogram_quantile({q}, sum by ({labels}) ({buckets}))"


def rate(metric: str, by: str) -> str:
    """Events a second over five minutes."""
    return f"sum by ({by}) (rate({metric}{{instance=~'$box'}}[5m]))"


def now(metric: str) -> str:
    """The value as it is."""
    return f"{metric}{{instance=~'$box'}}"


PANELS = (
    Panel(
        "Model that answers",
        ((now("intentd_model_info"), "{{name}} {{version}} ({{phase}})"),),
        kind="stat",
        help="More than one name means that boxes answer with different bundles.",
    ),
    Panel(
        "Can keep corrections",
        ((now("intentd_store_ok"), "{{instance}}"),),
        kind="stat",
        help="0: the disk is full or the store is broken; answers go on, corrections get 507.",
    ),
    Panel(
        "Running since",
        ((f"time() - {now('process_start_time_seconds')}", "{{instance}}"),),
        unit="s",
        kind="stat",
    ),
    Panel("Requests", ((rate("intentd_requests_total", "route"), "{{route}}"),), unit="reqps"),
    Panel(
        "Refused and failed",
        (
            (
                "sum by (status) (rate(intentd_requests_total"
                "{instance=~'$box', status=~'[45]..'}[5m]))",
                "{{status}}",
            ),
        ),
        unit="reqps",
        help="429 and 503: the queue is full; the client was told when to come again.",
    ),
    Panel(
        "Requests that wait",
        ((now("intentd_queue_depth"), "{{instance}}"),),
        help="Close to the setting queue_size, requests are turned away.",
    ),
    Panel(
        "Texts by reason", ((rate("intentd_predictions_total", "reason"), "{{reason}}"),), "reqps"
    ),
    Panel(
        "Texts answered from memory",
        ((rate("intentd_repeats_total", "instance"), "{{instance}}"),),
        unit="reqps",
        help="The very same was asked before (setting repeat_cache).",
    ),
    Panel(
        "Seconds by stage, p95",
        ((quantile(0.95, "intentd_stage_seconds", "stage"), "{{stage}}"),),
        unit="s",
        help="queue grows with load, infer with the model and the length of texts.",
    ),
    Panel(
        "Tokens of a text",
        (
            (quantile(0.5, "intentd_tokens"), "p50"),
            (quantile(0.95, "intentd_tokens"), "p95"),
        ),
    ),
    Panel(
        "Texts longer than the window",
        ((rate("intentd_truncated_total", "instance"), "{{instance}}"),),
        unit="reqps",
    ),
    Panel(
        "Corrections an hour",
        (("3600 * " + rate("intentd_corrections_total", "kind"), "{{kind}}"),),
        help="A correction says that an answer was wrong, a confirmation that it was right.",
    ),
    Panel(
        "Corrections that wait for upstream",
        ((now("intentd_outbox_records"), "{{instance}}"),),
        help="0 after each sync; a line that only rises means that sync does not get through.",
    ),
    Panel(
        "Answers not kept for review",
        ((now("intentd_predictions_dropped"), "{{instance}}"),),
        help="Since the start: the disk was slower than the answers.",
    ),
    Panel(
        "Model in memory",
        ((now("intentd_model_loaded"), "{{instance}}"),),
        help="0 while it is unloaded for want of requests (idle_unload_s), or being swapped.",
    ),
    Panel(
        "Swaps a day",
        (
            ("86400 * " + rate("intentd_swaps_total", "state"), "{{state}}"),
            (now("intentd_swap_in_progress"), "{{instance}} in progress"),
        ),
        help="How activations ended.",
    ),
    Panel(
        "Shadow",
        (
            (rate("intentd_shadow_texts_total", "instance"), "{{instance}} texts a second"),
            (now("intentd_shadow_agreement"), "{{instance}} agreement"),
        ),
        help="What a candidate was asked in the background, and how often it said the same.",
    ),
    Panel(
        "Memory",
        (
            (now("process_resident_memory_bytes"), "{{instance}} resident"),
            (now("process_virtual_memory_bytes"), "{{instance}} virtual"),
        ),
        unit="bytes",
    ),
    Panel(
        "CPU",
        ((rate("process_cpu_seconds_total", "instance"), "{{instance}}"),),
        unit="percentunit",
        help="1 is one core.",
    ),
    Panel(
        "Open files",
        (
            (now("process_open_fds"), "{{instance}} open"),
            (now("process_max_fds"), "{{instance}} limit"),
        ),
    ),
)


def render() -> str:
    """The dashboard as Grafana (10 and later) imports it."""
    dashboard = {
        "title": "intentd",
        "uid": "intentd",
        "schemaVersion": 39,
        "editable": True,
        "refresh": "1m",
        "tags": ["intentd"],
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": [_source(), _boxes()]},
        "panels": [_panel(number, panel) for number, panel in enumerate(PANELS)],
    }
    return json.dumps(dashboard, indent=1, ensure_ascii=False) + "\n"


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _boxes() -> dict[str, Any]:
    return {
        "name": "box",
        "label": "Box",
        "type": "query",
        "datasource": SOURCE,
        "query": "label_values(intentd_model_info, instance)",
        "includeAll": True,
        "multi": True,
        "refresh": 2,
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    return {
        "id": number + 1,
        "title": panel.title,
        "description": panel.help,
        "type": panel.kind,
        "datasource": SOURCE,
        "gridPos": {
            "x": number % COLUMNS * WIDTH,
            "y": number // COLUMNS * HEIGHT,
            "w": WIDTH,
            "h": HEIGHT,
        },
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "expr": query, "legendFormat": legend}
            for index, (query, legend) in enumerate(panel.queries)
        ],
    }


if __name__ == "__main__":
    PAGE.write_text(render(), "utf-8")
