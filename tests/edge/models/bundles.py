"""Bundles of a few kilobytes for tests of what carries them, and archives that nobody should take.

The models compute hardly anything; what tests load is made by `tests.edge.models.graphs`.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edge.bundle import (
    CARD,
    MANIFEST,
    MODEL,
    SELFTEST,
    TOKENIZER,
    Bundle,
    Manifest,
    Quantization,
    Source,
    Task,
    seal_bundle,
)

Files = dict[str, bytes]
KEPT_S = 1_700_000_000


def tiny_graph(external: bool = False) -> bytes:
    """A small ONNX file; if external, its weight lies in another."""
    import numpy as np  # both large, and of no use to `tests.edge.models.cuts`
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.arange(512, dtype=np.float32), "w")
    if external:
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value="../../weights.bin")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [512])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [512])
    node = helper.make_node("Add", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", [x], [y], [weight])
    return bytes(helper.make_model(graph).SerializeToString())


def manifest(version: str = "1", **changes: Any) -> Manifest:
    """A sound manifest, but for the files."""
    base: dict[str, Any] = {
        "name": "tiny",
        "version": version,
        "task": Task.SEQUENCE_CLASSIFICATION,
        "architecture": "Made",
        "labels": ("A", "B"),
        "max_tokens": 16,
        "quantization": Quantization(recipe="fp32", batch_invariant=True),
        "opset": 13,
        "source": Source(model="tests", revision="0"),
        "licence": "Apache-2.0",
        "created_utc": "2026-11-22T00:00:00Z",
    }
    return Manifest.model_validate(base | changes)


def make_bundle(path: Path, version: str = "1", **changes: Any) -> Bundle:
    """A sound bundle, as the store sees it; no model that could be loaded."""
    path.mkdir(parents=True)
    (path / MODEL).write_bytes(tiny_graph())
    (path / TOKENIZER).write_text('{"version": "1.0"}')
    (path / SELFTEST).write_text(
        '{"text": "t", "labels": [], "label": "A", "scores": {"A": 0.7, "B": 0.3}}\n'
    )
    (path / CARD).write_text("# tiny\n" * 200)
    return seal_bundle(path, manifest(version, **changes))


def files_of(path: Path) -> Files:
    """A directory's files, the manifest first."""
    return {file.name: file.read_bytes() for file in sorted(path.iterdir(), key=_manifest_first)}


def _manifest_first(path: Path) -> tuple[bool, str]:
    return path.name != MANIFEST, path.name


def pack_tar(
    files: Mapping[str, bytes], extra: Iterable[tarfile.TarInfo] = (), **options: Any
) -> bytes:
    """A tar as ordinary programs write it, with these further members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", **{"format": tarfile.USTAR_FORMAT} | options) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), KEPT_S
            tar.addfile(member, io.BytesIO(data))
        for member in extra:
            tar.addfile(member)
    return out.getvalue()


def pack_zip(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip as ordinary programs write it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data, method)
    return out.getvalue()
