"""The only file that knows onnxruntime: it opens a graph with explicit threads and runs rows.

It knows nothing of texts or labels.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# From 1.32 on it would note each session in ~/.cache and report it to its maker over the network.
# The variable is read when the library is loaded; `disable_telemetry_events()` comes too late.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort

from edge.cpu import Cpu, default_threads, read_cpu
from edge.errors import BundleIncompatible
from edge.hugepages import use_huge_pages_soon
from edge.memory import weights_apart

__all__ = ["Graph", "RuntimeOptions", "runtime_version"]

_ROW_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})
# onnxruntime's ERROR level: its warnings go to stderr unasked, and name tensors that nobody here
# can act on.
_QUIET = 3


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """How a graph is run; changes speed and memory, never answers on a given machine."""

    threads: int = 0
    """Threads for one run; 0 means `edge.cpu.default_threads()`."""
    spinning: bool = False
    """Whether idle threads burn CPU waiting for work.

    It cost 54 instead of 10 CPU-ms a request and saved no latency (measured 2026-11-22).
    """
    arena: bool = False
    """Whether freed memory is kept for later runs; it ratchets with the longest text ever seen."""
    vectors: Path | None = None
    """Directory in which a family that embeds labels keeps their vectors between two starts."""


class Graph:
    """One ONNX graph with its session.

    `run` may be called from any thread, and from several at once: they share the weights.
    """

    def __init__(self, path: Path, options: RuntimeOptions, cpu: Cpu | None = None) -> None:
        """Load the graph.

        Raises:
            BundleIncompatible: The runtime cannot load it, or its inputs are not rows of token ids.
        """
        try:
            with weights_apart():
                self._session = ort.InferenceSession(
                    str(path),
                    _session_options(options, cpu or read_cpu()),
                    providers=["CPUExecutionProvider"],
                )
        except Exception as error:  # onnxruntime raises its own unrelated types, and RuntimeError
            raise BundleIncompatible(
                f"{path}: onnxruntime {ort.__version__} cannot load the graph: {error}"
            ) from error
        use_huge_pages_soon()
        self.threads: int = self._session.get_session_options().intra_op_num_threads
        """Threads for one run."""
        self.input_names = frozenset(node.name for node in self._session.get_inputs())
        self.output_name: str = self._session.get_outputs()[0].name
        if not {"input_ids", "attention_mask"} <= self.input_names <= _ROW_INPUTS:
            raise BundleIncompatible(
                f"{path}: expected the inputs input_ids and attention_mask (and at most "
                f"token_type_ids), found {sorted(self.input_names)}; "
                "export the model with intentd-export"
            )

    def run(self, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        """First output for int64 inputs [batch, tokens]: float32 [batch, …]."""
        feed = {name: rows[name] for name in self.input_names}
        (output,) = self._session.run([self.output_name], feed)
        return np.asarray(output)


def runtime_version() -> str:
    """Version of onnxruntime."""
    return str(ort.__version__)


def _session_options(options: RuntimeOptions, cpu: Cpu) -> ort.SessionOptions:
    session = ort.SessionOptions()
    # Always explicit: unset, onnxruntime pins threads to CPUs and fails noisily in containers with
    # a cpuset.
    session.intra_op_num_threads = options.threads or default_threads()
    session.inter_op_num_threads = 1
    session.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    session.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session.enable_cpu_mem_arena = options.arena
    session.log_severity_level = _QUIET
    session.add_session_config_entry("session.intra_op.allow_spinning", str(int(options.spinning)))
    session.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # A bundle's graph is one file under one hash; where weights are looked for beside it, none are.
    session.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", os.devnull
    )
    if cpu.saturates_int8:
        # Unsigned × signed int8 overflows on this CPU; the runtime then converts to
        # unsigned × unsigned.
        session.add_session_config_entry("session.x64quantprecision", "1")
    return session
