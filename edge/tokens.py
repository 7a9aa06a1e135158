r"""The only file that knows `tokenizers`: texts become exact rows of token ids, at bounded cost.

It refuses to guess: a tokenizer whose rows are not fixed specials around the text, whose padding
is unknown, or that turns a typed `</s>` or `[SEP]` into a special token is turned away when loaded.

Exact reading of a prefix: `TextTokenizer.encode` tokenises a prefix of the text and grows it until
it holds more tokens than asked for. It trusts only words (pre-tokens, the units that are tokenised
one by one) which nothing after the prefix can change; their ids are those of the whole text.

- GPT-2 byte-level (BART, RoBERTa: `ByteLevel` with its regex, no normaliser). A match is decided
  at most two characters past its end (`\s+(?!\S)` looks one ahead, `'` waits two for `'re`), so
  the last two words of a prefix are not trusted.
- BERT (`BertPreTokenizer` after `BertNormalizer` or nothing). Characters are dropped, padded,
  stripped and lowered one by one, and combining marks, never punctuation nor space, are reordered
  within the last word, so only that one is not trusted.
- Anything else (Metaspace, sequences, other normalisers, added tokens that are not special) has no
  such proof: the whole text is tokenised, exact but at its full cost; `is_bounded` tells.

Where exactness ends: prefixes of 5, 10, 20, 40 ... times `limit` characters are read. At the first
that ends in a stretch of more than `MAX_RUN_CHARS` characters without a word boundary (one endless
word, or characters that make no token), reading stops: the ids are that prefix's, and the piece
counts as truncated. At most `2 * MAX_RUN_CHARS * (limit + 3)` characters are read of any text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer, normalizers, pre_tokenizers

from edge.errors import BundleCorrupt, BundleIncompatible, EdgeError, InvalidText

__all__ = ["MAX_RUN_CHARS", "Ids", "Piece", "Row", "TextTokenizer", "pad_rows"]

Ids = npt.NDArray[np.int64]

MAX_RUN_CHARS = 10_000
"""The longest stretch of characters without a word boundary that is surely tokenised as a whole."""

# English prose holds 3.7 (BART) to 4.1 (BERT) characters a token (Moby Dick): one read is enough.
_CHARS_PER_TOKEN = 5
_PROBES = ("", "a", "what does it say?")


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """The content of one text, without special tokens."""

    ids: Ids
    """Token ids, int64 [n]."""
    truncated: bool
    """Whether the text held more tokens than were kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One input row of a model, special tokens included."""

    ids: Ids
    """Token ids, int64 [n]."""
    type_ids: Ids
    """Segment ids, int64 [n]: the model's `token_type_ids`."""


@dataclass(frozen=True, slots=True, eq=False)
class _Template:
    """A row: `fixed[0] piece[0] fixed[1] piece[1] ... fixed[-1]`, and the pieces' segment ids."""

    fixed: tuple[Row, ...]
    piece_types: tuple[int, ...]

    @property
    def n_special(self) -> int:
        return sum(run.ids.size for run in self.fixed)

    def fill(self, *pieces: Ids) -> Row:
        ids, types = [self.fixed[0].ids], [self.fixed[0].type_ids]
        for piece, type_id, run in zip(pieces, self.piece_types, self.fixed[1:], strict=True):
            ids += (piece, run.ids)
            types += (np.full(piece.size, type_id, dtype=np.int64), run.type_ids)
        return Row(np.concatenate(ids), np.concatenate(types))


class TextTokenizer:
    """Turns texts into the rows that `transformers` makes from the same file; any thread may call.

    Whatever a user types is text: `</s>`, `<mask>` or `[SEP]` never become special tokens.
    """

    def __init__(self, data: bytes | str, *, chars_per_token: int = _CHARS_PER_TOKEN) -> None:
        """Load a tokenizer and derive the templates of its rows.

        Args:
            data: The content of `tokenizer.json`; truncation and padding set in it are ignored.
            chars_per_token: Sets the first prefix; changes speed and where an endless run is cut.

        Raises:
            BundleCorrupt: The content is not a tokenizer, or contradicts itself.
            BundleIncompatible: A tokenizer that cannot be used here; the message says why.
        """
        self._chars_per_token = chars_per_token
        with _blaming_the_file():
            self._derive(Tokenizer.from_str(data if isinstance(data, str) else data.decode()))

    def _derive(self, tokenizer: Tokenizer) -> None:
        self.pad_id = _pad_id(tokenizer)
        """The id that fills short rows."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True
        _refuse_typed_specials(tokenizer)
        self._single, self._pair = _template(tokenizer, 1), _template(tokenizer, 2)
        self.n_special_single = self._single.n_special
        """Special tokens in a row of one text."""
        self.n_special_pair = self._pair.n_special
        """Special tokens in a row of text and hypothesis."""
        self.eos_id = _eos_id(tokenizer, self._pair)
        """The id of `</s>` where rows hold it, else None."""
        self._margin_words = _margin_words(tokenizer)
        self.is_bounded = self._margin_words is not None
        """Whether `encode` reads only what it needs; False for a family without a proof."""
        self._tokenizer = tokenizer

    def encode(self, text: str, limit: int) -> Piece:
        """Keep the first `limit` tokens of a text; special tokens are neither counted nor added.

        The ids are those of the whole text cut to `limit`, but for endless runs (see the module).

        Raises:
            InvalidText: The part that was read holds a lone surrogate.
            ValueError: `limit` is negative.
        """
        if limit < 0:
            raise ValueError(f"expected a limit of 0 or more tokens, found {limit}")
        cap = 2 * MAX_RUN_CHARS * (limit + 3)
        size = max(1, limit * self._chars_per_token) if self.is_bounded else len(text)
        while size < len(text):
            encoding = self._tokenise(text[:size])
            if self._trusted(encoding) > limit or size == cap or _ends_in_a_run(encoding, size):
                return Piece(_as_ids(encoding.ids[:limit]), truncated=True)
            size = min(2 * size, cap)
        ids = self._tokenise(text).ids
        return Piece(_as_ids(ids[:limit]), truncated=len(ids) > limit)

    def single(self, piece_ids: Ids) -> Row:
        """Surround one piece with special tokens, as `tokenizer(text)` does."""
        return self._single.fill(piece_ids)

    def pair(self, text_ids: Ids, hypothesis_ids: Ids) -> Row:
        """Join two pieces with special tokens, as `tokenizer(text, hypothesis)` does."""
        return self._pair.fill(text_ids, hypothesis_ids)

    def _tokenise(self, text: str) -> Encoding:
        try:
            return self._tokenizer.encode(text, add_special_tokens=False)
        except TypeError as error:  # all that `tokenizers` says of a string that UTF-8 cannot hold
            raise InvalidText(
                "expected Unicode text, found a lone surrogate; replace it before sending"
            ) from error

    def _trusted(self, encoding: Encoding) -> int:
        """Count the leading tokens that no continuation of the text can change."""
        trusted = len(encoding)
        for _ in range(self._margin_words or 0):
            trusted = _word_start(encoding, trusted)
        return trusted


def pad_rows(rows: Sequence[Row], pad_id: int) -> tuple[Ids, Ids, Ids]:
    """Pad rows on the right to the longest of them.

    Returns:
        `input_ids`, `attention_mask` and `token_type_ids`, each int64 [rows, longest].
    """
    shape = (len(rows), max((row.ids.size for row in rows), default=0))
    ids = np.full(shape, pad_id, dtype=np.int64)
    mask, types = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for i, row in enumerate(rows):
        n = row.ids.size
        ids[i, :n], mask[i, :n], types[i, :n] = row.ids, 1, row.type_ids
    return ids, mask, types


def _as_ids(values: Sequence[int]) -> Ids:
    return np.array(values, dtype=np.int64)


@contextmanager
def _blaming_the_file() -> Iterator[None]:
    """Turn whatever the library makes of a bad file into one error."""
    try:
        yield
    except EdgeError:
        raise
    except BaseException as error:  # a panic in Rust is no Exception, and would end the daemon
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise BundleCorrupt(
            "tokenizer.json: expected a file of the `tokenizers` library, "
            f"found one it cannot use ({error}); build the bundle again"
        ) from error


def _pad_id(tokenizer: Tokenizer) -> int:
    padding = tokenizer.padding or {}
    names = [padding["pad_token"]] if padding else ["[PAD]", "<pad>"]
    ids = [i for i in map(tokenizer.token_to_id, names) if i is not None]
    if not ids:
        raise BundleIncompatible(
            f"tokenizer.json: expected a padding token ({' or '.join(names)}) in the vocabulary, "
            "found none; add one and build the bundle again"
        )
    if padding and padding["pad_id"] != ids[0]:
        raise BundleCorrupt(
            f"tokenizer.json: expected {names[0]} to be {ids[0]} as in its vocabulary, "
            f"found {padding['pad_id']} in its padding section; build the bundle again"
        )
    return int(ids[0])


def _refuse_typed_specials(tokenizer: Tokenizer) -> None:
    """Check that a special token typed by a user is plain text; the unknown token does no harm."""
    unknown = getattr(tokenizer.model, "unk_token", None)
    added = tokenizer.get_added_tokens_decoder().items()
    special = {i: x.content for i, x in added if x.special and x.content != unknown}
    for content in special.values():
        typed = tokenizer.encode(f"a {content} {content}a", add_special_tokens=False)
        if not special.keys().isdisjoint(typed.ids):
            raise BundleIncompatible(
                f"tokenizer.json: expected {content} typed by a user to stay text, found that it "
                "becomes a special token; use a pre-tokenizer that splits it"
            )


def _template(tokenizer: Tokenizer, n_pieces: int) -> _Template:
    """Read the template off the tokenizer's own rows, and check it against all of them."""
    probes = [tokenizer.encode(text, add_special_tokens=False) for text in _PROBES]
    rows = {pieces: tokenizer.post_process(*pieces) for pieces in product(probes, repeat=n_pieces)}
    *_, longest = rows
    template = _read_template(rows[longest], [len(piece) for piece in longest])
    for pieces, row in rows.items():
        filled = template.fill(*(_as_ids(piece.ids) for piece in pieces))
        if filled.ids.tolist() != row.ids or filled.type_ids.tolist() != row.type_ids:
            raise BundleIncompatible(
                "tokenizer.json: expected a post-processor that puts fixed special tokens around "
                f"text and hypothesis, found {row.tokens}; use one like '[CLS] $A [SEP] $B [SEP]'"
            )
    return template


def _read_template(row: Encoding, piece_sizes: Sequence[int]) -> _Template:
    """Take a row apart at its special tokens."""
    mask, at = row.special_tokens_mask, 0
    fixed: list[Row] = []
    piece_types: list[int] = []
    for size in (*piece_sizes, 0):
        end = mask.index(0, at) if 0 in mask[at:] else len(mask)
        fixed.append(Row(_as_ids(row.ids[at:end]), _as_ids(row.type_ids[at:end])))
        piece_types += row.type_ids[end : end + min(size, 1)]
        at = end + size
    return _Template(tuple(fixed), tuple(piece_types))


def _eos_id(tokenizer: Tokenizer, pair: _Template) -> int | None:
    eos_id = tokenizer.token_to_id("</s>")
    return eos_id if eos_id in {int(i) for run in pair.fixed for i in run.ids} else None


def _margin_words(tokenizer: Tokenizer) -> int | None:
    """How many words at the end of a prefix may still change; None where nobody has shown it."""
    if any(not token.special for token in tokenizer.get_added_tokens_decoder().values()):
        return None  # matched in the raw text, at any length, before there are words
    words, normalizer = tokenizer.pre_tokenizer, tokenizer.normalizer
    if isinstance(words, pre_tokenizers.BertPreTokenizer):
        known = normalizer is None or isinstance(normalizer, normalizers.BertNormalizer)
        return 1 if known else None
    if isinstance(words, pre_tokenizers.ByteLevel) and words.use_regex and normalizer is None:
        return 2
    return None


def _word_start(encoding: Encoding, end: int) -> int:
    """The first token of the word that token `end - 1` belongs to; 0 before the first word."""
    return int(encoding.word_to_tokens(encoding.token_to_word(end - 1))[0]) if end else 0


def _ends_in_a_run(encoding: Encoding, size: int) -> bool:
    """Whether a prefix of `size` characters ends in too long a stretch without a word boundary."""
    n = len(encoding)
    if n == 0:
        return size > MAX_RUN_CHARS
    start = encoding.token_to_chars(_word_start(encoding, n))[0]
    end = encoding.token_to_chars(n - 1)[1]
    return bool(max(size - end, end - start) > MAX_RUN_CHARS)
