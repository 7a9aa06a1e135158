"""intentd and what a user would pick instead, measured side by side, each alone while it runs.

    python -m benchmarks                      # everything; half an hour, 12 GB of memory
    python -m benchmarks --only b-short,idle  # some rows; --list names them
    python -m benchmarks --quick              # small models; fails if a ratio has fallen far behind
    python -m benchmarks --render --write docs/performance.md   # the page anew, measuring nothing

Results of earlier runs stay in `--out` until the same row is measured again.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.contenders import CONTENDERS
from benchmarks.figures import Finding, Verdict
from benchmarks.machine import describe_machine
from benchmarks.races import Bench
from benchmarks.random_models import Scale, default_cache
from benchmarks.report import RESULTS, Record, markdown, read, replace_region, write
from benchmarks.rows import ROWS, Row

__all__ = ["main"]

OUT = Path(".run") / "bench"
QUICK_ROWS = ("b-short", "b-clients", "a-four", "a-twenty", "b-size", "a-size", "repeat", "logging",
              "ceiling-b", "ceiling-a", "graph-b", "graph-a")  # fmt: skip
QUICK_SKIP = frozenset({"infinity", "mlflow", "optimum", "by-hand"})
QUICK_EFFORT = 0.6
REGION = "performance"
EXIT_TERMINATED = 143
FAILED = "failed: "


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, and write the results; see `_status` for what it returns."""
    options = _parse(argv)
    if options.list:
        for row in ROWS:
            print(f"{row.name:18} {row.title}")
        return 0
    out = options.out / ("quick" if options.quick else "full")
    records = []
    for record in () if options.render else _measure(options):
        records.append(record)
        write(out, [record])  # at once: the next row may take the machine down
    everything = read(out / RESULTS)
    print(f"\n{markdown(records or everything)}")
    if options.write:
        _write_page(options.write, everything, out)
    return 0 if options.render else _status(records, is_quick=options.quick)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [row.name for row in ROWS]
    parser.add_argument("--only", help="rows, with commas between them", default="")
    parser.add_argument("--skip", help="contenders, with commas between them", default="")
    parser.add_argument("--list", action="store_true", help="name the rows, and measure nothing")
    parser.add_argument("--quick", action="store_true", help="small models, bounds for noise")
    parser.add_argument("--effort", type=float, help="times as many rounds")
    parser.add_argument("--models", type=Path, default=default_cache(), help="where they lie")
    parser.add_argument("--out", type=Path, default=OUT, help="where results lie")
    parser.add_argument("--render", action="store_true", help="show what was measured before")
    parser.add_argument("--write", type=Path, help="a page whose marked region is written anew")
    options = parser.parse_args(argv)
    options.only = _chosen(parser, options.only, names, QUICK_ROWS if options.quick else names)
    skipped = _chosen(parser, options.skip, list(CONTENDERS), ())
    options.skip = frozenset(skipped) | (QUICK_SKIP if options.quick else frozenset())
    options.effort = options.effort or (QUICK_EFFORT if options.quick else 1.0)
    return options


def _chosen(
    parser: argparse.ArgumentParser, given: str, known: Sequence[str], default: Sequence[str]
) -> Sequence[str]:
    names = [name for name in given.split(",") if name]
    if unknown := [name for name in names if name not in known]:
        parser.error(f"expected some of {', '.join(known)}; found {', '.join(unknown)}")
    return names or default


def _measure(options: argparse.Namespace) -> Iterator[Record]:
    scale = Scale.QUICK if options.quick else Scale.FULL
    bench = Bench(options.models, scale, options.effort, options.skip)
    command = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
    return (_one(row, bench, command) for row in ROWS if row.name in options.only)


def _one(row: Row, bench: Bench, command: str) -> Record:
    sys.stderr.write(f"{row.name}: {row.title} …\n")
    began, load = time.perf_counter(), os.getloadavg()[0]
    findings: tuple[Finding, ...] = ()
    missing = ""
    try:
        findings = tuple(row.measure(bench))
    except FileNotFoundError as error:
        missing = str(error)
    except (OSError, RuntimeError, EOFError) as error:  # a contender's: the other rows go on
        missing = f"{FAILED}{error!r}"
    seconds = round(time.perf_counter() - began, 1)
    sys.stderr.write(f"{row.name}: {missing or f'{seconds:.0f} s'}\n")
    machine = describe_machine()
    return Record(
        row.name, findings, machine, command, round(load, 2), seconds, bench.is_quick, missing
    )


def _write_page(page: Path, records: Sequence[Record], out: Path) -> None:
    table = markdown(records)
    page.write_text(replace_region(page.read_text("utf-8"), REGION, table), "utf-8")
    shutil.copyfile(out / "results.svg", page.with_suffix(".svg"))


def _status(records: Sequence[Record], *, is_quick: bool) -> int:
    """1 if a row failed, or nothing could be measured, or a quick run finds a regression."""
    missed = [
        f"a regression: {found.what}: {found.figure.median:.2f}{found.unit}"
        for record in records
        for found in record.findings
        if is_quick and found.verdict(is_quick=True) is Verdict.MISSED
    ]
    failed = [each.missing for each in records if each.missing.startswith(FAILED)]
    nothing = [] if any(record.findings for record in records) else ["nothing could be measured"]
    for problem in (*missed, *failed, *nothing):
        sys.stderr.write(f"{problem}\n")
    return int(bool(missed or failed or nothing))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))  # so that contenders end
    sys.exit(main())
