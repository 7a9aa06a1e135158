"""`edge.repeats`: the very same question is known again, nothing else is, and memory is bounded."""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.labels import Intent, LabelSet
from edge.query import Query, Scores
from edge.repeats import ENTRY_BYTES, MAX_CHARS, RepeatCache

LABELS = LabelSet.from_names(["a", "b"])
QUERY = Query("what is it?", LABELS)
QUERIES = st.builds(
    Query,
    text=st.text(max_size=3),
    label_set=st.lists(st.sampled_from(["a", "b", 'a","b']), min_size=1, unique=True).map(
        LabelSet.from_names
    ),
    content=st.none() | st.text(max_size=3),
    multi_label=st.booleans(),
    hypothesis_template=st.none() | st.sampled_from(["{}", "{}.", "null"]),
    max_tokens=st.none() | st.integers(1, 3),
)


def scores(*values: float) -> Scores:
    """What a model said, in 5 ms."""
    return Scores(np.array(values), tokens_used=7, truncated=True, tokenize_ms=1.0, infer_ms=4.0)


@given(QUERIES, QUERIES)
def test_only_the_very_same_question_has_the_same_key(one: Query, other: Query) -> None:
    """Whatever of it decides the scores is part of the key."""
    cache = RepeatCache(1)

    assert (cache.key_of(one) == cache.key_of(other)) == (one == other)


def test_other_wording_of_the_labels_is_another_question() -> None:
    """Labels of the same names, with other descriptions, score otherwise."""
    cache = RepeatCache(1)
    worded = LabelSet("x", "1", (Intent("a", "apples"), Intent("b")))

    assert cache.key_of(replace(QUERY, label_set=worded)) != cache.key_of(QUERY)


def test_what_was_said_comes_back_to_the_last_bit() -> None:
    """And with it what it took then."""
    cache = RepeatCache(4)
    said = scores(0.1 + 0.2, 0.7)
    key = cache.key_of(QUERY)
    cache.keep(key, said)
    found = cache.find(key)

    assert found is not None
    assert found.values.tobytes() == said.values.tobytes()
    assert (found.tokens_used, found.truncated) == (7, True)
    assert (found.tokenize_ms, found.infer_ms) == (1.0, 4.0)


def test_what_is_kept_cannot_be_changed_through_the_scores() -> None:
    """Neither those that were given nor those that are found."""
    cache = RepeatCache(4)
    said, key = scores(0.3, 0.7), cache.key_of(QUERY)
    cache.keep(key, said)
    said.values[0] = 1.0
    found = cache.find(key)

    assert found is not None
    assert found.values[0] == 0.3
    with pytest.raises(ValueError, match="read-only"):
        found.values[0] = 1.0


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from([1, 64, 300, 2000]))))
def test_memory_is_bounded_and_the_oldest_goes_first(asked: list[tuple[int, int]]) -> None:
    """In entries, and in bytes where a model has hundreds of labels."""
    cache = RepeatCache(4)
    for name, labels in asked:
        key = bytes([name])
        cache.keep(key, scores(*[0.5] * labels))
        kept = [cache._kept[k].values.nbytes for k in cache._kept]
        assert len(cache) <= 4
        assert sum(kept) <= 4 * ENTRY_BYTES
        if labels <= 300:
            assert cache.find(key) is not None


def test_a_question_that_is_asked_again_stays() -> None:
    """The least recently asked is forgotten, not the first."""
    cache = RepeatCache(2)
    for name in (b"1", b"2"):
        cache.keep(name, scores(1.0))
    cache.find(b"1")
    cache.keep(b"3", scores(1.0))

    assert [name for name in (b"1", b"2", b"3") if cache.find(name)] == [b"1", b"3"]


def test_no_text_and_no_label_is_held() -> None:
    """What it keeps refers to nothing that a user wrote."""
    text, label = "the secret text of a user", "the secret label"
    cache = RepeatCache(4)
    cache.keep(cache.key_of(Query(text, LabelSet.from_names([label]))), scores(1.0))
    seen, reached = [cache], {id(cache)}
    for thing in seen:
        news = [one for one in gc.get_referents(thing) if id(one) not in reached]
        held = [one for one in news if not isinstance(one, type) and not callable(one)]
        reached |= {id(one) for one in held}
        seen += [one for one in held if type(one).__name__ != "module"]

    words = [repr(one) for one in seen if isinstance(one, str | bytes)]
    assert not [word for word in words if "secret text" in word or "secret label" in word]


def test_two_caches_know_a_question_by_different_keys() -> None:
    """A key says nothing to whoever has not the secret."""
    assert RepeatCache(1).key_of(QUERY) != RepeatCache(1).key_of(QUERY)


def test_long_texts_are_not_looked_up() -> None:
    """Hashing them would cost what the cache saves; their content counts."""
    cache = RepeatCache(4)
    longest = Query("a" * MAX_CHARS, LABELS)

    assert cache.key_of(longest) is not None
    assert cache.key_of(replace(longest, content="b")) is None
    assert cache.find(None) is None
    cache.keep(None, scores(1.0))
    assert len(cache) == 0


def test_none_are_kept_where_none_are_wanted() -> None:
    """And nothing is hashed for it."""
    assert RepeatCache(0).key_of(QUERY) is None


def test_clearing_forgets_everything() -> None:
    """With the model that said it."""
    cache = RepeatCache(4)
    cache.keep(b"1", scores(1.0))
    cache.clear()

    assert cache.find(b"1") is None
    assert len(cache) == 0
