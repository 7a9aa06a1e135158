"""What the model said of recent texts, kept in memory for texts that come again.

No text is held, nor a label: a question is known by a keyed hash, and its scores are numbers. The
key is drawn at the start and kept nowhere else, so that not even a dump of the memory lets a text
be guessed. Thresholds and corrections are not kept: they are applied to every answer anew.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from collections import OrderedDict
from dataclasses import replace

from edge.query import Query, Scores

__all__ = ["ENTRY_BYTES", "MAX_CHARS", "RepeatCache"]

MAX_CHARS = 65_536
"""A longer text, with its content, is not looked up: it would cost a millisecond to hash."""
ENTRY_BYTES = 1024
"""An entry's share of the room; what a model with hundreds of labels says takes several."""
BASE_BYTES = 512  # of an entry without its scores: the key, the objects, their place in the table
KEY_BYTES = 16


class RepeatCache:
    """The scores of one model, the least recently asked forgotten first; any thread may call."""

    def __init__(self, entries: int) -> None:
        """Empty.

        Args:
            entries: How many questions are kept, in at most `ENTRY_BYTES` each; 0 keeps none.
        """
        self._room = entries * ENTRY_BYTES
        self._secret = secrets.token_bytes(hashlib.blake2b.MAX_KEY_SIZE)
        self._guard = threading.Lock()
        self._kept: OrderedDict[bytes, Scores] = OrderedDict()
        self._bytes = 0

    def key_of(self, query: Query) -> bytes | None:
        """What a question is known by; None if it is not to be looked up."""
        if not self._room or len(query.text) + len(query.content or "") > MAX_CHARS:
            return None
        labels = query.label_set.digest
        how = (query.multi_label, query.hypothesis_template, query.max_tokens)
        question = json.dumps((query.text, query.content, labels, how)).encode()
        return hashlib.blake2b(question, digest_size=KEY_BYTES, key=self._secret).digest()

    def find(self, key: bytes | None) -> Scores | None:
        """What the model said, to the last bit, and the time that it took then."""
        if key is None:
            return None
        with self._guard:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def keep(self, key: bytes | None, scores: Scores) -> None:
        """Keep what the model said, and forget the oldest where there is no room."""
        if key is None:
            return
        values = scores.values.copy()
        values.flags.writeable = False
        with self._guard:
            self._drop(key)
            self._kept[key] = replace(scores, values=values)
            self._bytes += _size(scores)
            while self._bytes > self._room:
                self._drop(next(iter(self._kept)))

    def clear(self) -> None:
        """Forget everything."""
        with self._guard:
            self._kept.clear()
            self._bytes = 0

    def __len__(self) -> int:
        """Questions kept."""
        return len(self._kept)

    def _drop(self, key: bytes) -> None:
        scores = self._kept.pop(key, None)
        if scores is not None:
            self._bytes -= _size(scores)


def _size(scores: Scores) -> int:
    return max(ENTRY_BYTES, BASE_BYTES + scores.values.nbytes)
