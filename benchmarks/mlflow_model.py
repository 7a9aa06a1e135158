"""A python_function model for `mlflow models serve`: the same session as the plain server's.

It is handed to MLflow as a file, so it imports nothing of this repository where it runs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import mlflow.pyfunc
from mlflow.models import set_model

__all__ = ["Classifier", "save"]


class Classifier(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # mlflow comes without types
    """Texts in, scores by label out."""

    def load_context(self, context: Any) -> None:
        """Open the session and the tokenizer."""
        import onnxruntime as ort
        from transformers import AutoConfig, AutoTokenizer

        source = context.artifacts["source"]
        self.session = ort.InferenceSession(
            context.artifacts["graph"], providers=["CPUExecutionProvider"]
        )
        self.config = AutoConfig.from_pretrained(source)
        self.tokenizer = AutoTokenizer.from_pretrained(
            source, model_max_length=self.config.max_position_embeddings
        )

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """One run for all texts; without types, which MLflow would take for a schema."""
        import numpy as np

        texts = [str(text) for text in np.asarray(model_input).ravel()]
        rows = self.tokenizer(texts, truncation=True, padding=True, return_tensors="np")
        names = [node.name for node in self.session.get_inputs()]
        (logits,) = self.session.run(None, {name: rows[name] for name in names})
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        labels = self.config.id2label
        return [{labels[i]: float(share) for i, share in enumerate(row)} for row in shares]


def save(out: Path, graph: Path, source: Path) -> None:
    """Write the model directory that `mlflow models serve` takes."""
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    mlflow.pyfunc.save_model(
        path=str(out),
        python_model=__file__,
        artifacts={"graph": str(graph), "source": str(source)},
        pip_requirements=["mlflow", "onnxruntime", "transformers"],
    )


set_model(Classifier())
