"""Other services' wire formats, translated: Hugging Face inference, and text-embeddings-inference.

`huggingface_hub.InferenceClient` changed the zero-shot answer it reads in 1.2.0; one body cannot
serve both, so the client's version decides. Source: huggingface_hub#3557, and its code at ee0a451.
"""

from __future__ import annotations

import re
from typing import Any

from edge.errors import InvalidValue
from edge.wire import (
    MAX_TOP_K,
    ClassifyAnswer,
    ClassifyRequest,
    HubRequest,
    Reason,
    Score,
    TeiRequest,
)

__all__ = [
    "hub_answer",
    "hub_request",
    "reads_pipeline_shape",
    "tei_answer",
    "tei_request",
]

ZERO_SHOT = "zero-shot-classification"
TASKS = (ZERO_SHOT, "text-classification")
_CLIENT = re.compile(r"\bhf_hub/([0-9]{1,4})\.([0-9]{1,4})")
_FIRST_LIST_SHAPE = (1, 2)


def hub_request(body: HubRequest, task: str | None) -> ClassifyRequest:
    """The request in our own words.

    Args:
        body: As the client sent it.
        task: From the path `/pipeline/{task}`; None means: zero-shot if it brings candidate labels.

    Raises:
        InvalidValue: A task that is not served, or a combination that has no meaning here.
    """
    parameters = body.parameters
    labels = parameters.candidate_labels
    if task is not None and task not in TASKS:
        raise InvalidValue(f"task: expected one of {', '.join(TASKS)}; this service has no other")
    if task == ZERO_SHOT and labels is None:
        raise InvalidValue("parameters.candidate_labels: expected labels, found none")
    if isinstance(labels, str):
        labels = [label.strip() for label in labels.split(",")]
    if parameters.function_to_apply == "none":
        raise InvalidValue(
            "parameters.function_to_apply: expected sigmoid or softmax; raw logits are not served"
        )
    text, texts = (body.inputs, None) if isinstance(body.inputs, str) else (None, body.inputs)
    return ClassifyRequest(
        text=text,
        texts=texts,
        labels=labels,
        multi_label=bool(parameters.multi_label) or parameters.function_to_apply == "sigmoid",
        hypothesis_template=parameters.hypothesis_template,
        top_k=parameters.top_k and min(parameters.top_k, MAX_TOP_K),  # theirs has no bound
    )


def reads_pipeline_shape(user_agent: str, requested: str | None) -> bool:
    """Whether the client reads `{"sequence", "labels", "scores"}` rather than a list of elements.

    Args:
        user_agent: The header; `hf_hub/X.Y.Z` names the client's version.
        requested: `?format=pipeline` or `?format=list`, which decides alone.

    Raises:
        InvalidValue: Another format was asked for.
    """
    if requested is not None:
        if requested not in ("pipeline", "list"):
            raise InvalidValue(f"format: expected pipeline or list, found {requested[:20]!r}")
        return requested == "pipeline"
    client = _CLIENT.search(user_agent)
    return client is not None and (int(client[1]), int(client[2])) < _FIRST_LIST_SHAPE


def hub_answer(body: HubRequest, answers: list[ClassifyAnswer], pipeline_shape: bool) -> Any:
    """What the Hugging Face client expects for this request."""
    inputs = [body.inputs] if isinstance(body.inputs, str) else body.inputs
    if body.parameters.candidate_labels is None:
        return [
            _elements(answer) for answer in answers
        ]  # nested also for one text: clients take [0]
    shaped = [
        _pipeline(text, answer) if pipeline_shape else _elements(answer)
        for text, answer in zip(inputs, answers, strict=True)
    ]
    return shaped[0] if isinstance(body.inputs, str) else shaped


def tei_request(body: TeiRequest) -> ClassifyRequest:
    """The request in our own words.

    Raises:
        InvalidValue: A pair of texts, or raw scores.
    """
    if body.raw_scores:
        raise InvalidValue("raw_scores: expected false; raw logits are not served")
    if isinstance(body.inputs, str):
        return ClassifyRequest(text=body.inputs)
    texts = [
        item for entry in body.inputs for item in ([entry] if isinstance(entry, str) else entry)
    ]
    is_pair = any(isinstance(entry, str) for entry in body.inputs) and len(texts) > 1
    if is_pair or len(texts) > len(body.inputs):
        raise InvalidValue(
            'inputs: expected "text" or [["text"], ["text"]]; '
            'this format reads ["a", "b"] as a pair, and pairs are not served'
        )
    return ClassifyRequest(texts=texts)


def tei_answer(body: TeiRequest, answers: list[ClassifyAnswer]) -> Any:
    """Flat for one text, a list of lists for a batch.

    Raises:
        InvalidValue: A text was longer than the window, and the request said `truncate: false`.
    """
    if body.truncate is False and any(answer.tokens.truncated for answer in answers):
        raise InvalidValue("inputs: a text is longer than the model's window; send truncate: true")
    is_batch = isinstance(body.inputs, list) and isinstance(body.inputs[0], list)
    return [_elements(answer) for answer in answers] if is_batch else _elements(answers[0])


def _elements(answer: ClassifyAnswer) -> list[dict[str, Any]]:
    return [score.model_dump() for score in _scores(answer)]


def _pipeline(text: str, answer: ClassifyAnswer) -> dict[str, Any]:
    scores = _scores(answer)
    return {
        "sequence": text,
        "labels": [score.label for score in scores],
        "scores": [score.score for score in scores],
    }


def _scores(answer: ClassifyAnswer) -> list[Score]:
    """The scores, which are all that these formats hold; of a corrected answer they say so.

    The label that people gave comes first with 1, every other one has 0; "none of these" is 0 for
    all. The model's own scores are on `/v1/classify`.
    """
    if answer.reason is not Reason.CORRECTED:
        return answer.scores
    given = [] if answer.label is None else [Score(label=answer.label, score=1.0)]
    others = [Score(label=s.label, score=0.0) for s in answer.scores if s.label != answer.label]
    return [*given, *others][: len(answer.scores)]
