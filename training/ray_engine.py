"""The engine of many machines: the parts of a shadow run, answered on a Ray cluster.

The only file that knows Ray. The bundles travel with the work; the parts must lie where every node
reads them. Nothing is reported to anybody, and no dashboard is started.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge.bundle import MANIFEST, read_manifest
from export.report import Reporter
from training.contest import Contest, answer_table
from training.errors import InvalidConfig, SourceUnreachable
from training.settings import ShadowSettings

__all__ = ["answer_on_ray"]

Files = Mapping[str, bytes]
START_S = 600
"""How long workers may take to start: a node that was just added unpacks and loads two models."""


class Worker:
    """One process of the cluster, with both models."""

    def __init__(self, contest: Contest, bundles: tuple[Files, Files]) -> None:
        """Unpack the bundles beside it, and load them."""
        import ray

        self._folder = tempfile.TemporaryDirectory(prefix="intentd-shadow-")
        places = [Path(self._folder.name) / name for name in ("champion", "candidate")]
        for place, files in zip(places, bundles, strict=True):
            place.mkdir()
            for name, data in files.items():
                (place / name).write_bytes(data)
        self._pair = replace(contest, champion=places[0], candidate=places[1]).open()
        self._node = ray.get_runtime_context().get_node_id()

    def __call__(self, names: Any) -> Any:
        """Read one part, whose path comes in, and answer it; `node` says where that was."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        (part,) = names["part"].to_pylist()
        found = answer_table(self._pair, pq.read_table(part))
        return found.append_column("node", pa.array([self._node] * len(found), pa.string()))


def answer_on_ray(
    contest: Contest, parts: Path, settings: ShadowSettings, reporter: Reporter
) -> tuple[list[Any], int]:
    """Answer the parts on the cluster.

    Args:
        contest: Who is compared.
        parts: A folder of Parquet files; every node must see it under this path.
        settings: Where the cluster is, and how much of it to take.
        reporter: Shows that it goes on.

    Returns:
        Tables of answers in any order, and how many nodes took part.

    Raises:
        InvalidConfig: Ray is not installed.
        SourceUnreachable: No cluster answers, or it lost the work.
    """
    with _cluster(settings) as ray, reporter.step(f"texts on Ray, {settings.workers} workers"):
        try:
            tables = list(_run(contest, parts, settings))
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1]
            raise SourceUnreachable(
                f"Ray: expected answers from {settings.workers} workers, but {reason}; look at the "
                "cluster with `ray status`, or use --engine local"
            ) from None
    nodes = {node for table in tables for node in table["node"].unique().to_pylist()}
    return [table.drop_columns("node") for table in tables], len(nodes)


def _run(contest: Contest, parts: Path, settings: ShadowSettings) -> Iterator[Any]:
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.wait_for_min_actors_s = START_S  # else the first one does the work of all
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    bundles = (_pack(contest.champion), _pack(contest.candidate))
    files = sorted(str(path) for path in parts.glob("*.parquet"))
    # Paths are given out, one a task: read as a data set, small files become one block, and one
    # worker does the work of all.
    given = ray.data.from_items([{"part": name} for name in files], override_num_blocks=len(files))
    answered = given.map_batches(
        Worker,
        fn_constructor_args=(contest, bundles),
        batch_format="pyarrow",
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(
            size=min(settings.workers, len(files)), max_tasks_in_flight_per_actor=1
        ),
        num_cpus=settings.worker_cpus,
    )
    yield from answered.iter_batches(batch_format="pyarrow", batch_size=None)


@contextmanager
def _cluster(settings: ShadowSettings) -> Iterator[Any]:
    """Ray, connected; what was begun here is ended here."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise InvalidConfig(
            "--engine ray: expected Ray, found none; pip install 'intentd[ray]' here and on every "
            "node, or use --engine local"
        ) from None
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = settings.address or os.environ.get("RAY_ADDRESS")
    try:
        if address:
            ray.init(address=address, **options)
        else:
            ray.init(include_dashboard=False, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise SourceUnreachable(
            f"Ray: expected a cluster at {address or 'this machine'}, but "
            f"{str(error).splitlines()[0]}; start one with `ray start --head`, or name it with "
            "--set shadow.address=HOST:PORT"
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _pack(bundle: Path) -> dict[str, bytes]:
    names = (*read_manifest(bundle).files, MANIFEST)
    return {name: (bundle / name).read_bytes() for name in names}
