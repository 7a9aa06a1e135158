"""Builds tiny bundles for tests: real architectures and tokenizers, few and random weights.

They know nothing, but they compute what their big siblings compute. To play with them:
`python -m tests.models OUT_DIR`.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edge.bundle import (
    CARD,
    MANIFEST,
    MODEL,
    SELFTEST,
    STARTER,
    TOKENIZER,
    Bundle,
    Manifest,
    Quantization,
    SelfTestCase,
    Source,
    Task,
    seal_bundle,
)
from edge.labels import LabelSet
from edge.similarity import LabelBank, SimilarityParams, segments

__all__ = ["INTENTS", "NAMES", "TEMPLATE", "TinyModel", "build", "change_bundle", "missing"]

SHARED = Path(__file__).parents[2] / "shared" / "data"
BART = SHARED / "tokenizers" / "bart-large-mnli"
DISTILBERT = SHARED / "tokenizers" / "distilbert-base-uncased-mnli"
INTENTS = ("SUMMARIZE", "EXTRACT", "REASON", "SEARCH_ONLY")
TEMPLATE = "This example is {}."
OPSET = 18
SEED = 3
GAIN = 1.8  # stronger ones tell more texts apart, and amplify rounding beyond 1e-5
MARGIN = 0.2  # int8 noise must not turn a self-test case

TEXTS = (
    "Give me the gist of this article in three sentences.",
    "List every date and amount named in the contract.",
    "Why did the second experiment fail although the first one worked?",
    "find papers on solar panels",
    "The harbour was quiet; gulls sat on the wall, and nobody spoke.",
    "What is the capital of Peru?",
    "Pull the invoice number out of this e-mail.",
    "Sum up the meeting notes for my boss, please.",
    "gulls",
    "Compare both offers and explain which one is cheaper after two years of use.",
    "Who signed the lease, and when?",
    "show me recipes with leeks",
    "In short, what did the minister say about the new railway line?",
    "It follows that the tank was empty before noon; prove it.",
    "3 eggs, 200 g flour, a pinch of salt",
    "Please read this aloud.",
)


@dataclass(frozen=True, slots=True)
class TinyModel:
    """One tiny model in the three forms that tests compare."""

    source: Path
    """The `transformers` directory: what a pipeline loads."""
    bundle: Path
    """The fp32 bundle."""
    int8: Path
    """The same weights, dynamically quantised: its scores depend on batch-mates."""


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What sets one tiny model apart; the model is made later, as that imports torch."""

    task: Task
    make: Callable[[], Any]
    """Makes the `transformers` model, whose weights are then redrawn."""
    needs: Path | None = None
    """Directory of the tokenizer; None means whichever BERT vocabulary is on this machine."""
    window: int = 512
    activation: Literal["softmax", "sigmoid"] = "softmax"


def build(name: str, out: Path) -> TinyModel:
    """Build one tiny model in an empty directory; takes seconds.

    Raises:
        FileNotFoundError: Its tokenizer is not on this machine; `missing` says so beforehand.
    """
    if reason := missing(name):
        raise FileNotFoundError(reason)
    recipe, tiny = _RECIPES[name], TinyModel(*(out / form for form in ("source", "fp32", "int8")))
    for path in (tiny.bundle, tiny.int8):
        path.mkdir(parents=True)
    with _quiet():
        model, tokenizer = _write_source(recipe, tiny.source)
        _export(recipe, model, tokenizer, tiny)
        cases = list(_reference(recipe, model, tokenizer))
    for path, quantization in ((tiny.bundle, "fp32"), (tiny.int8, "int8-dynamic")):
        shutil.copy(tiny.source / TOKENIZER, path / TOKENIZER)
        (path / CARD).write_text(f"# tiny-{name}\n\nSeeded random weights ({quantization}).\n")
        (path / SELFTEST).write_text("".join(json.dumps(asdict(case)) + "\n" for case in cases))
        seal_bundle(path, _manifest(name, recipe, model.config, quantization))
    return tiny


def missing(name: str) -> str | None:
    """Why this tiny model cannot be built here; None if it can."""
    needed = _RECIPES[name].needs
    if needed is not None and not (needed / TOKENIZER).exists():
        return f"tiny {name}: its tokenizer, ../shared/data/tokenizers/{needed.name}, is absent"
    if not (_bert_tokenizer() / TOKENIZER).exists():
        return f"tiny {name}: no BERT tokenizer, neither in ../shared/data nor in edge/starter"
    return None


def change_bundle(bundle: Path, out: Path, **changes: Any) -> Bundle:
    """Copy a bundle with other values in its manifest, and seal it again."""
    shutil.copytree(bundle, out)
    manifest = json.loads((out / MANIFEST).read_text()) | changes
    return seal_bundle(out, Manifest.model_validate(manifest))


def mean_pooled(model: Any, tokenizer: Any, text: str) -> np.ndarray:
    """PyTorch's own sentence vector: float32 [dim] of length 1, the mean over the text's tokens."""
    import torch

    inputs = tokenizer(text, return_tensors="pt", truncation=True)
    with torch.no_grad():
        vector = model(**inputs).last_hidden_state[0].mean(dim=0)
    return np.asarray(torch.nn.functional.normalize(vector, dim=0))


def _bert_tokenizer() -> Path:
    return DISTILBERT if (DISTILBERT / TOKENIZER).exists() else STARTER


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's own deprecations and tracer warnings concern nobody here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        previous = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(previous)


def _write_source(recipe: _Recipe, path: Path) -> tuple[Any, Any]:
    """Make the `transformers` model and tokenizer, and save both."""
    import torch
    from transformers import AutoTokenizer, BertTokenizerFast

    torch.set_num_threads(1)  # more only get in each other's way, on models this small
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        model = recipe.make().eval()
        _redraw(model)
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    inputs = inputs[: 3 if model.config.model_type == "bert" else 2]
    options = {"model_max_length": recipe.window, "model_input_names": inputs}
    directory = recipe.needs or _bert_tokenizer()
    if directory == STARTER:
        tokenizer = BertTokenizerFast(tokenizer_file=str(STARTER / TOKENIZER), **options)
    else:
        tokenizer = AutoTokenizer.from_pretrained(directory, **options)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return model, tokenizer


def _redraw(model: Any) -> None:
    """Fresh weights are so small that every text gets the same logits; these tell texts apart."""
    import torch

    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim == 2:
                weights.normal_(0, GAIN / math.sqrt(weights.shape[1]))


def _export(recipe: _Recipe, model: Any, tokenizer: Any, tiny: TinyModel) -> None:
    """Write the fp32 graph, and the int8 one made from it."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    if recipe.task is Task.ZERO_SHOT_EMBEDDING:
        _export_pooled(model, tokenizer, tiny.bundle / MODEL)
    else:
        _export_classifier(tiny.source, tiny.bundle / MODEL)
    quantize_dynamic(tiny.bundle / MODEL, tiny.int8 / MODEL, weight_type=QuantType.QInt8)


def _export_classifier(source: Path, path: Path) -> None:
    import torch
    from optimum.exporters.onnx import main_export

    work = path.with_suffix(".export")
    with torch.random.fork_rng():
        torch.manual_seed(SEED)  # the dummy input is random, and BART's needs one </s> a row
        main_export(
            str(source),
            output=work,
            task="text-classification",
            opset=OPSET,
            local_files_only=True,
            do_validation=False,
        )
    (work / MODEL).rename(path)
    shutil.rmtree(work)


def _export_pooled(model: Any, tokenizer: Any, path: Path) -> None:
    import torch

    class Pooled(torch.nn.Module):  # type: ignore[misc]  # torch comes without types here
        def __init__(self) -> None:
            super().__init__()
            self.encoder = model

        def forward(self, ids: Any, mask: Any, types: Any) -> Any:
            hidden = self.encoder(ids, mask, types).last_hidden_state
            weights = mask.unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * weights).sum(1) / weights.sum(1)
            return torch.nn.functional.normalize(mean, dim=-1)

    example = tokenizer(["one text", "another, longer text"], padding=True, return_tensors="pt")
    names = ["input_ids", "attention_mask", "token_type_ids"]
    axes = {name: {0: "batch", 1: "tokens"} for name in names} | {
        "sentence_embedding": {0: "batch"}
    }
    torch.onnx.export(
        Pooled().eval(),
        tuple(example[name] for name in names),
        str(path),
        input_names=names,
        output_names=["sentence_embedding"],
        dynamic_axes=axes,
        opset_version=OPSET,
        dynamo=False,
    )


def _reference(recipe: _Recipe, model: Any, tokenizer: Any) -> Iterator[SelfTestCase]:
    """What PyTorch answers, for the texts whose answer is clear."""
    for text in TEXTS:
        labels = () if recipe.task is Task.SEQUENCE_CLASSIFICATION else INTENTS
        scores = _scores(recipe, model, tokenizer, text)
        ranked = sorted(scores, key=scores.__getitem__, reverse=True)
        if len(ranked) == 1 or scores[ranked[0]] - scores[ranked[1]] > MARGIN:
            yield SelfTestCase(text, labels, ranked[0], scores)


def _scores(recipe: _Recipe, model: Any, tokenizer: Any, text: str) -> Mapping[str, float]:
    from transformers import pipeline

    if recipe.task is Task.ZERO_SHOT_NLI:
        nli = pipeline("zero-shot-classification", model=model, tokenizer=tokenizer)
        answer = nli(text, list(INTENTS), hypothesis_template=TEMPLATE)
        return dict(zip(answer["labels"], answer["scores"], strict=True))
    if recipe.task is Task.SEQUENCE_CLASSIFICATION:
        classify = pipeline("text-classification", model=model, tokenizer=tokenizer)
        return {row["label"]: row["score"] for row in classify(text, top_k=None)}
    bank = LabelBank.build(
        LabelSet.from_names(INTENTS),
        lambda label_text: mean_pooled(model, tokenizer, label_text),
        SimilarityParams(),
    )
    vectors = np.stack([mean_pooled(model, tokenizer, part) for part in segments(text)])
    return dict(zip(INTENTS, bank.score(vectors).tolist(), strict=True))


def _manifest(name: str, recipe: _Recipe, config: Any, quantization: str) -> Manifest:
    is_nli, is_fp32 = recipe.task is Task.ZERO_SHOT_NLI, quantization == "fp32"
    labels = [config.id2label[i] for i in range(config.num_labels)]
    ids = {label.lower(): i for i, label in enumerate(labels)}
    return Manifest(
        name=f"tiny-{name}",
        version="1",
        task=recipe.task,
        architecture=config.architectures[0],
        labels=() if recipe.task is Task.ZERO_SHOT_EMBEDDING else tuple(labels),
        entailment_id=ids["entailment"] if is_nli else None,
        contradiction_id=ids["contradiction"] if is_nli else None,
        hypothesis_template=TEMPLATE if is_nli else None,
        activation=recipe.activation,
        max_tokens=recipe.window,
        quantization=Quantization(recipe=quantization, batch_invariant=is_fp32),
        selftest_tolerance=1e-4 if is_fp32 else 0.2,  # random weights suffer from int8
        opset=OPSET,
        source=Source(model="tests.models", revision=f"seed-{SEED}"),
        licence="Apache-2.0",
        created_utc="2026-11-22T00:00:00Z",
    )


def _bart_nli() -> Any:
    from transformers import BartConfig, BartForSequenceClassification

    sizes = {
        f"{part}_{size}": value
        for part in ("encoder", "decoder")
        for size, value in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 48))
    }
    config = BartConfig.from_pretrained(BART, d_model=24, num_hidden_layers=2, **sizes)
    return BartForSequenceClassification(config)


_DISTILBERT_SIZES = {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4}
_BERT_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def _distilbert_nli() -> Any:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    config = DistilBertConfig.from_pretrained(DISTILBERT, **_DISTILBERT_SIZES)
    return DistilBertForSequenceClassification(config)


def _distilbert(labels: tuple[str, ...]) -> Any:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    config = DistilBertConfig(**_DISTILBERT_SIZES, **_names(labels))
    return DistilBertForSequenceClassification(config)


def _names(labels: tuple[str, ...]) -> dict[str, Any]:
    ids = {label: i for i, label in enumerate(labels)}
    return {"label2id": ids, "id2label": {i: label for label, i in ids.items()}}


def _bert_nli() -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    labels = ("contradiction", "entailment", "neutral")
    return BertForSequenceClassification(BertConfig(**_BERT_SIZES, **_names(labels)))


def _bert_encoder() -> Any:
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig(**_BERT_SIZES), add_pooling_layer=False)


_RECIPES: Mapping[str, _Recipe] = {
    "nli-bart": _Recipe(Task.ZERO_SHOT_NLI, _bart_nli, BART, window=1024),
    "nli-distilbert": _Recipe(Task.ZERO_SHOT_NLI, _distilbert_nli, DISTILBERT),
    "nli-bert": _Recipe(Task.ZERO_SHOT_NLI, _bert_nli),
    "intents": _Recipe(Task.SEQUENCE_CLASSIFICATION, lambda: _distilbert(INTENTS)),
    "spam": _Recipe(
        Task.SEQUENCE_CLASSIFICATION, lambda: _distilbert(("SPAM",)), activation="sigmoid"
    ),
    "encoder": _Recipe(Task.ZERO_SHOT_EMBEDDING, _bert_encoder),
}
NAMES = tuple(_RECIPES)


def main(out: Path) -> None:
    """Build all that this machine can, and say where they lie."""
    for name in NAMES:
        reason = missing(name)
        sys.stdout.write(f"{reason or build(name, out / name).bundle}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
