"""`edge.hub`: other services' requests in our words, and our answers in theirs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import InvalidRequest, InvalidValue
from edge.hub import (
    TASKS,
    ZERO_SHOT,
    hub_answer,
    hub_request,
    reads_pipeline_shape,
    tei_answer,
    tei_request,
)
from edge.wire import (
    MAX_TOP_K,
    ClassifyAnswer,
    ClassifyRequest,
    HubRequest,
    LabelSetInfo,
    ModelInfo,
    Reason,
    Score,
    TeiRequest,
    Timings,
    TokenInfo,
    decode,
)


def answer(*scores: tuple[str, float], truncated: bool = False) -> ClassifyAnswer:
    """An answer with these scores."""
    return ClassifyAnswer(
        id="0",
        label=scores[0][0],
        labels=[scores[0][0]],
        raw_label=scores[0][0],
        reason=Reason.ABOVE_THRESHOLD,
        scores=[Score(label=label, score=score) for label, score in scores],
        model=ModelInfo(name="tiny", version="1", phase="A", digest="d"),
        label_set=LabelSetInfo(name="request", version="", digest="l"),
        tokens=TokenInfo(used=9, truncated=truncated),
        timings=Timings(queue_ms=0, tokenize_ms=0, infer_ms=0),
    )


ONE, TWO = answer(("b", 0.75), ("a", 0.25)), answer(("a", 0.5), ("b", 0.5))
LIST_ONE = [{"label": "b", "score": 0.75}, {"label": "a", "score": 0.25}]
LIST_TWO = [{"label": "a", "score": 0.5}, {"label": "b", "score": 0.5}]


def hub(inputs: Any = "x", **parameters: Any) -> HubRequest:
    """A request in the Hugging Face format, read from JSON as the daemon reads it."""
    return decode(HubRequest, json.dumps({"inputs": inputs, "parameters": parameters}).encode())


def tei(inputs: Any, **options: Any) -> TeiRequest:
    """A request in the text-embeddings-inference format."""
    return decode(TeiRequest, json.dumps({"inputs": inputs, **options}).encode())


# Requests


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (hub("x"), {"text": "x"}),
        (hub(["x"]), {"texts": ["x"]}),
        (hub(["x", "y"]), {"texts": ["x", "y"]}),
        (hub(candidate_labels=["a", "b"]), {"text": "x", "labels": ["a", "b"]}),
        (hub(candidate_labels="a, b ,c d"), {"text": "x", "labels": ["a", "b", "c d"]}),
        (hub(candidate_labels="a"), {"text": "x", "labels": ["a"]}),
        (hub(candidate_labels=["a, b"]), {"text": "x", "labels": ["a, b"]}),
        (hub(candidate_labels="a,,b"), {"text": "x", "labels": ["a", "", "b"]}),
        (hub(multi_label=True), {"text": "x", "multi_label": True}),
        (hub(multi_label=None), {"text": "x", "multi_label": False}),
        (hub(function_to_apply="sigmoid"), {"text": "x", "multi_label": True}),
        (hub(function_to_apply="softmax"), {"text": "x", "multi_label": False}),
        (
            hub(function_to_apply="softmax", multi_label=True),
            {"text": "x", "multi_label": True},
        ),
        (hub(hypothesis_template="It is {}."), {"text": "x", "hypothesis_template": "It is {}."}),
        (hub(top_k=1), {"text": "x", "top_k": 1}),
        (hub(top_k=10**9), {"text": "x", "top_k": MAX_TOP_K}),
    ],
)
def test_hub_requests_are_translated(body: HubRequest, expected: dict[str, Any]) -> None:
    """A string is one text and a list is a batch; labels come as a list or with commas."""
    assert hub_request(body, None) == ClassifyRequest(**expected)


@pytest.mark.parametrize("task", TASKS)
def test_the_paths_task_may_name_what_is_served(task: str) -> None:
    """Both tasks, with labels where the task needs them."""
    assert hub_request(hub(candidate_labels=["a"]), task).labels == ["a"]


@pytest.mark.parametrize("task", ["translation", "", "Zero-Shot-Classification", "zeppelin\n"])
def test_other_tasks_are_refused_by_name_of_those_served(task: str) -> None:
    """What the path said is not repeated."""
    with pytest.raises(InvalidValue) as caught:
        hub_request(hub(candidate_labels=["a"]), task)

    assert str(caught.value).startswith(f"task: expected one of {', '.join(TASKS)}")
    assert "zeppelin" not in str(caught.value)


def test_zero_shot_without_labels_is_refused() -> None:
    """Only a path that names the task asks for labels; without one the daemon's own are used."""
    with pytest.raises(InvalidValue, match=r"parameters\.candidate_labels: expected labels"):
        hub_request(hub(), ZERO_SHOT)
    assert hub_request(hub(), "text-classification").labels is None


def test_raw_logits_are_not_served() -> None:
    """Scores are; the message says which functions there are."""
    with pytest.raises(InvalidValue, match="expected sigmoid or softmax"):
        hub_request(hub(function_to_apply="none"), None)
    with pytest.raises(InvalidValue, match="raw_scores: expected false"):
        tei_request(tei("x", raw_scores=True))


small = st.text(max_size=8)
parameters = st.fixed_dictionaries(
    {},
    optional={
        "candidate_labels": small | st.lists(small, max_size=3),
        "multi_label": st.booleans(),
        "hypothesis_template": small,
        "top_k": st.integers(),
        "function_to_apply": st.sampled_from(["sigmoid", "softmax", "none"]),
    },
)


@given(
    inputs=small | st.lists(small, max_size=3),
    options=parameters,
    task=st.none() | st.sampled_from(TASKS),
)
def test_what_the_format_allows_is_translated_or_refused(
    inputs: Any, options: dict[str, Any], task: str | None
) -> None:
    """No body that can be decoded ends as a bug: our own limits are met, or said."""
    try:
        request = hub_request(hub(inputs, **options), task)
    except InvalidRequest:
        return

    assert ([request.text] if request.texts is None else request.texts) == (
        [inputs] if isinstance(inputs, str) else inputs
    )


# The version of the client


@pytest.mark.parametrize(
    ("user_agent", "pipeline"),
    [
        ("unknown/None; hf_hub/0.16.4; python/3.11.7", True),
        ("unknown/None; hf_hub/0.36.0; python/3.11.7", True),
        ("unknown/None; hf_hub/1.0.0; python/3.12.1", True),
        ("unknown/None; hf_hub/1.1.9; python/3.12.1", True),
        ("unknown/None; hf_hub/1.2.0; python/3.12.1", False),
        ("unknown/None; hf_hub/1.2.0.rc0; python/3.12.1", False),
        ("unknown/None; hf_hub/1.10.0; python/3.12.1", False),
        ("unknown/None; hf_hub/2.0.0; python/3.12.1", False),
        ("unknown/None; hf_hub/10.1.0; python/3.12.1", False),
        ("hf_hub/1.1", True),
        ("transformers/4.57; hf_hub/0.35.3", True),
        ("@huggingface/inference/4.0.0", False),
        ("curl/8.5.0", False),
        ("hf_hub/dev", False),
        ("not_hf_hub/0.1.0", False),
        ("", False),
        (f"hf_hub/{'9' * 5000}.0", False),
        (f"hf_hub/0.{'9' * 5000}", True),
        ("hf_hub/\u0660.\u0661", False),
    ],
)
def test_the_clients_version_decides_the_shape(user_agent: str, pipeline: bool) -> None:
    """Before 1.2.0 the client reads the pipeline's dictionary; it, and all others, a list."""
    assert reads_pipeline_shape(user_agent, None) is pipeline


@pytest.mark.parametrize("user_agent", ["hf_hub/0.36.0", "hf_hub/1.2.0", "curl/8.5.0", ""])
def test_what_the_query_asks_for_decides_alone(user_agent: str) -> None:
    """For those who know what they read."""
    assert reads_pipeline_shape(user_agent, "pipeline")
    assert not reads_pipeline_shape(user_agent, "list")


@pytest.mark.parametrize("requested", ["", "dict", "Pipeline", "x" * 1000, "a\nb"])
def test_other_formats_are_refused(requested: str) -> None:
    """In one short printable line."""
    with pytest.raises(InvalidValue, match="format: expected pipeline or list") as caught:
        reads_pipeline_shape("", requested)

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 80


# Answers


def test_one_text_gets_the_shape_that_the_client_reads() -> None:
    """A list of elements, or the pipeline's dictionary; both best first."""
    body = hub("x", candidate_labels=["a", "b"])

    assert hub_answer(body, [ONE], pipeline_shape=False) == LIST_ONE
    assert hub_answer(body, [ONE], pipeline_shape=True) == {
        "sequence": "x",
        "labels": ["b", "a"],
        "scores": [0.75, 0.25],
    }


def test_a_batch_gets_one_shape_for_each_text() -> None:
    """Also a batch of one: what came as a list goes back as a list."""
    body = hub(["x", "y"], candidate_labels=["a", "b"])

    assert hub_answer(body, [ONE, TWO], pipeline_shape=False) == [LIST_ONE, LIST_TWO]
    shaped = hub_answer(body, [ONE, TWO], pipeline_shape=True)
    assert [entry["sequence"] for entry in shaped] == ["x", "y"]
    assert hub_answer(hub(["x"], candidate_labels="a"), [ONE], False) == [LIST_ONE]


@pytest.mark.parametrize("pipeline_shape", [True, False])
def test_text_classification_is_nested_also_for_one_text(pipeline_shape: bool) -> None:
    """`InferenceClient.text_classification` takes the first element, whatever its version."""
    assert hub_answer(hub("x"), [ONE], pipeline_shape) == [LIST_ONE]
    assert hub_answer(hub(["x", "y"]), [ONE, TWO], pipeline_shape) == [LIST_ONE, LIST_TWO]


# text-embeddings-inference


@pytest.mark.parametrize(
    ("inputs", "expected", "flat"),
    [
        ("x", {"text": "x"}, True),
        (["x"], {"texts": ["x"]}, True),
        ([["x"]], {"texts": ["x"]}, False),
        ([["x"], ["y"]], {"texts": ["x", "y"]}, False),
    ],
)
def test_tei_requests_are_translated_and_answered(
    inputs: Any, expected: dict[str, Any], flat: bool
) -> None:
    """One text gets a flat list, a list of lists gets one."""
    body, answers = tei(inputs), [ONE, TWO][: len(inputs)]

    assert tei_request(body) == ClassifyRequest(**expected)
    assert tei_answer(body, answers) == (LIST_ONE if flat else [LIST_ONE, LIST_TWO][: len(inputs)])


@pytest.mark.parametrize(
    "inputs",
    [
        ["x", "y"],
        ["x", "y", "z"],
        [["x", "y"]],
        [["x"], ["y", "z"]],
        ["x", ["y"]],
        [["x"], "y"],
    ],
)
def test_pairs_are_refused(inputs: Any) -> None:
    """That format reads two texts as a pair; answering them as a batch would be wrong silently."""
    with pytest.raises(InvalidValue, match="pairs are not served"):
        tei_request(tei(inputs))


def test_a_truncated_text_is_an_error_only_where_the_request_says_so() -> None:
    """That format can forbid truncation; without a word the answer is given, as elsewhere."""
    cut = answer(("a", 1.0), truncated=True)

    assert tei_answer(tei("x"), [cut])
    assert tei_answer(tei("x", truncate=True), [cut])
    assert tei_answer(tei("x", truncate=False), [ONE])
    with pytest.raises(InvalidValue, match="truncate: true"):
        tei_answer(tei("x", truncate=False), [cut])
