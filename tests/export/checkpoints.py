"""Model directories for tests that read headers and JSON: whole files, hardly any weights."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["CONFIG", "checkpoint_files", "safetensors"]

CONFIG: dict[str, Any] = {
    "architectures": ["BartForSequenceClassification"],
    "model_type": "bart",
    "max_position_embeddings": 1024,
    "id2label": {"0": "contradiction", "1": "neutral", "2": "entailment"},
}
README = b"---\nlanguage: en\nlicense: mit\n---\n# A model\n"


def safetensors(size: int = 16) -> bytes:
    """A whole file with one tensor of `size` bytes."""
    entry = {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": {"format": "pt"}, "w": entry}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(size)


def checkpoint_files(**config: Any) -> dict[str, bytes]:
    """Files of a directory that passes every check; keywords change its config."""
    return {
        "README.md": README,
        "config.json": json.dumps(CONFIG | config).encode(),
        "tokenizer.json": b'{"truncation": {"max_length": 9}, "padding": {}, "model": {}}',
        "tokenizer_config.json": b'{"model_max_length": 1024}',
        "model.safetensors": safetensors(),
    }
