"""Daemons on the two other families of models, tiny and real: what only they take, and refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.daemons import Daemon, running_daemon
from tests.e2e.conftest import check_log
from tests.e2e.talk import CANARY, Reply, ask, post
from tests.models import INTENTS, TinyModel

TEXT = f"sum this up, {CANARY}"
LABELS = ["music", "the weather"]


@pytest.fixture(scope="module")
def nli(tiny: Callable[[str], TinyModel]) -> Iterator[Daemon]:
    """A daemon on a zero-shot NLI bundle."""
    with running_daemon("--bundle", str(tiny("nli-bert").bundle)) as daemon:
        yield daemon
        check_log(daemon)


@pytest.fixture(scope="module")
def fixed(tiny: Callable[[str], TinyModel]) -> Iterator[Daemon]:
    """A daemon on a bundle with fixed labels."""
    with running_daemon("--bundle", str(tiny("intents").bundle)) as daemon:
        yield daemon
        check_log(daemon)


def classify(daemon: Daemon, **fields: Any) -> Reply:
    """Ask about the text."""
    return post(daemon.socket, "/v1/classify", {"text": TEXT, **fields})


@pytest.mark.parametrize(
    "template",
    ["", "no place", "{0}", "{label}", "{label.__class__}", "{} and {}", "{{}}", "{", "}{", "{!r}"],
)
def test_template_is_no_format_string(nli: Daemon, template: str) -> None:
    """Exactly one `{}`; nothing in it is ever evaluated."""
    reply = classify(nli, labels=LABELS, hypothesis_template=template)
    assert (reply.status, reply.code) == (422, "invalid_value")
    assert "exactly one {}" in reply.json["detail"]


def test_template_and_labels_are_data(nli: Daemon) -> None:
    """Braces and percent signs in a label, or percent signs in a template, mean themselves."""
    labels = ["{}", "%s", "{0.__class__}", "</s>", "[SEP]"]
    reply = classify(nli, labels=labels, hypothesis_template="100%s about {}.")
    assert {score["label"] for score in reply.json["scores"]} == set(labels)
    assert sum(score["score"] for score in reply.json["scores"]) == pytest.approx(1)


def test_template_changes_the_scores(nli: Daemon) -> None:
    """It is read, and so is the content."""
    plain = classify(nli, labels=LABELS).json["scores"]
    assert classify(nli, labels=LABELS, hypothesis_template="Not {}!").json["scores"] != plain
    assert classify(nli, labels=LABELS, content="gulls " * 50).json["scores"] != plain


def test_window_must_hold_the_longest_hypothesis(nli: Daemon) -> None:
    """A window without room for the text would be answered from the label alone."""
    reply = classify(nli, labels=LABELS, max_tokens=8)
    assert (reply.status, reply.code) == (422, "window_too_small")
    assert "ask for at least" in reply.json["detail"]
    needed = int(reply.json["detail"].partition("ask for at least ")[2].split()[0])
    assert classify(nli, labels=LABELS, max_tokens=needed).json["tokens"] == {
        "used": needed,
        "truncated": True,
        "window": needed,
        "window_reason": "max_tokens",
    }
    assert classify(nli, labels=LABELS, max_tokens=needed - 1).code == "window_too_small"


def test_hub_client_may_send_a_template(nli: Daemon) -> None:
    """`hypothesis_template` is passed on, and means what it means on our own route."""
    parameters = {"candidate_labels": LABELS, "hypothesis_template": "Not {}!"}
    found = post(nli.socket, "/", {"inputs": TEXT, "parameters": parameters}).json
    assert found == classify(nli, labels=LABELS, hypothesis_template="Not {}!").json["scores"]


def test_fixed_labels_are_shown_and_answered(fixed: Daemon) -> None:
    """The bundle's own labels, in every place that names labels."""
    shown = ask(fixed.socket, "GET", "/v1/intents").json
    assert shown["fixed"] is True
    assert [intent["name"] for intent in shown["intents"]] == list(INTENTS)
    assert {score["label"] for score in classify(fixed).json["scores"]} == set(INTENTS)
    assert ask(fixed.socket, "GET", "/v1/model").json["model"]["phase"] == "B"


def test_unknown_labels_are_refused_with_the_known_ones(fixed: Daemon) -> None:
    """The message lists what may be asked for, and does not repeat what was."""
    reply = classify(fixed, labels=[CANARY, INTENTS[0]])
    assert (reply.status, reply.code) == (422, "unknown_label")
    assert all(label in reply.json["detail"] for label in INTENTS)
    assert CANARY.encode() not in reply.body


def test_subset_of_fixed_labels_keeps_its_scores(fixed: Daemon) -> None:
    """Asking about fewer labels does not make the others less likely."""
    whole = {score["label"]: score["score"] for score in classify(fixed).json["scores"]}
    for score in classify(fixed, labels=list(INTENTS[:2])).json["scores"]:
        assert score["score"] == whole[score["label"]]


def test_fixed_labels_take_no_template(fixed: Daemon) -> None:
    """There is no hypothesis that it could change."""
    reply = classify(fixed, hypothesis_template="about {}")
    assert (reply.status, reply.code) == (422, "invalid_value")
    assert "leave the field out" in reply.json["detail"]


def test_hub_text_classification_is_the_fixed_labels(fixed: Daemon) -> None:
    """What a fine-tuned model on the Hub answers; zero-shot with other labels is refused."""
    assert post(fixed.socket, "/", {"inputs": TEXT}).json == [classify(fixed).json["scores"]]
    parameters = {"candidate_labels": LABELS}
    reply = post(fixed.socket, "/", {"inputs": TEXT, "parameters": parameters})
    assert reply.status == 422
    assert INTENTS[0] in reply.json["error"]
