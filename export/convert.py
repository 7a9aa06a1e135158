"""From a Hugging Face encoder to an fp32 ONNX graph, and the PyTorch reference to judge it by.

The only file that imports torch, transformers and optimum. It quantises nothing.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from optimum.exporters.onnx import main_export
from transformers import AutoModel

from edge.tokens import TextTokenizer
from export.errors import ConversionFailed

__all__ = ["TorchEncoder", "export_encoder"]

Vector = npt.NDArray[np.float32]


class TorchEncoder:
    """The original in fp32: masked mean over its tokens, scaled to length 1."""

    def __init__(self, source: Path, tokenizer: TextTokenizer, max_tokens: int) -> None:
        self._model = AutoModel.from_pretrained(source, local_files_only=True).eval()
        self._tokenizer = tokenizer
        self._room = max_tokens - tokenizer.n_special_single

    def embed(self, text: str) -> Vector:
        """float32 [dim] of length 1, from the very ids that the edge feeds its graph."""
        row = self._tokenizer.single(self._tokenizer.encode(text, self._room).ids)
        with torch.inference_mode():
            ids = torch.from_numpy(row.ids)[None]
            types = torch.from_numpy(row.type_ids)[None]
            hidden = self._model(
                input_ids=ids, attention_mask=torch.ones_like(ids), token_type_ids=types
            ).last_hidden_state
            pooled = torch.nn.functional.normalize(hidden.mean(dim=1), dim=-1)
        return np.asarray(pooled[0].numpy(), dtype=np.float32)


def export_encoder(source: Path, out: Path, opset: int) -> Path:
    """Convert with Optimum; returns `out/model.onnx`, whose output is `last_hidden_state`.

    Optimum's own check runs random ids against a loose bound and only warns, so it is left off;
    `export.parity` is the gate.

    Raises:
        ConversionFailed: Optimum wrote no graph.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the TorchScript tracer warns of its own internals
        main_export(
            str(source),
            output=out,
            task="feature-extraction",
            opset=opset,
            library_name="transformers",
            local_files_only=True,
            do_validation=False,
        )
    model = out / "model.onnx"
    if not model.is_file():
        raise ConversionFailed(f"{source}: expected Optimum to write {model}, found nothing there")
    return model
