"""What test files share: the tiny models, `transformers` pipelines over them, and real texts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from edge.bundle import read_bundle
from edge.labels import LabelSet
from edge.predictor import Predictor
from tests.models import INTENTS, SHARED, TinyModel, build, missing

# A busy machine is no reason to fail; and what a change is judged by draws the same examples twice.
hypothesis_settings.register_profile(
    "intentd",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CI" in os.environ,
)
hypothesis_settings.load_profile("intentd")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], TinyModel]:
    """Gives a tiny model by name (`tests.models.NAMES`); each is built once, when first asked for.

    Skips the test where the model's tokenizer is not on this machine. Copy what you change.
    """
    root = tmp_path_factory.mktemp("models")

    @cache
    def get(name: str) -> TinyModel:
        if reason := missing(name):
            pytest.skip(reason)
        return build(name, root / name)

    return get


@pytest.fixture(scope="session")
def load() -> Callable[[Path], Predictor]:
    """Gives the predictor of a bundle, with four plain labels; one a path and session."""
    return cache(lambda path: Predictor(read_bundle(path), LabelSet.from_names(INTENTS)))


@pytest.fixture(scope="session")
def pipelines(tiny: Callable[[str], TinyModel]) -> Callable[..., Any]:
    """Gives a `transformers` pipeline over a tiny model, made as a user of that library makes it.

    Called as `pipelines(task, name, window=64, split_special_tokens=True)`; the last two are what
    users set on the tokenizer, `window` as `model_max_length`.
    """

    @cache
    def get(task: str, name: str, window: int = 0, split_special_tokens: bool = False) -> Any:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

        source = tiny(name).source
        model = AutoModelForSequenceClassification.from_pretrained(source)
        tokenizer = AutoTokenizer.from_pretrained(source, split_special_tokens=split_special_tokens)
        tokenizer.model_max_length = window or tokenizer.model_max_length
        return pipeline(task, model=model, tokenizer=tokenizer, device="cpu")

    return get


@pytest.fixture(scope="session")
def read_shared() -> Callable[[str], str]:
    """Gives a text that lies beside the repository, never in it; skips the test where absent."""

    def read(relative: str) -> str:
        path = SHARED / relative
        if not path.exists():
            pytest.skip(f"../shared/data/{relative} is not on this machine")
        return path.read_text(encoding="utf-8", errors="replace")

    return read


@pytest.fixture(scope="session")
def real_texts(read_shared: Callable[[str], str]) -> list[str]:
    """Real texts of many kinds: sentences, requests, naughty strings, and pages of a novel."""
    premises = read_shared("nli/mnli_dev_matched.jsonl").splitlines()[::1500]
    requests = json.loads(read_shared("clinc150/data_full.json"))["test"][::700]
    naughty = json.loads(read_shared("strings/blns.json"))[::40]
    novel = read_shared("longtext/moby_dick.txt")
    texts = [json.loads(line)["premise"] for line in premises] + [row[0] for row in requests]
    texts += [novel[30_000:37_000], novel[700_000:700_900]]
    return [text for text in texts + naughty if text.strip()]
