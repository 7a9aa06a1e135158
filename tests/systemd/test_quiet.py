"""The runtime's maker hears nothing of this machine, whatever the runtime would like."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from edge.bundle import MODEL, STARTER
from tests.daemons import ROOT

OURS = "from edge.runtime import Graph, RuntimeOptions; Graph(Path({path!r}), RuntimeOptions())"


def test_loading_a_model_leaves_no_trace_at_home(tmp_path: Path) -> None:
    """Onnxruntime 1.32 notes each session in ~/.cache, to be sent over the network; not here."""
    assert traces(OURS, tmp_path) == []


def traces(statement: str, home: Path) -> list[str]:
    """The files that a process leaves in its home after loading the starter's graph."""
    script = "from pathlib import Path\n" + statement.format(path=str(STARTER / MODEL))
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, check=True)
    return [str(path.relative_to(home)) for path in home.rglob("*")]
