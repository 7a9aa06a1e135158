"""Runs `intentd-train` beside a Ray cluster of two nodes, all on this machine, and ends both.

A process of its own: `python -m tests.training.two_nodes DIRECTORY ARGS…`. What Ray keeps lies in
that directory, whose path must be short: sockets lie there too.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path

OBJECT_STORE_BYTES = 80 << 20


def main(directory: Path, words: list[str]) -> None:
    """Begin the cluster, run the command, end the cluster."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    warnings.simplefilter("ignore")  # Ray's own, of what it will rename
    from ray.cluster_utils import Cluster

    from training.cli import main as train

    logging.getLogger("ray").setLevel(logging.ERROR)
    options = {
        "object_store_memory": OBJECT_STORE_BYTES,
        "temp_dir": str(directory),
        "include_dashboard": False,
    }
    # Each node has room for one worker of two CPUs; the first also for what lists the files.
    cluster = Cluster(initialize_head=True, head_node_args=options | {"num_cpus": 3})
    try:
        cluster.add_node(num_cpus=2, object_store_memory=OBJECT_STORE_BYTES)
        cluster.wait_for_nodes()
        sys.argv = ["intentd-train", *words, "--set", f'shadow.address="{cluster.address}"']
        sys.argv += ["--set", "shadow.worker_cpus=2"]
        train()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
