"""`edge.wire`: messages survive their JSON, bad bodies get their codes, and none is quoted."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from edge import wire
from edge.errors import InvalidRequest, InvalidValue, MalformedBody
from edge.wire import (
    AckAnswer,
    AckRequest,
    AgreementDay,
    BatchAnswer,
    ClassifyAnswer,
    ClassifyRequest,
    CorrectionAnswer,
    CorrectionDetail,
    CorrectionFate,
    CorrectionRecord,
    CorrectionRequest,
    CorrectionsAnswer,
    CursorAnswer,
    DeadAnswer,
    DeadErasure,
    DeadRecord,
    EpochAnswer,
    EpochRequest,
    ErasedAnswer,
    EraseRequest,
    ErasureRecord,
    HubParameters,
    HubRequest,
    IntentInfo,
    IntentsAnswer,
    LabelCount,
    LabelSetInfo,
    ModelAnswer,
    ModelInfo,
    OutboxAnswer,
    Problem,
    Reason,
    ReceiptsAnswer,
    ReceiptsRequest,
    RecordResult,
    RedriveAnswer,
    RedriveRequest,
    ReviewAnswer,
    ReviewItem,
    Score,
    SentAnswer,
    SentRequest,
    StatsAnswer,
    StoreInfo,
    TeiRequest,
    Timings,
    TokenInfo,
    UseReceipt,
    WindowReason,
    decode,
)

REQUESTS = (ClassifyRequest, HubRequest, TeiRequest)
ADMIN_REQUESTS = (AckRequest, EpochRequest, EraseRequest, ReceiptsRequest, RedriveRequest)
CORRECTION_REQUESTS = (CorrectionRequest, SentRequest, *ADMIN_REQUESTS)
CANARY = "zeppelin"

# Round trips


texts = st.text(max_size=12)
text_lists = st.lists(texts, min_size=1, max_size=3)
numbers = st.floats(allow_nan=False, allow_infinity=False)
maybe = st.none()
FIELDS: dict[type[BaseModel], dict[str, st.SearchStrategy[Any]]] = {}


def message(model: type[BaseModel], /, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Messages of this model, with every field drawn."""
    FIELDS[model] = fields
    return st.builds(model, **fields)


score = message(Score, label=texts, score=numbers)
tokens = message(
    TokenInfo,
    used=st.integers(0),
    truncated=st.booleans(),
    window=maybe | st.integers(1),
    window_reason=st.sampled_from(WindowReason),
)
timings = message(Timings, queue_ms=numbers, tokenize_ms=numbers, infer_ms=numbers)
model_info = message(ModelInfo, name=texts, version=texts, phase=texts, digest=texts)
label_set = message(LabelSetInfo, name=texts, version=texts, digest=texts)
answer = message(
    ClassifyAnswer,
    id=texts,
    label=maybe | texts,
    labels=st.lists(texts, max_size=2),
    raw_label=texts,
    reason=st.sampled_from(Reason),
    scores=st.lists(score, max_size=3),
    model=model_info,
    label_set=label_set,
    tokens=tokens,
    timings=timings,
    cached=st.booleans(),
)
batch = message(BatchAnswer, predictions=st.lists(answer, max_size=2))
intent = message(
    IntentInfo,
    name=texts,
    description=texts,
    threshold=numbers,
    examples=st.lists(texts, max_size=2),
)
intents = message(
    IntentsAnswer, label_set=label_set, fixed=st.booleans(), intents=st.lists(intent, max_size=2)
)
model_answer = message(
    ModelAnswer,
    model=model_info,
    task=texts,
    architecture=texts,
    max_tokens=st.integers(),
    quantization=texts,
    batch_invariant=st.booleans(),
    licence=texts,
    source=texts,
    threads=st.integers(),
    parallel_runs=st.integers(),
    runtime=texts,
    probation=st.booleans(),
    loaded=st.booleans(),
)
problem = message(Problem, type=texts, title=texts, status=st.integers(), code=texts, detail=texts)
options: dict[str, st.SearchStrategy[Any]] = {
    "labels": maybe | text_lists,
    "multi_label": st.booleans(),
    "hypothesis_template": maybe | texts,
    "top_k": maybe | st.integers(1, 64),
    "max_tokens": maybe | st.integers(1),
    "latency_budget_ms": maybe | st.integers(1, 600_000),
    "deadline_ms": maybe | st.integers(1, 600_000),
}
request_of_one = message(ClassifyRequest, text=texts, texts=maybe, content=maybe | texts, **options)
request_of_many = message(ClassifyRequest, text=maybe, texts=text_lists, content=maybe, **options)
parameters = message(
    HubParameters,
    candidate_labels=maybe | texts | text_lists,
    multi_label=maybe | st.booleans(),
    hypothesis_template=maybe | texts,
    top_k=maybe | st.integers(1),
    function_to_apply=maybe | st.sampled_from(["sigmoid", "softmax", "none"]),
)
hub_request = message(HubRequest, inputs=texts | text_lists, parameters=parameters)
tei_request = message(
    TeiRequest,
    inputs=texts | st.lists(texts | st.lists(texts, min_size=1, max_size=2), min_size=1),
    truncate=maybe | st.booleans(),
    raw_scores=st.booleans(),
)
word = st.text("abc-0", min_size=1, max_size=12)
counts = st.integers(0, 2**53)
some = maybe | texts
said: dict[str, st.SearchStrategy[Any]] = {
    "prediction_id": word,
    "text": some,
    "content": maybe,
    "labels": maybe,
    "source": texts,
    "client_key": maybe | word,
}
correction_request = message(CorrectionRequest, label=some, confirm=st.just(False), **said)
confirmation = message(CorrectionRequest, label=maybe, confirm=st.just(True), **said)
known: dict[str, st.SearchStrategy[Any]] = {"kind": texts, "label": some, "predicted_label": some}
fates = {f"{name}_utc": some for name in ("sent", "accepted", "used")} | {
    "build": some,
    "error": some,
}
correction_answer = message(
    CorrectionAnswer, id=word, seq=counts, state=texts, created_utc=texts, **known
)
fate = message(
    CorrectionFate,
    id=word,
    state=texts,
    erased_utc=some,
    created_utc=some,
    **known | {"kind": some},
    **fates,
)
offered: dict[str, st.SearchStrategy[Any]] = {
    "seq": counts,
    "epoch": counts,
    "text": texts,
    "content": some,
    "score": maybe | numbers,
    "labels": st.lists(texts, max_size=2),
    "label_set": texts,
    "model": texts,
    "phase": texts,
    "source": texts,
    **known,
}
dated: dict[str, st.SearchStrategy[Any]] = {
    "schema_version": counts,
    "id": word,
    "occurred_utc": texts,
}
record = message(CorrectionRecord, type=st.just("correction"), **dated, **offered)
erasure = message(ErasureRecord, type=st.just("erasure"), **dated)
dead = message(DeadRecord, type=st.just("correction"), error=some, **dated, **offered)
dead_erasure = message(DeadErasure, type=st.just("erasure"), error=some, **dated)
detail = message(
    CorrectionDetail,
    id=word,
    state=texts,
    created_utc=texts,
    attempts=counts,
    prediction_id=some,
    client_key=some,
    **offered,
    **fates,
)
review_item = message(
    ReviewItem,
    prediction_id=word,
    text=texts,
    content=some,
    label=some,
    raw_label=texts,
    scores=st.lists(score, max_size=2),
    labels=st.lists(texts, max_size=2),
    reason=texts,
    created_utc=texts,
)
result = message(
    RecordResult,
    id=word,
    status=st.sampled_from(["accepted", "duplicate", "parked", "rejected"]),
    code=some,
    message=some,
)
receipt = message(UseReceipt, id=word, build=word, used_utc=texts)
store_info = message(
    StoreInfo,
    ok=st.booleans(),
    detail=texts,
    quarantined=st.lists(texts, max_size=2),
    salvaged=counts,
    journal_mode=texts,
    synchronous=texts,
    free_bytes=counts,
    sqlite_version=texts,
    filesystem=texts,
)
label_count = message(
    LabelCount, label=some, corrections=counts, confirmations=counts, target=counts
)
agreement = message(AgreementDay, day=texts, agreed=counts, total=counts)
ids = st.lists(word, max_size=3)
about_corrections = st.one_of(
    correction_request,
    confirmation,
    correction_answer,
    fate,
    detail,
    record,
    erasure,
    dead,
    message(ReviewAnswer, items=st.lists(review_item, max_size=2)),
    message(
        OutboxAnswer,
        device_id=texts,
        epoch=counts,
        records=st.lists(record | erasure, max_size=2),
        remaining=counts,
    ),
    message(SentRequest, ids=ids),
    message(SentAnswer, sent=counts),
    message(AckRequest, results=st.lists(result, max_size=2)),
    message(AckAnswer, acknowledged=counts, dead=counts, remaining=counts),
    message(ReceiptsRequest, receipts=st.lists(receipt, max_size=2), cursor=counts),
    message(ReceiptsAnswer, recorded=counts),
    message(CursorAnswer, device_id=texts, epoch=counts, last_seq=counts, receipts_cursor=counts),
    message(EpochRequest, server_epoch=counts, server_seq=counts),
    message(EpochAnswer, epoch=counts),
    message(DeadAnswer, records=st.lists(dead | dead_erasure, max_size=2)),
    message(RedriveRequest, ids=maybe | ids),
    message(RedriveAnswer, redriven=counts),
    message(CorrectionsAnswer, corrections=st.lists(detail, max_size=2), next=maybe | counts),
    message(EraseRequest, text=texts, ids=maybe),
    message(EraseRequest, text=maybe, ids=ids),
    message(ErasedAnswer, erased=ids),
    message(
        StatsAnswer,
        per_label=st.lists(label_count, max_size=2),
        agreement=st.lists(agreement, max_size=2),
        total=counts,
        outbox=counts,
        dead=counts,
        predictions_dropped=counts,
        store=store_info,
    ),
)
messages = st.one_of(
    about_corrections,
    answer,
    batch,
    intents,
    model_answer,
    problem,
    request_of_one,
    request_of_many,
    hub_request,
    tei_request,
)


@given(messages)
def test_every_field_of_every_message_survives_its_json(original: BaseModel) -> None:
    """decode(encode(x)) == x, through the bytes that go over the socket."""
    assert decode(type(original), original.model_dump_json().encode()) == original


def test_what_it_is_decides_how_a_record_is_read() -> None:
    """One list holds corrections and erasures, told apart by their type alone."""
    body = b'{"device_id": "d", "epoch": 1, "remaining": 0, "records": [%s]}'
    found = decode(OutboxAnswer, body % b'{"type": "erasure", "id": "a", "occurred_utc": "t"}')

    assert found.records == [ErasureRecord(id="a", occurred_utc="t")]


def test_null_is_a_label_and_silence_is_none() -> None:
    """`label: null` says none of these; a request without any label says nothing."""
    assert decode(CorrectionRequest, b'{"text": "x", "label": null}').label is None
    with pytest.raises(InvalidValue, match=r"expected label \(null for none of these\) or confirm"):
        decode(CorrectionRequest, b'{"text": "x"}')


def test_the_round_trip_covers_every_message_and_every_field() -> None:
    """A new message, or a new field, must join the round trip above."""
    public = {
        value
        for name, value in vars(wire).items()
        if isinstance(value, type) and issubclass(value, BaseModel) and not name.startswith("_")
    } - {BaseModel}
    elsewhere = {model for model in public if model.__module__ == "edge.wire.models"}

    assert set(FIELDS) == public - elsewhere
    for model, fields in FIELDS.items():
        assert set(fields) == set(model.model_fields), model


def test_all_lists_every_message() -> None:
    """Nobody has to know which file of the package a message is in."""
    assert {model.__name__ for model in FIELDS} <= set(wire.__all__)


def test_a_client_reads_the_answers_of_a_newer_daemon() -> None:
    """Fields may be added to an answer; an older client steps over them."""
    body = b'{"label": "A", "score": 0.5, "added_later": 1}'

    assert decode(Score, body) == Score(label="A", score=0.5)


# Bad bodies: the table


def with_text(field: str) -> bytes:
    """A request with one more field, written as JSON."""
    return b'{"text": "x", ' + field.encode() + b"}"


INVALID_CORRECTIONS: dict[str, tuple[type[BaseModel], bytes, str]] = {
    "of nothing": (CorrectionRequest, b'{"label": "A"}', "body: expected prediction_id, text"),
    "of an empty id": (CorrectionRequest, b'{"prediction_id": "", "label": "A"}', "prediction_id"),
    "label and confirm": (
        CorrectionRequest,
        b'{"prediction_id": "p", "label": "A", "confirm": true}',
        "body: expected one of label and confirm",
    ),
    "confirm without id": (
        CorrectionRequest,
        b'{"text": "x", "confirm": true}',
        "body: confirm goes with prediction_id",
    ),
    "labels without text": (
        CorrectionRequest,
        b'{"prediction_id": "p", "label": "A", "labels": ["A"]}',
        "body: content and labels go with text",
    ),
    "a long key": (
        CorrectionRequest,
        b'{"text": "x", "label": "A", "client_key": "%s"}' % (b"k" * 201),
        "client_key",
    ),
    "unknown status": (
        AckRequest,
        b'{"results": [{"id": "a", "status": "ok"}]}',
        "results.0.status",
    ),
    "erase of nothing": (EraseRequest, b"{}", "body: expected exactly one of text and ids"),
    "negative cursor": (ReceiptsRequest, b'{"receipts": [], "cursor": -1}', "cursor"),
    "wrong ids": (SentRequest, b'{"ids": [1]}', "ids.0"),
}


@pytest.mark.parametrize("case", INVALID_CORRECTIONS)
def test_what_cannot_be_said_of_corrections_is_invalid(case: str) -> None:
    """Each names its field."""
    model, body, where = INVALID_CORRECTIONS[case]

    with pytest.raises(InvalidValue) as caught:
        decode(model, body)
    assert str(caught.value).startswith(where)


MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "white space": b" \n",
    "no JSON": b"text=hello",
    "single quotes": b"{'text': 'x'}",
    "cut off": b'{"text": "x"',
    "trailing comma": b'{"text": "x",}',
    "two objects": b'{"text": "x"}{"text": "x"}',
    "raw line feed in a string": b'{"text": "x\ny"}',
    "NUL byte": b'{"text": "x\x00"}',
    "invalid UTF-8": b'{"text": "\xff"}',
    "overlong UTF-8": b'{"text": "\xc0\xaf"}',
    "UTF-8 of a surrogate": b'{"text": "\xed\xa0\x80"}',
    "UTF-16": '{"text": "x"}'.encode("utf-16"),
    "byte-order mark": b'\xef\xbb\xbf{"text": "x"}',
    "lone high surrogate": b'{"text": "\\ud800"}',
    "lone low surrogate": b'{"text": "\\udc00"}',
    "surrogates in the wrong order": b'{"text": "\\udc00\\ud800"}',
    "lone surrogate in a name": b'{"\\ud800": 1}',
    "nested lists": b"[" * 100_000,
    "nested objects": b'{"a":' * 100_000,
    "nested in a field": with_text('"labels": ' + "[" * 100_000 + "]" * 100_000),
    "number of 5000 digits": with_text('"top_k": ' + "9" * 5000),
}
INVALID: dict[str, tuple[bytes, str]] = {
    "null": (b"null", "body"),
    "a list": (b"[]", "body"),
    "a string": (b'"x"', "body"),
    "a number": (b"1", "body"),
    "NaN": (b"NaN", "body"),
    "no field": (b"{}", "body: expected exactly one of text and texts"),
    "text and texts": (with_text('"texts": ["y"]'), "body: expected exactly one of"),
    "null text": (b'{"text": null}', "body: expected exactly one of"),
    "content for texts": (b'{"texts": ["x"], "content": "y"}', "body: content goes with text"),
    "number for text": (b'{"text": 1}', "text"),
    "NaN for text": (b'{"text": NaN}', "text"),
    "list for text": (b'{"text": ["x"]}', "text"),
    "object for text": (b'{"text": {}}', "text"),
    "string for texts": (b'{"texts": "x"}', "texts"),
    "empty texts": (b'{"texts": []}', "texts"),
    "number in texts": (b'{"texts": ["x", 1]}', "texts.1"),
    "number for content": (with_text('"content": 1'), "content"),
    "empty labels": (with_text('"labels": []'), "labels"),
    "string for labels": (with_text('"labels": "a,b"'), "labels"),
    "null in labels": (with_text('"labels": ["a", null]'), "labels.1"),
    "number for multi_label": (with_text('"multi_label": 1'), "multi_label"),
    "string for multi_label": (with_text('"multi_label": "true"'), "multi_label"),
    "null for multi_label": (with_text('"multi_label": null'), "multi_label"),
    "list for the template": (with_text('"hypothesis_template": []'), "hypothesis_template"),
    "huge template": (
        with_text(f'"hypothesis_template": "{"x" * 1025}"'),
        "hypothesis_template",
    ),
    **{
        f"{value} for {field}": (with_text(f'"{field}": {value}'), field)
        for field in ("top_k", "max_tokens", "latency_budget_ms", "deadline_ms")
        for value in ("0", "-1", "true", '"1"', "1.5", "1.0", "NaN", "Infinity", "1e400", "[1]")
    },
    "too many for top_k": (with_text('"top_k": 1025'), "top_k"),
    "too many for deadline_ms": (with_text('"deadline_ms": 600001'), "deadline_ms"),
    "too many for latency_budget_ms": (
        with_text('"latency_budget_ms": 600001'),
        "latency_budget_ms",
    ),
    "unknown field": (with_text('"txt": "y"'), "txt: unknown field; known are text, texts,"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_cannot_be_read_is_malformed(case: str) -> None:
    """400: not JSON, not UTF-8, too deep, or not Unicode; the message says what to send."""
    with pytest.raises(MalformedBody, match="send one JSON object in UTF-8"):
        decode(ClassifyRequest, MALFORMED[case])


@pytest.mark.parametrize("case", INVALID)
def test_what_can_be_read_but_not_used_is_invalid(case: str) -> None:
    """422: the message opens with the field's place."""
    body, where = INVALID[case]

    with pytest.raises(InvalidValue) as caught:
        decode(ClassifyRequest, body)

    assert str(caught.value).startswith(where)
    assert len(str(caught.value)) < 250


HUB_INVALID: dict[str, tuple[type[BaseModel], bytes, str]] = {
    "no inputs": (HubRequest, b"{}", "inputs: Field required"),
    "number for inputs": (HubRequest, b'{"inputs": 1}', "inputs: "),
    "empty inputs": (HubRequest, b'{"inputs": []}', "inputs: List should have at least 1 item"),
    "number in inputs": (HubRequest, b'{"inputs": ["x", 1]}', "inputs.1: "),
    "a conversation": (HubRequest, b'{"inputs": {"text": "x"}}', "inputs: "),
    "bad labels": (
        HubRequest,
        b'{"inputs": "x", "parameters": {"candidate_labels": [1]}}',
        "parameters.candidate_labels.0: ",
    ),
    "no labels": (
        HubRequest,
        b'{"inputs": "x", "parameters": {"candidate_labels": []}}',
        "parameters.candidate_labels: List should have at least 1 item",
    ),
    "a foreign function": (
        HubRequest,
        b'{"inputs": "x", "parameters": {"function_to_apply": "tanh"}}',
        "parameters.function_to_apply: Input should be 'sigmoid', 'softmax' or 'none'",
    ),
    "no inputs for TEI": (TeiRequest, b"{}", "inputs: Field required"),
    "empty inputs for TEI": (TeiRequest, b'{"inputs": []}', "inputs: List should have at least 1"),
    "an empty list in a batch": (TeiRequest, b'{"inputs": [[]]}', "inputs.0: List should have at"),
    "three texts in one": (
        TeiRequest,
        b'{"inputs": [["a", "b", "c"]]}',
        "inputs.0: List should have at most 2",
    ),
    "a number in a batch": (TeiRequest, b'{"inputs": [["a"], [1]]}', "inputs.1.0: "),
}


@pytest.mark.parametrize("case", HUB_INVALID)
def test_foreign_formats_errors_name_the_field_and_not_a_type(case: str) -> None:
    """Where a field may be a text or a list, the error is that of the one that was sent."""
    model, body, where = HUB_INVALID[case]

    with pytest.raises(InvalidValue) as caught:
        decode(model, body)

    assert str(caught.value).startswith(where)


def test_unknown_fields_of_foreign_formats_are_stepped_over() -> None:
    """Their clients send options that make no sense here (`options`, `generate_kwargs`)."""
    body = b'{"inputs": "x", "options": {"wait_for_model": true}, "parameters": {"seed": 1}}'

    assert decode(HubRequest, body) == HubRequest(inputs="x")
    assert decode(TeiRequest, b'{"inputs": "x", "truncation_direction": "Right"}')


def test_of_a_field_that_is_there_twice_the_last_one_counts() -> None:
    """As in most JSON readers; the standard leaves it open."""
    assert decode(ClassifyRequest, b'{"text": "x", "text": "y"}').text == "y"


def test_any_unicode_text_is_accepted() -> None:
    """Control characters, escaped NUL, pairs of surrogates: they are text."""
    body = b'{"text": "\\u0000\\u0007\\ud83d\\ude00\\u202e"}'

    assert decode(ClassifyRequest, body).text == "\x00\x07😀\u202e"


# Nobody's words in an error


@pytest.mark.parametrize(
    "name",
    ["summarise this mail", "line\nfeed", "\x1b[31mred", "", "x" * 41, "naïve", "0", "a.b", "a:b"],
)
def test_a_name_that_does_not_look_like_one_is_not_shown(name: str) -> None:
    """A client's bug may put a text where a name belongs; control characters could forge a log."""
    with pytest.raises(InvalidValue) as caught:
        decode(ClassifyRequest, json.dumps({"text": "x", name: 1}).encode())

    assert str(caught.value).startswith("body: unknown field; known are ")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.just(CANARY),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([f"{CANARY} {CANARY}", "text", "inputs"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)
names = st.sampled_from(
    sorted({name for model in (*REQUESTS, HubParameters) for name in model.model_fields})
) | st.just(f"the {CANARY}")


@given(
    model=st.sampled_from((*REQUESTS, *CORRECTION_REQUESTS)),
    body=st.dictionaries(names, json_values | st.dictionaries(names, json_values, max_size=3)),
)
def test_an_error_never_quotes_the_body(model: type[BaseModel], body: dict[str, Any]) -> None:
    """Plant a word in every place that may hold a string: no error repeats it."""
    check_silence(model, json.dumps(body).encode())


@given(
    model=st.sampled_from((*REQUESTS, *CORRECTION_REQUESTS)),
    body=st.binary(max_size=30),
    cut=st.integers(0, 60),
)
def test_an_error_never_quotes_a_damaged_body(
    model: type[BaseModel], body: bytes, cut: int
) -> None:
    """The same where the JSON itself is broken."""
    whole = json.dumps({"text": CANARY, "inputs": [CANARY], CANARY + " ": [CANARY]}).encode()

    check_silence(model, whole[:cut] + body + whole[cut:])
    check_silence(model, body)


def check_silence(model: type[BaseModel], body: bytes) -> None:
    """Decode; whatever is wrong is said in our words, in one printable line."""
    try:
        decode(model, body)
    except InvalidRequest as error:
        assert_silent(error)


def assert_silent(error: InvalidRequest) -> None:
    """Neither the message nor what the traceback would show holds the user's words."""
    assert CANARY not in str(error)
    assert str(error).isprintable()
    assert error.__cause__ is None
    assert error.__suppress_context__


@pytest.mark.parametrize("model", REQUESTS)
@pytest.mark.parametrize("item", ["1", "[1]", '{"a": 1}', "null"])
def test_a_body_full_of_errors_costs_no_more_than_a_good_one(
    model: type[BaseModel], item: str
) -> None:
    """The first wrong item ends it: a megabyte of them once took 11 s and 800 MB."""
    name = "texts" if model is ClassifyRequest else "inputs"
    good_item = '["a"]' if model is TeiRequest else '"a"'
    bad = f'{{"{name}": [{",".join([item] * 60_000)}]}}'.encode()
    good = f'{{"{name}": [{",".join([good_item] * 60_000)}]}}'.encode()

    assert seconds_of(model, bad) < 5 * seconds_of(model, good) + 0.5  # it was 11 s


def seconds_of(model: type[BaseModel], body: bytes) -> float:
    """Of the CPU, the fastest of three readings."""
    seconds = []
    for _ in range(3):
        started = time.thread_time()
        check_silence(model, body)
        seconds.append(time.thread_time() - started)
    return min(seconds)


def test_field_names_are_plain_words() -> None:
    """What is shown of an unknown name could be one of ours."""
    for model in FIELDS:
        for name in model.model_fields:
            assert re.fullmatch(r"[a-z][a-z_]*", name), name
