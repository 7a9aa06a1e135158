"""`edge.tokens` against `transformers` and `tokenizers` on the same files, and the clock."""

from __future__ import annotations

import json
import operator
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import NFKC
from tokenizers.pre_tokenizers import Metaspace, WhitespaceSplit
from tokenizers.processors import TemplateProcessing

from edge.errors import BundleCorrupt, BundleIncompatible, InvalidText
from edge.tokens import MAX_RUN_CHARS, Ids, TextTokenizer, pad_rows

REPO = Path(__file__).parents[2]
SHARED = REPO.parent / "shared" / "data"
FILES = {
    "starter": REPO / "edge" / "starter" / "tokenizer.json",
    "bart": SHARED / "tokenizers" / "bart-large-mnli" / "tokenizer.json",
    "distilbert": SHARED / "tokenizers" / "distilbert-base-uncased-mnli" / "tokenizer.json",
}
BART_NAMES = ("</s>", "<s>", "<pad>", "<unk>", "<mask>")
LOOKALIKES = (*BART_NAMES, "[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]")
HYPOTHESES = ("This example is about search.", "x", "Was heißt »日本語«? " * 4)


class Subject:
    """Ours beside the library's own, both made from one file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.data = FILES[name].read_text(encoding="utf-8")
        self.by_factor = {n: TextTokenizer(self.data, chars_per_token=n) for n in (1, 2, 5)}
        self.whole = Tokenizer.from_str(self.data)
        self.whole.no_truncation()
        self.whole.no_padding()
        self.whole.encode_special_tokens = True

    def __repr__(self) -> str:
        return f"Subject({self.name!r})"

    @property
    def ours(self) -> TextTokenizer:
        """The tokenizer as the daemon uses it."""
        return self.by_factor[5]

    def full(self, text: str) -> list[int]:
        """Every content id of the text, from `tokenizers` itself."""
        ids: list[int] = self.whole.encode(text, add_special_tokens=False).ids
        return ids

    def special_ids(self) -> set[int]:
        """Ids that a text must never hold; the unknown token of BERT may stand for a word."""
        added = self.whole.get_added_tokens_decoder()
        return {i for i, token in added.items() if token.content != "[UNK]"}


@cache
def load_subject(name: str) -> Subject:
    """Build one subject from its file, with ever smaller first reads beside the real one."""
    return Subject(name)


@cache
def load_reference(name: str) -> Any:
    """The `transformers` tokenizer of the same file, told as we are to read specials as text."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_file=str(FILES[name]), split_special_tokens=True)


@pytest.fixture(params=FILES)
def subject(request: pytest.FixtureRequest) -> Subject:
    """Each real tokenizer in turn."""
    if not FILES[request.param].exists():
        pytest.skip(f"{request.param}: {FILES[request.param].name} is not on this machine")
    return load_subject(request.param)


def read_shared(relative: str) -> str:
    """A text that lies beside the repository, never in it."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"../shared/data/{relative} is not on this machine")
    return path.read_text(encoding="utf-8", errors="replace")


SPACES = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u180e\u2000\u200a\u2028\u2029\u202f\u3000"
DROPPED = "\x00\x01\x7f\ufffd\xad\u200b\u200d\u2060\ufeff\ue000\u0378"
MARKS = "\u0301\u0327\u0338\u0345\u05b0\u0e38\u20dd\u302e\u302f\U0001d165\ufe0f"
LETTERS = "aZéßİΣςǅﬁआ中文日本한가ㄱかがゞ\u0661Ⅷ²"
SYMBOLS = "'’.,!-=<>/[]_«»。、¿#$^`~😀👍🏽"
WORDS = (
    *LOOKALIKES,
    *("'s", "'re", "'ll", "'ve", "don't", " 'tis", "'r", "'v", "'l"),
    *("ΟΔΟΣ", "Straße", "naïve", "e\u0301", "나는", "日本語。", "x=\u0338", "hello", " world"),
    *("👩\u200d👩\u200d👧\u200d👦", "🇩🇪", "1\ufe0f\u20e3", "\r\n", "  ", "\n\n\n"),
)
RUNS = st.builds(
    operator.mul,
    st.sampled_from(SPACES + DROPPED + MARKS + LETTERS + SYMBOLS),
    st.integers(1, 160),
)
PARTS = st.one_of(
    st.sampled_from(WORDS),
    *(st.text(alphabet, max_size=8) for alphabet in (SPACES, DROPPED, MARKS, LETTERS, SYMBOLS)),
    st.text(SPACES + DROPPED + MARKS + LETTERS + SYMBOLS, max_size=20),
    st.text(max_size=12),
    RUNS,
)
TEXTS = st.lists(PARTS, max_size=14).map("".join)
EXAMPLES = settings(
    max_examples=int(os.environ.get("TOKENS_TEST_EXAMPLES", "250")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # `subject` never changes
)


def check_cut(subject: Subject, text: str, limit: int, factor: int = 5) -> None:
    """Assert that a cut text has the ids and the flag that cutting the whole would give."""
    full = subject.full(text)
    piece = subject.by_factor[factor].encode(text, limit)
    assert piece.ids.dtype == np.int64
    assert piece.ids.tolist() == full[:limit]
    assert piece.truncated == (len(full) > limit)


@EXAMPLES
@given(text=TEXTS, limit=st.integers(0, 64), factor=st.sampled_from([1, 2, 5]))
def test_ids_equal_the_whole_text_cut_to_the_limit(
    subject: Subject, text: str, limit: int, factor: int
) -> None:
    """Reading a prefix gives the ids and the flag of reading everything, for any Unicode text."""
    check_cut(subject, text, limit, factor)


@EXAMPLES
@given(text=TEXTS, tail=TEXTS)
def test_no_continuation_changes_a_trusted_token(subject: Subject, text: str, tail: str) -> None:
    """Tokens that `encode` may keep from a prefix stay the same whatever follows it."""
    encoding = subject.ours._tokenise(text)
    trusted = subject.ours._trusted(encoding)

    assert subject.full(text + tail)[:trusted] == encoding.ids[:trusted]


def test_every_cut_of_a_tricky_text_trusts_only_what_stays(subject: Subject) -> None:
    """Contractions, doubled spaces, marks and compounds are safe to cut at every character."""
    text = "we're  they'll\tI've it's\n\n d'oh 're'll <mask> 1.5% "
    text += "x= \u0338 e\u0301\u0327\u302e 中\u302e文"
    for space in " \t\x85\x1c\u3000\u200b\u180e":
        tricky = f"{text}{space}{space}a{space}'ve{space}" * 2
        full = subject.full(tricky)
        for size in range(len(tricky)):
            encoding = subject.ours._tokenise(tricky[:size])
            trusted = subject.ours._trusted(encoding)
            assert full[:trusted] == encoding.ids[:trusted]


@settings(EXAMPLES, max_examples=EXAMPLES.max_examples // 2)
@given(text=TEXTS, room=st.integers(1, 48), hypothesis=st.sampled_from(HYPOTHESES))
def test_rows_equal_those_of_transformers(
    subject: Subject, text: str, room: int, hypothesis: str
) -> None:
    """Single rows match `truncation=True`, pair rows `only_first`, specials counted, types too."""
    reference, ours = load_reference(subject.name), subject.ours
    claim = ours.encode(hypothesis, 1000).ids
    rows = (
        (ours.single(ours.encode(text, room).ids), (text,), ours.n_special_single + room),
        (
            ours.pair(ours.encode(text, room).ids, claim),
            (text, hypothesis),
            ours.n_special_pair + claim.size + room,
        ),
    )
    for row, texts, window in rows:
        strategy = "only_first"  # with one text, the same as True
        expected = reference(
            *texts, truncation=strategy, max_length=window, return_token_type_ids=True
        )
        assert row.ids.tolist() == expected["input_ids"]
        assert row.type_ids.tolist() == expected["token_type_ids"]
        assert row.ids.size <= window


def test_naughty_strings_are_cut_exactly(subject: Subject) -> None:
    """The big list of naughty strings, one by one and as one text, is cut exactly."""
    strings = json.loads(read_shared("strings/blns.json"))
    for text in (*strings, "\n".join(strings)):
        for limit in (1, 3, 17):
            check_cut(subject, text, limit, factor=1)


def test_utf8_test_file_is_cut_exactly(subject: Subject) -> None:
    """The UTF-8 stress file, broken bytes replaced, is cut exactly at many limits."""
    text = read_shared("strings/UTF-8-test.txt")
    for limit in range(1, 900, 37):
        check_cut(subject, text, limit, factor=1)


def test_prose_is_cut_exactly_at_real_windows(subject: Subject) -> None:
    """Windows into a novel, at the limits of real models, are cut exactly."""
    text = read_shared("longtext/moby_dick.txt")
    for start in range(0, 600_000, 60_013):
        for limit in (126, 510, 1020):
            check_cut(subject, text[start : start + 40_000], limit)


def test_two_rows_with_types_from_known_ids(subject: Subject) -> None:
    """The templates are the published ones: BART's doubled separator, BERT's second segment."""
    a, b = np.array([7, 8], dtype=np.int64), np.array([9], dtype=np.int64)
    single, pair = subject.ours.single(a), subject.ours.pair(a, b)
    if subject.name == "bart":
        assert single.ids.tolist() == [0, 7, 8, 2]
        assert pair.ids.tolist() == [0, 7, 8, 2, 2, 9, 2]
        assert pair.type_ids.tolist() == [0] * 7
        assert (subject.ours.pad_id, subject.ours.eos_id) == (1, 2)
    else:
        assert single.ids.tolist() == [101, 7, 8, 102]
        assert pair.ids.tolist() == [101, 7, 8, 102, 9, 102]
        assert pair.type_ids.tolist() == [0, 0, 0, 0, 1, 1]
        assert (subject.ours.pad_id, subject.ours.eos_id) == (0, None)


def test_padding_and_truncation_written_in_the_file_are_ignored(subject: Subject) -> None:
    """A file saved with a window of 8 and padding to 8 still gives every id, and no padding."""
    saved = Tokenizer.from_str(subject.data)
    pad = saved.decode([subject.ours.pad_id], skip_special_tokens=False)
    saved.enable_truncation(8)
    saved.enable_padding(pad_id=subject.ours.pad_id, pad_token=pad, length=8)
    ours = TextTokenizer(saved.to_str())

    assert ours.encode("one", 100).ids.tolist() == subject.full("one")
    assert ours.encode("one " * 20, 100).ids.tolist() == subject.full("one " * 20)


@EXAMPLES
@given(parts=st.lists(st.one_of(st.sampled_from(LOOKALIKES), PARTS), max_size=12))
def test_typed_special_tokens_stay_text(subject: Subject, parts: list[str]) -> None:
    """However a user types the names of special tokens, no special id comes out."""
    ids = subject.ours.encode("".join(parts), 200).ids.tolist()

    assert subject.special_ids().isdisjoint(ids)


def test_every_bart_pair_holds_three_ends_of_sequence() -> None:
    """BART's head reads the last of exactly three EOS; a text full of them adds none."""
    if not FILES["bart"].exists():
        pytest.skip("the BART tokenizer is not on this machine")
    ours = load_subject("bart").ours
    for text in ("", "hello", "</s>" * 50, "</s></s> a </s>"):
        row = ours.pair(ours.encode(text, 100).ids, ours.encode(text, 100).ids)
        assert np.count_nonzero(row.ids == ours.eos_id) == 3


@pytest.mark.parametrize("run", ["a", " ", "\n", "\u0301", "\ufffd", "\x00", "😀", "中", "-", "é"])
def test_runs_up_to_the_documented_length_are_exact(subject: Subject, run: str) -> None:
    """Stretches of 10 000 characters are never cut, wherever they stand, also one after another."""
    for limit in (1, 7, 100, 1000):
        check_cut(subject, f"one {run * 9_996} two {run * 9000} end. " * 3, limit)
        check_cut(subject, f"{'a' * 9000} {run * 9000} end. {run * 9000} {'a' * 9000}.", limit)


@pytest.mark.parametrize("run", ["a", " ", "\u0301", "\ufffd", "😀"])
def test_longer_runs_are_cut_where_the_module_says(subject: Subject, run: str) -> None:
    """Past MAX_RUN_CHARS, the ids are those of the first prefix that ends in the run."""
    limit = 100
    size = next(size for n in range(20) if (size := 5 * limit * 2**n) > MAX_RUN_CHARS + len("go "))
    for length in (size, 50_000, 300_000):
        text = f"go {run * length} after"
        piece = subject.ours.encode(text, limit)
        assert piece.ids.tolist() == subject.full(text[:size])[:limit]
        assert piece.truncated


def test_reading_is_capped_even_for_text_made_to_be_read_on(subject: Subject) -> None:
    """A text with one word just before each read's end is read up to the cap, and no further."""
    limit, cap = 8, 2 * MAX_RUN_CHARS * (8 + 3)
    chars = [" "] * (4 * cap)
    for end in (*(5 * limit * 2**n for n in range(8, 15)), cap):
        chars[end - 5] = "a"
    text = "".join(chars)

    assert subject.ours.encode(text, limit).ids.tolist() == subject.full(text[:cap])[:limit]
    assert subject.ours.encode(text, limit).truncated


@pytest.mark.parametrize(
    "kind",
    [
        "prose",
        "a",
        " ",
        "\n",
        "\u0301",
        "\ufffd",
        "\x00",
        "😀",
        "中",
        "👩\u200d👧 ",
        "</s>",
        "[SEP]",
    ],
)
def test_fifty_megabytes_cost_what_fifty_kilobytes_do(subject: Subject, kind: str) -> None:
    """The time to cut a text depends on the limit, not on the length, odd texts included."""
    if kind == "prose":
        kind = "The whale, who is not a fish, swam on; and Ahab's men didn't see him.\n"
    size = len(kind.encode())
    small, large = kind * (50_000 // size), kind * (50_000_000 // size)
    ratio = cost_ratio(partial(subject.ours.encode, limit=510), small, large)

    assert ratio <= 1.3


def cost_ratio(work: Callable[[str], object], small: str, large: str) -> float:
    """How many times longer `large` takes: the best of alternating runs, more on a busy machine."""
    best = {small: float("inf"), large: float("inf")}
    for attempt in range(60):
        for text in (small, large):
            started = time.perf_counter()
            work(text)
            best[text] = min(best[text], time.perf_counter() - started)
        if attempt >= 3 and best[large] <= 1.25 * best[small]:
            break
    return best[large] / best[small]


def test_lone_surrogates_are_refused_without_reading_on(subject: Subject) -> None:
    """Half a UTF-16 pair in the part that is read is an error of ours; beyond it nobody looks."""
    with pytest.raises(InvalidText, match="lone surrogate"):
        subject.ours.encode("ok \ud800 ok", 10)
    with pytest.raises(InvalidText, match="lone surrogate"):
        subject.ours.encode("\udfff" * 1_000_000, 10)

    assert subject.ours.encode("word " * 1000 + "\ud800", 10).truncated


def test_negative_limit_is_a_bug_of_the_caller(subject: Subject) -> None:
    """A negative limit raises instead of slicing from the end."""
    with pytest.raises(ValueError, match="found -1"):
        subject.ours.encode("text", -1)


def test_threads_share_one_tokenizer(subject: Subject) -> None:
    """Many threads with different limits get what each would get alone."""
    jobs = [(f"job {i} " + LOOKALIKES[i % 10] * (i % 7) + " tail" * i, i % 23) for i in range(300)]
    alone = [subject.ours.encode(*job).ids.tolist() for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda job: subject.ours.encode(*job).ids.tolist(), jobs))

    assert together == alone


def test_encoding_starts_no_threads_and_warns_of_no_fork(subject: Subject) -> None:
    """A process that encodes has one thread, and may fork without the library's warning."""
    script = (
        "import os, pathlib, sys\n"
        "from edge.tokens import TextTokenizer\n"
        "tasks = lambda: len(os.listdir('/proc/self/task'))\n"
        "tokenizer = TextTokenizer(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "before = tasks()\n"
        "for _ in range(20):\n"
        "    tokenizer.encode('some words ' * 2000, 500)\n"
        "assert tasks() == before, (before, tasks())\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    tokenizer.encode('in the child', 5)\n"
        "    os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TOKENIZERS_PARALLELISM"}
    environment |= {"PYTHONPATH": str(REPO), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-c", script, str(FILES[subject.name])]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, check=False, timeout=60
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_rows_are_padded_on_the_right_to_the_longest(subject: Subject) -> None:
    """Ids, mask and types are int64 rectangles that give each row back."""
    rows = [subject.ours.pair(subject.ours.encode("w " * n, 9).ids, as_ids(5)) for n in (1, 6, 0)]
    arrays = ids, mask, types = pad_rows(rows, subject.ours.pad_id)

    assert {(array.shape, array.dtype.name) for array in arrays} == {
        ((3, rows[1].ids.size), "int64")
    }
    for i, row in enumerate(rows):
        n = row.ids.size
        assert ids[i].tolist() == row.ids.tolist() + [subject.ours.pad_id] * (ids.shape[1] - n)
        assert mask[i].tolist() == [1] * n + [0] * (ids.shape[1] - n)
        assert types[i].tolist() == row.type_ids.tolist() + [0] * (ids.shape[1] - n)


def as_ids(*values: int) -> Ids:
    """An array of ids."""
    return np.array(values, dtype=np.int64)


def tiny(**parts: Any) -> Tokenizer:
    """A small tokenizer of another family, to be refused or read whole."""
    vocabulary = {w: i for i, w in enumerate(["[UNK]", "[PAD]", "[CLS]", "a", "b", "▁a", "what"])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = parts.pop("pre_tokenizer", Metaspace())
    for name, value in parts.items():
        setattr(tokenizer, name, value)
    return tokenizer


@pytest.mark.parametrize(
    "data",
    ["", "{", "null", "[]", "{}", '{"version": "9"}', b"\xff\xfe", "\x00" * 100],
)
def test_a_file_that_is_no_tokenizer_is_corrupt(data: bytes | str) -> None:
    """Anything but a tokenizer is refused with a message that names the file and the way out."""
    with pytest.raises(BundleCorrupt, match=r"tokenizer\.json.*build the bundle again"):
        TextTokenizer(data)


def test_a_cut_or_altered_tokenizer_is_corrupt(subject: Subject) -> None:
    """A tokenizer file cut short at any place is refused, never half loaded."""
    for part in (0.1, 0.5, 0.9, 0.9999):
        with pytest.raises(BundleCorrupt):
            TextTokenizer(subject.data[: int(len(subject.data) * part)])


def test_a_file_that_makes_the_library_panic_is_corrupt() -> None:
    """A panic in Rust passes by `except Exception`; a bad candidate must not end the daemon so."""
    template = TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 2)])
    saved = json.loads(tiny(post_processor=template).to_str())
    del saved["post_processor"]["special_tokens"]["[CLS]"]
    with pytest.raises(BundleCorrupt, match="build the bundle again"):
        TextTokenizer(json.dumps(saved))


def test_padding_that_contradicts_the_vocabulary_is_corrupt() -> None:
    """A padding id that belongs to another token would feed the model garbage."""
    tokenizer = tiny()
    tokenizer.enable_padding(pad_id=3, pad_token="[PAD]")
    with pytest.raises(BundleCorrupt, match=r"expected \[PAD\] to be 1 .* found 3"):
        TextTokenizer(tokenizer.to_str())


def test_a_tokenizer_without_padding_token_is_incompatible() -> None:
    """Rows of a batch must be padded with something the model knows."""
    tokenizer = Tokenizer(WordLevel({"a": 0, "?": 1}, unk_token="?"))
    with pytest.raises(BundleIncompatible, match=r"\[PAD\] or <pad>"):
        TextTokenizer(tokenizer.to_str())


def test_rows_that_repeat_the_text_are_incompatible() -> None:
    """A post-processor that is no prefix, middle and suffix cannot be spliced."""
    template = TemplateProcessing(single="$A [CLS] $A", special_tokens=[("[CLS]", 2)])
    with pytest.raises(BundleIncompatible, match="fixed special tokens around"):
        TextTokenizer(tiny(post_processor=template).to_str())


def test_a_tokenizer_that_obeys_typed_specials_is_incompatible() -> None:
    """Where `[CLS]` survives as one word, a text could forge the model's input."""
    tokenizer = tiny(pre_tokenizer=WhitespaceSplit())
    tokenizer.add_special_tokens(["[CLS]"])
    with pytest.raises(BundleIncompatible, match=r"\[CLS\] typed by a user"):
        TextTokenizer(tokenizer.to_str())


def test_unknown_families_are_read_whole_and_stay_exact() -> None:
    """Without a proof of boundaries the whole text is tokenised, whatever the first read."""
    text = "a a b " * 5000
    tokenizer = tiny()
    ours = TextTokenizer(tokenizer.to_str(), chars_per_token=1)

    assert not ours.is_bounded
    assert ours.encode(text, 50).ids.tolist() == tokenizer.encode(text).ids[:50]


def test_added_tokens_and_other_normalisers_are_not_trusted(subject: Subject) -> None:
    """A word added to the vocabulary, or a composing normaliser, voids the proof of boundaries."""
    added, composed = Tokenizer.from_str(subject.data), Tokenizer.from_str(subject.data)
    added.add_tokens([AddedToken("new york city", normalized=False)])
    composed.normalizer = NFKC()

    assert subject.ours.is_bounded
    for changed in (added, composed):
        assert not TextTokenizer(changed.to_str()).is_bounded
    text = "ab new york city " * 9
    expected = added.encode(text, add_special_tokens=False).ids[:7]
    assert TextTokenizer(added.to_str(), chars_per_token=1).encode(text, 7).ids.tolist() == expected
