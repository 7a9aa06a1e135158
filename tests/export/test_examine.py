"""What a model is for: read from its config by name, or an error in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge.bundle import Task
from export.checkpoint import Checkpoint, open_checkpoint
from export.errors import SourceInvalid
from export.examine import Phase, examine
from tests.export.checkpoints import checkpoint_files


@pytest.fixture
def open_with(tmp_path: Path) -> Any:
    """Makes a checkpoint with another config, and another window in its tokenizer."""

    def make(tokenizer_window: object = 1024, **config: Any) -> Checkpoint:
        files = checkpoint_files(**config)
        files["tokenizer_config.json"] = json.dumps({"model_max_length": tokenizer_window}).encode()
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        return open_checkpoint(tmp_path)

    return make


def names(*labels: str) -> dict[str, str]:
    """An `id2label`."""
    return {str(i): label for i, label in enumerate(labels)}


def refusal(checkpoint: Checkpoint, phase: Phase = Phase.A) -> str:
    """Why it is turned away: one line."""
    with pytest.raises(SourceInvalid) as caught:
        examine(checkpoint, phase)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("labels", "entailment", "contradiction"),
    [
        (("contradiction", "neutral", "entailment"), 2, 0),
        (("ENTAILMENT", "NEUTRAL", "CONTRADICTION"), 0, 2),
        (("Entailed", "not_entailment"), 0, 1),
        (("not_entailment", "entailment"), 1, 0),
    ],
)
def test_ids_come_from_names(
    open_with: Any, labels: tuple[str, ...], entailment: int, contradiction: int
) -> None:
    """Models disagree about the order; none is taken for granted."""
    traits = examine(open_with(id2label=names(*labels)), Phase.A)

    assert traits.task is Task.ZERO_SHOT_NLI
    assert (traits.entailment_id, traits.contradiction_id) == (entailment, contradiction)
    assert traits.labels == labels
    assert traits.template == "This example is {}."


def test_labels_are_in_the_order_of_the_logits_not_of_the_file(open_with: Any) -> None:
    """JSON objects have no order; more than ten labels sort wrongly as text."""
    labels = {str(i): f"L{i}x" for i in (11, 2, 0, 10, 1, 3, 4, 5, 6, 7, 8, 9)}

    assert examine(open_with(id2label=labels), Phase.B).labels == tuple(f"L{i}x" for i in range(12))


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (names("positive", "negative"), "--phase b"),
        (names("LABEL_0", "LABEL_1", "LABEL_2"), "expected an NLI model"),
        (names("entailment", "neutral"), "one entailment and one contradiction"),
        (names("entailment", "entails", "contradiction"), "expected an NLI model"),
        ({"1": "a", "2": "b"}, "count from 0"),
        (names("a", "a"), "distinct"),
        ({}, "id2label"),
        (None, "id2label"),
    ],
)
def test_labels_that_do_not_say_what_must_be_known_are_refused(
    open_with: Any, labels: object, problem: str
) -> None:
    """Nothing is guessed."""
    assert problem in refusal(open_with(id2label=labels))


@pytest.mark.parametrize(
    "architecture", ["GPT2LMHeadModel", "LlamaForCausalLM", "T5ForConditionalGeneration"]
)
def test_generative_models_are_named_as_such(open_with: Any, architecture: str) -> None:
    """A person who brings one has to know why it cannot be."""
    message = refusal(open_with(architectures=[architecture]))

    assert f"generative {architecture}" in message


@pytest.mark.parametrize("architectures", [["BertModel"], ["BartForQuestionAnswering"], [], None])
def test_other_architectures_are_refused(open_with: Any, architectures: object) -> None:
    """Only a classifier has labels."""
    assert "ForSequenceClassification" in refusal(open_with(architectures=architectures))


@pytest.mark.parametrize(
    ("config", "tokenizer", "window"),
    [
        ({"max_position_embeddings": 1024}, 1024, 1024),
        ({"max_position_embeddings": 1024}, 512, 512),
        ({"max_position_embeddings": 512}, 10**30, 512),
        ({"max_position_embeddings": 512}, None, 512),
        ({"max_position_embeddings": None}, 256, 256),
        ({"max_position_embeddings": 514, "model_type": "roberta", "pad_token_id": 1}, None, 512),
    ],
)
def test_window_is_the_smaller_of_model_and_tokenizer(
    open_with: Any, config: dict[str, Any], tokenizer: object, window: int
) -> None:
    """RoBERTa counts two positions that no token ever has; 10^30 means that nobody said."""
    assert examine(open_with(tokenizer, **config), Phase.A).max_tokens == window


@pytest.mark.parametrize("tokenizer", [None, 10**30, 4, -1, "512"])
def test_window_that_nobody_states_is_refused(open_with: Any, tokenizer: object) -> None:
    """Neither a default nor a guess."""
    assert "max_position_embeddings" in refusal(open_with(tokenizer, max_position_embeddings=None))


@pytest.mark.parametrize(
    ("config", "activation"),
    [
        ({"id2label": names("a", "b")}, "softmax"),
        ({"id2label": names("a", "b"), "problem_type": "single_label_classification"}, "softmax"),
        ({"id2label": names("a", "b"), "problem_type": "multi_label_classification"}, "sigmoid"),
        ({"id2label": names("SPAM")}, "sigmoid"),
    ],
)
def test_activation_is_that_of_the_pipeline(
    open_with: Any, config: dict[str, Any], activation: str
) -> None:
    """One logit, or labels that stand apart: sigmoid."""
    traits = examine(open_with(**config), Phase.B)

    assert traits.task is Task.SEQUENCE_CLASSIFICATION
    assert traits.activation == activation
    assert traits.entailment_id is None
    assert traits.template is None


def test_regression_and_unnamed_labels_are_no_classifier(open_with: Any) -> None:
    """Apps would see a number without a meaning, or LABEL_0."""
    number = {"id2label": names("a"), "problem_type": "regression"}

    assert "regression" in refusal(open_with(**number), Phase.B)
    assert "names" in refusal(open_with(id2label=names("LABEL_0", "LABEL_1")), Phase.B)


@pytest.mark.parametrize("template", ["no place", "{} and {}", "{0}", "{", ""])
def test_template_needs_one_place_for_the_label(open_with: Any, template: str) -> None:
    """The same rule as in a request."""
    with pytest.raises(SourceInvalid, match=r"one \{\}"):
        examine(open_with(), Phase.A, template)
