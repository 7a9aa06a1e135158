"""`edge.predictor` on every tiny bundle: thresholds, determinism, self-test, cost of length."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edge.bundle import MODEL, SELFTEST, Manifest, read_bundle, seal_bundle
from edge.errors import BundleCorrupt, BundleIncompatible, InvalidText
from edge.labels import Intent, LabelSet
from edge.predictor import Prediction, Predictor
from edge.query import Query
from edge.wire import Reason
from tests.models import INTENTS, NAMES, TEXTS, TinyModel, change_bundle

LABELS = LabelSet.from_names(INTENTS)
COST_RATIO = 1.3


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, tiny: Callable[[str], TinyModel]) -> TinyModel:
    """Every tiny model in turn."""
    return tiny(request.param)


@pytest.fixture
def fixed(tiny: Callable[[str], TinyModel]) -> Path:
    """A bundle of four fixed labels."""
    return tiny("intents").bundle


def bits(prediction: Prediction) -> list[tuple[str, str]]:
    """Labels and scores to the last bit."""
    return [(label, score.hex()) for label, score in prediction.scores]


def make_queries(predictor: Predictor) -> list[Query]:
    """Short and long texts, with labels that the bundle knows, singly and several at once."""
    labels = predictor.label_set
    texts = [
        *TEXTS,
        *(" ".join(TEXTS[i:]) for i in range(3)),
        "the whale " * 150,
        "x",
        "</s> [SEP]",
    ]
    queries = [Query(text, labels) for text in texts]
    queries += [Query(text, labels, multi_label=True, content=TEXTS[0]) for text in texts[:3]]
    queries += [Query(text, labels, max_tokens=40) for text in texts[-4:]]
    if not predictor.fixed_labels:  # more labels than fit in one run, of many lengths
        many = LabelSet.from_names(f"topic {i} {'and so on ' * (i * 7 % 11)}" for i in range(40))
        queries += [Query(text, many) for text in texts[:2]]
    return queries


@pytest.mark.parametrize("form", ["bundle", "int8"])
def test_the_same_query_gives_the_same_bits_whatever_else_runs(
    model: TinyModel, form: str, load: Callable[[Path], Predictor]
) -> None:
    """Alone in a fresh predictor, after others, in any order, and from 8 threads at once."""
    path = getattr(model, form)
    shared = load(path)
    queries = make_queries(shared)
    alone = [bits(Predictor(read_bundle(path), LABELS).predict(query)) for query in queries[:3]]
    in_order = [bits(shared.predict(query)) for query in queries]
    jobs = list(range(len(queries))) * 2
    random.Random(5).shuffle(jobs)
    with ThreadPoolExecutor(8) as pool:
        at_once = list(pool.map(lambda i: bits(shared.predict(queries[i])), jobs))

    assert in_order[:3] == alone
    assert at_once == [in_order[i] for i in jobs]


def test_int8_scores_differ_from_fp32(model: TinyModel, load: Callable[[Path], Predictor]) -> None:
    """The premise of testing both: these really are two sets of weights."""
    fp32, int8 = load(model.bundle), load(model.int8)

    assert bits(fp32.predict(Query(TEXTS[0], fp32.label_set))) != bits(
        int8.predict(Query(TEXTS[0], int8.label_set))
    )


def test_scores_are_ranked_best_first(model: TinyModel, load: Callable[[Path], Predictor]) -> None:
    """Every label asked for stands there once, with a score in [0, 1], the label first."""
    predictor = load(model.bundle)
    for query in make_queries(predictor):
        prediction = predictor.predict(query)
        scores = [score for _, score in prediction.scores]
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores)
        assert {label for label, _ in prediction.scores} == set(query.label_set.names)
        assert prediction.raw_label == prediction.scores[0][0]


def test_equal_scores_keep_the_order_of_the_label_set(tiny: Callable[[str], TinyModel]) -> None:
    """Labels with one and the same hypothesis tie to the last bit; the set's order settles it."""
    bundle = read_bundle(tiny("nli-bert").bundle)
    names = ("zebra", "ant", "mouse", "bee", "yak")
    for order in (names, names[::-1]):
        twins = tuple(Intent(name, hypothesis="It is an animal.") for name in order)
        prediction = Predictor(bundle, LABELS).predict(
            Query("a zoo", LabelSet("twins", "1", twins), multi_label=True)
        )
        assert tuple(label for label, _ in prediction.scores) == order
        assert len({score for _, score in prediction.scores}) == 1


def test_below_its_threshold_a_label_is_withheld_and_still_named(
    fixed: Path, load: Callable[[Path], Predictor]
) -> None:
    """Abstention is an answer: no label, the raw label, and the reason."""
    ((best, score), *_) = load(fixed).predict(Query(TEXTS[0], LABELS)).scores
    for threshold, is_given in ((score, True), (float(np.nextafter(score, 1)), False)):
        intents = tuple(Intent(name, threshold=threshold) for name in INTENTS)
        prediction = load(fixed).predict(Query(TEXTS[0], LabelSet("strict", "1", intents)))
        assert prediction.label == (best if is_given else None)
        assert prediction.labels == ((best,) if is_given else ())
        assert prediction.raw_label == best
        assert prediction.reason is (Reason.ABOVE_THRESHOLD if is_given else Reason.BELOW_THRESHOLD)


def test_an_intents_threshold_beats_the_manifests_and_its_label_beats_its_default(
    fixed: Path, tmp_path: Path
) -> None:
    """Three places for a threshold, the nearest one wins; zero is a threshold like any other."""
    bundle = change_bundle(
        fixed, tmp_path / "b", threshold=0.2, thresholds={"EXTRACT": 0.4, "REASON": 0.6}
    )
    label_set = LabelSet("mine", "1", (Intent("REASON", threshold=0.0), Intent("EXTRACT")))
    predictor = Predictor(bundle, label_set)

    found = {intent.name: predictor.threshold(intent) for intent in predictor.label_set.intents}
    assert found == {"SUMMARIZE": 0.2, "EXTRACT": 0.4, "REASON": 0.0, "SEARCH_ONLY": 0.2}


def test_the_manifests_thresholds_decide_where_the_label_set_is_silent(
    fixed: Path, load: Callable[[Path], Predictor], tmp_path: Path
) -> None:
    """A bundle may demand more of one label than of the others."""
    ((best, score), *_) = load(fixed).predict(Query(TEXTS[0], LABELS)).scores
    strict = change_bundle(fixed, tmp_path / "s", threshold=0.0, thresholds={best: score + 1e-9})
    lenient = change_bundle(fixed, tmp_path / "l", threshold=1.0, thresholds={best: score})

    assert Predictor(strict, LABELS).predict(Query(TEXTS[0], LABELS)).label is None
    assert Predictor(lenient, LABELS).predict(Query(TEXTS[0], LABELS)).label == best


def test_multi_label_gives_every_label_that_is_reached(
    tiny: Callable[[str], TinyModel], load: Callable[[Path], Predictor]
) -> None:
    """Best first, by each label's own threshold; otherwise there is at most one."""
    predictor = load(tiny("nli-distilbert").bundle)
    alone = predictor.predict(Query(TEXTS[0], LABELS, multi_label=True)).scores
    bars = dict(zip([label for label, _ in alone], (0.0, 1.0, 0.0, 0.0), strict=True))
    picky = LabelSet("picky", "1", tuple(Intent(name, threshold=bars[name]) for name in INTENTS))

    several = predictor.predict(Query(TEXTS[0], picky, multi_label=True))
    assert several.labels == tuple(label for label, _ in alone if bars[label] == 0)
    assert several.label == several.raw_label == several.labels[0]
    assert len(predictor.predict(Query(TEXTS[0], picky)).labels) <= 1


def test_a_fixed_bundle_takes_thresholds_and_no_labels_from_the_label_set(fixed: Path) -> None:
    """An admin's intents file may stay in place when a fixed-label bundle moves in."""
    intents = (Intent("WEATHER", threshold=0.9), Intent("REASON", "why", threshold=0.7))
    predictor = Predictor(read_bundle(fixed), LabelSet("default", "3", intents))

    assert predictor.fixed_labels
    assert predictor.label_set.names == INTENTS
    assert [intent.threshold for intent in predictor.label_set.intents] == [None, None, 0.7, None]


def test_blank_texts_are_refused(model: TinyModel, load: Callable[[Path], Predictor]) -> None:
    """There is nothing to understand in white space, and no model is asked."""
    predictor = load(model.bundle)
    for text in ("", "   ", "\n\t\u2003"):
        with pytest.raises(InvalidText):
            predictor.predict(Query(text, predictor.label_set))
    with pytest.raises(InvalidText, match="surrogate"):
        predictor.predict(Query("half a pair \ud83d", predictor.label_set))


@pytest.mark.parametrize("form", ["bundle", "int8"])
def test_the_self_test_passes_on_a_sound_bundle(
    model: TinyModel, form: str, load: Callable[[Path], Predictor]
) -> None:
    """On this CPU, every case gives PyTorch's label, and scores within the bundle's tolerance."""
    result = load(getattr(model, form)).self_test()

    assert result.passed
    assert result.agreeing == result.cases >= 2
    assert 0 < result.max_score_delta <= result.tolerance


def change_weights(path: Path, out: Path, change: Callable[[np.ndarray], np.ndarray]) -> Predictor:
    """A bundle with another classifier head, honestly sealed: hashes are right, answers are not."""
    shutil.copytree(path, out)
    graph = onnx.load(out / MODEL)
    for initializer in graph.graph.initializer:
        if initializer.name.startswith("classifier"):
            weights = change(numpy_helper.to_array(initializer).copy())
            initializer.CopyFrom(numpy_helper.from_array(weights, initializer.name))
    onnx.save(graph, out / MODEL)
    return Predictor(seal_bundle(out, read_manifest(out)), LABELS)


def read_manifest(path: Path) -> Manifest:
    """The manifest as written, whatever the files became."""
    return Manifest.model_validate_json((path / "manifest.json").read_text())


def test_the_self_test_fails_with_numbers_when_weights_were_altered(
    fixed: Path, tmp_path: Path
) -> None:
    """Turned heads disagree on labels; slightly changed ones are caught by their scores alone."""
    turned = change_weights(fixed, tmp_path / "turned", lambda weights: -weights).self_test()
    nudged = change_weights(fixed, tmp_path / "nudged", lambda weights: weights * 0.999).self_test()

    assert not turned.passed
    assert turned.agreeing < turned.cases
    assert turned.max_score_delta > 0.1
    assert not nudged.passed
    assert nudged.agreeing == nudged.cases
    assert nudged.tolerance < nudged.max_score_delta < 0.01


def test_the_self_test_fails_when_one_label_is_another(fixed: Path, tmp_path: Path) -> None:
    """Scores within the tolerance do not make up for a label that turned."""
    shutil.copytree(fixed, tmp_path / "b")
    cases = [json.loads(line) for line in (tmp_path / "b" / SELFTEST).read_text().splitlines()]
    cases[1]["label"] = min(cases[1]["scores"], key=cases[1]["scores"].__getitem__)
    (tmp_path / "b" / SELFTEST).write_text("".join(json.dumps(case) + "\n" for case in cases))
    result = Predictor(
        seal_bundle(tmp_path / "b", read_manifest(tmp_path / "b")), LABELS
    ).self_test()

    assert result.agreeing == result.cases - 1
    assert result.max_score_delta <= result.tolerance
    assert not result.passed


def test_the_self_test_fails_on_scores_that_are_no_numbers(fixed: Path, tmp_path: Path) -> None:
    """NaN is not within any tolerance, in whichever place it stands."""

    def spoil(weights: np.ndarray) -> np.ndarray:
        weights.flat[-1] = np.nan
        return weights

    assert not change_weights(fixed, tmp_path / "nan", spoil).self_test().passed
    # One case in the middle, as a kernel that fails for one length would give it.
    predictor = Predictor(read_bundle(fixed), LABELS)
    deltas = iter([(True, 0.0), (True, float("nan")), *[(True, 0.0)] * 50])
    predictor._check = lambda case: next(deltas)  # type: ignore[method-assign]
    assert not predictor.self_test().passed


@pytest.mark.parametrize(
    ("lines", "error", "message"),
    [
        ("", BundleIncompatible, "self-test is empty"),
        ("{}\n", BundleCorrupt, r"selftest\.jsonl:1: not a self-test case"),
        ("no json\n", BundleCorrupt, r"selftest\.jsonl:1: not a self-test case"),
    ],
)
def test_a_self_test_that_cannot_be_read_says_so(
    fixed: Path, tmp_path: Path, lines: str, error: type[Exception], message: str
) -> None:
    """No case is no proof; a broken line is named."""
    shutil.copytree(fixed, tmp_path / "b")
    (tmp_path / "b" / SELFTEST).write_text(lines)
    bundle = seal_bundle(tmp_path / "b", read_manifest(tmp_path / "b"))

    with pytest.raises(error, match=message):
        Predictor(bundle, LABELS).self_test()


def test_reference_cases_without_labels_use_the_predictors_own(
    tiny: Callable[[str], TinyModel], tmp_path: Path
) -> None:
    """An empty `labels` in a case means the label set that the daemon serves."""
    shutil.copytree(tiny("encoder").bundle, tmp_path / "b")
    lines = (tmp_path / "b" / SELFTEST).read_text().splitlines()
    named = '"labels": ["SUMMARIZE", "EXTRACT", "REASON", "SEARCH_ONLY"]'
    assert all(named in line for line in lines)
    unnamed = "".join(line.replace(named, '"labels": []') + "\n" for line in lines)
    (tmp_path / "b" / SELFTEST).write_text(unnamed)
    bundle = seal_bundle(tmp_path / "b", read_manifest(tmp_path / "b"))

    assert Predictor(bundle, LABELS).self_test().passed
    assert not Predictor(bundle, LabelSet.from_names(["cat", "dog"])).self_test().passed


def test_fifty_megabytes_cost_what_fifty_kilobytes_do(
    model: TinyModel, load: Callable[[Path], Predictor]
) -> None:
    """What a text costs depends on the window: both lengths fill it, and answer alike.

    A small window leaves the model so little to do that nothing is hidden behind it.
    """
    predictor = load(model.bundle)
    line = "The whale, who is not a fish, swam on; and Ahab's men didn't see him.\n"
    short, long = (
        Query(line * (size // len(line)), predictor.label_set, max_tokens=64)
        for size in (50_000, 50_000_000)
    )

    assert bits(predictor.predict(short)) == bits(predictor.predict(long))
    assert cost_ratio(predictor, short, long) <= COST_RATIO


def cost_ratio(predictor: Predictor, small: Query, large: Query) -> float:
    """Ratio of median times of alternating runs; the best of several rounds on a busy machine."""
    ratios: list[float] = []
    while len(ratios) < 8 and min(ratios, default=2.0) > COST_RATIO:
        pairs = [(clock(predictor, small), clock(predictor, large)) for _ in range(7)]
        ratios.append(median(b for _, b in pairs) / median(a for a, _ in pairs))
    return min(ratios)


def clock(predictor: Predictor, query: Query) -> float:
    """Seconds of one prediction."""
    started = time.perf_counter()
    predictor.predict(query)
    return time.perf_counter() - started


def test_predictions_say_where_the_time_went(
    model: TinyModel, load: Callable[[Path], Predictor]
) -> None:
    """Both parts are measured, and neither is negative."""
    predictor = load(model.bundle)
    prediction = predictor.predict(Query(TEXTS[0], predictor.label_set))

    assert prediction.tokenize_ms > 0
    assert prediction.infer_ms > 0
