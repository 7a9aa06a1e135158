"""Models with planted outliers through the whole build: how many are packed outside the bound?

None may be. What lies on disk is compared with a fresh PyTorch model, not with what the build said.

    python -m benchmarks.planted --seeds 10
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from pathlib import Path
from typing import get_args

from rich.console import Console

from benchmarks.machine import describe_machine
from export.build import build_bundle
from export.checkpoint import open_checkpoint
from export.errors import ParityFailed
from export.examine import Phase, examine
from export.gate import Gate
from export.report import Reporter
from export.settings import BuildOptions
from tests.outliers import Kind, worst_delta, write_model

# The self-test's scores are rounded to four places; the comparison is not.
BOUND = Gate().max_delta


def main() -> None:
    """Build one of each kind for every seed, naive int8 and the automatic choice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="of each kind; 10 make 20 models")
    options = parser.parse_args()
    print(describe_machine())
    print("| model | seed | int8 alone | auto | max \\|Δscore\\| on disk |")
    print("|---|---|---|---|---|")
    outside = 0
    for kind in get_args(Kind):
        for seed in range(options.seeds):
            outside += _try(kind, seed)
    print(f"\npacked outside {BOUND:g}: {outside} of {2 * options.seeds}")
    sys.exit(outside > 0)


def _try(kind: Kind, seed: int) -> bool:
    """Whether what was packed is outside the bound."""
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        source = open_checkpoint(write_model(kind, seed, scratch / "source"))
        traits = examine(source, Phase.A)
        quiet = Reporter(Console(file=io.StringIO()))
        work = scratch / "work"
        naive = BuildOptions(scratch / "naive", recipe="int8", work_dir=work, keep=True)
        try:
            build_bundle(source, traits, naive, quiet)
            alone = "packed"
        except ParityFailed:
            alone = "refused"
        bundle = build_bundle(
            source, traits, BuildOptions(scratch / "auto", work_dir=work, keep=True), quiet
        )
        worst = worst_delta(source.path, traits, bundle)
        recipe = bundle.manifest.quantization.recipe
    print(f"| {kind} | {seed} | {alone} | {recipe} | {worst:.4f} |", flush=True)
    return not worst <= BOUND


if __name__ == "__main__":
    main()
