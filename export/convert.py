"""From a Hugging Face model to an fp32 ONNX graph, and the PyTorch reference to judge it by.

The only file that imports torch, transformers and optimum. It quantises nothing.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from optimum.exporters.onnx import main_export
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from edge.tokens import Row, TextTokenizer
from export.errors import ConversionFailed, ExportError, OutputFailed, SourceInvalid
from export.quiet import quiet

__all__ = ["TorchClassifier", "TorchEncoder", "export_classifier", "export_encoder"]

Vector = npt.NDArray[np.float32]

ATTEMPTS = 5
RUST_OS_ERROR = "(os error "


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


class TorchClassifier:
    """The original in fp32, with its own tokenizer: what the bundle is judged by."""

    def __init__(self, source: Path, max_tokens: int) -> None:
        """Load the weights.

        Raises:
            SourceInvalid: They are not those of the config, or `transformers` cannot read them.
        """
        with quiet():
            try:
                self._tokenizer = AutoTokenizer.from_pretrained(
                    source, local_files_only=True, split_special_tokens=True
                )
                self._model, report = AutoModelForSequenceClassification.from_pretrained(
                    source, local_files_only=True, use_safetensors=True, output_loading_info=True
                )
            except Exception as error:  # the library raises whatever its parts do
                raise SourceInvalid(
                    f"{source}: expected a model that transformers loads, but "
                    f"{_first_line(error)}; fetch it again, or save it anew with save_pretrained"
                ) from error
        missing = sorted(report["missing_keys"])
        if missing:
            raise SourceInvalid(
                f"{source}: expected weights for all of the model, found none for {missing[0]} "
                f"({len(missing)} missing); this is not the fine-tuned classifier: choose another"
            )
        self._model.eval()
        self._window = max_tokens

    def encode(self, text: str, hypothesis: str | None) -> Row:
        """One row as `transformers` makes it: typed specials are text, only the text is cut."""
        encoding = self._tokenizer(
            text,
            hypothesis,
            truncation="only_first" if hypothesis is not None else True,
            max_length=self._window,
            return_token_type_ids=True,
        )
        ids, types = encoding["input_ids"], encoding["token_type_ids"]
        return Row(np.array(ids, dtype=np.int64), np.array(types, dtype=np.int64))

    def logits(self, row: Row) -> Vector:
        """float32 [labels] for one row by itself."""
        ids = torch.from_numpy(row.ids)[None]
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if "token_type_ids" in self._tokenizer.model_input_names and self._reads_types():
            inputs["token_type_ids"] = torch.from_numpy(row.type_ids)[None]
        with torch.inference_mode():
            return np.asarray(self._model(**inputs).logits[0].numpy(), dtype=np.float32)

    def _reads_types(self) -> bool:
        return int(getattr(self._model.config, "type_vocab_size", 0)) > 1


def export_classifier(source: Path, out: Path, opset: int) -> Path:
    """Convert with Optimum; returns `out/model.onnx`, whose output is `logits`.

    The exporter's dummy input is random. For BART it holds one end of sentence a row, at a random
    place, and the trace fails where chance puts in another one: so it is seeded, and tried again.

    Raises:
        ConversionFailed: Optimum wrote no graph.
        OutputFailed: The disk is full.
    """
    for seed in range(ATTEMPTS):
        try:
            with quiet(), _seeded(seed):
                main_export(
                    str(source),
                    output=out,
                    task="text-classification",
                    opset=opset,
                    library_name="transformers",
                    local_files_only=True,
                    trust_remote_code=False,
                    do_validation=False,
                )
        except OSError:
            raise
        except Exception as error:  # the libraries raise whatever their parts do
            if "<eos>" in str(error) and seed + 1 < ATTEMPTS:
                continue
            raise _explain(error, source, out) from error
        break
    model = out / "model.onnx"
    if not model.is_file():
        raise ConversionFailed(f"{source}: expected Optimum to write {model}, found nothing there")
    return model


def _explain(error: Exception, source: Path, out: Path) -> ExportError:
    """Parts in Rust raise a bare `Exception` where the disk refuses."""
    if RUST_OS_ERROR in str(error):
        return OutputFailed(
            f"{out}: expected to write there, but {_first_line(error)}; make room, or give another "
            "place by --work-dir; nothing was packed"
        )
    return ConversionFailed(
        f"{source}: expected Optimum to convert the model, but {_first_line(error)}; "
        "choose an architecture that optimum-onnx supports"
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Fix every source of chance that the exporter draws from, and put the old state back."""
    python, array = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(array)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
