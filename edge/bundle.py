"""The bundle: the one directory that crosses from the workstation to the NAS.

This module is its only reader and writer: it checks names, sizes, hashes and the manifest. It does
not load the model; that is `edge.runtime`.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from edge.embedded import STARTER
from edge.errors import BundleCorrupt, BundleIncompatible
from edge.onnxfile import check_self_contained

__all__ = [
    "MANIFEST",
    "MODEL",
    "SELFTEST",
    "SIGNATURE",
    "STARTER",
    "TOKENIZER",
    "Bundle",
    "FileEntry",
    "Manifest",
    "Metric",
    "Quantization",
    "SelfTestCase",
    "Source",
    "Target",
    "Task",
    "canonical_manifest",
    "manifest_digest",
    "read_bundle",
    "read_manifest",
    "seal_bundle",
]

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
MODEL = "model.onnx"
TOKENIZER = "tokenizer.json"
SELFTEST = "selftest.jsonl"
CARD = "CARD.md"
SIGNATURE = "manifest.sig"
REQUIRED = (MODEL, TOKENIZER, SELFTEST, CARD)
UNLISTED = frozenset({MANIFEST, SIGNATURE})
MAX_MANIFEST_BYTES = 1 << 20
MAX_SHOWN_CHARS = 40

Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Task(StrEnum):
    """What a bundle's model does; each is a different family, with its own scoring."""

    ZERO_SHOT_NLI = "zero-shot-nli"
    """Phase A: an NLI model judges one hypothesis per label; any labels."""
    SEQUENCE_CLASSIFICATION = "sequence-classification"
    """Phase B: a fine-tuned classifier; its labels are fixed."""
    ZERO_SHOT_EMBEDDING = "zero-shot-embedding"
    """The starter: a sentence encoder; labels score by likeness to description and examples."""

    @property
    def phase(self) -> str:
        """The word that answers carry: `A`, `B` or `starter`."""
        return {"zero-shot-nli": "A", "sequence-classification": "B"}.get(self.value, "starter")


class Target(StrEnum):
    """The instruction set that a bundle's int8 weights were packed for; it was measured there.

    Each runs everywhere, with the same sums: where signed 8-bit weights would overflow, the runtime
    takes slower products (`edge.runtime`). A name that is not listed here is turned away.
    """

    ANY = "any"
    AVX2 = "avx2"
    AVX512 = "avx512"
    AVX512_VNNI = "avx512_vnni"
    ARM64 = "arm64"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileEntry(_Record):
    """One file of the bundle, as the workstation wrote it."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]
    """Bytes."""


class Source(_Record):
    """Where the weights come from."""

    model: str
    """Hugging Face id, package name or directory name."""
    revision: str
    """Commit, version or content hash: what pins the weights."""


class Quantization(_Record):
    """How the weights were stored, and what it cost."""

    recipe: str
    """`fp32`, `int8-dynamic`, …"""
    target: str = Target.ANY.value
    """One of `Target`; kept as text, so that a later one is told from a damaged manifest."""
    batch_invariant: bool
    """Whether a row's scores are independent of its batch-mates (false for dynamic int8)."""
    parity: dict[str, float] = {}
    """Measured against fp32 PyTorch: names carry their unit, such as `max_abs_score_delta`."""


class Metric(_Record):
    """A measured quality, with the number of samples it rests on."""

    name: str
    value: float
    n: int
    dataset: str


class Manifest(_Record):
    """Everything the edge must know about a model; nothing of it is spelt in code."""

    schema_version: int = SCHEMA_VERSION
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    version: Annotated[str, Field(min_length=1, max_length=64)]
    task: Task
    architecture: str
    """As in the source's config, such as `BartForSequenceClassification`."""
    labels: tuple[str, ...] = ()
    """Label of each logit, in the order of the logits; empty for `zero-shot-embedding`."""
    entailment_id: int | None = None
    """Logit of "entailment" (`zero-shot-nli` only); read from `id2label`, never from a position."""
    contradiction_id: int | None = None
    hypothesis_template: str | None = None
    """English sentence with one `{}` for the label (`zero-shot-nli` only)."""
    activation: Literal["softmax", "sigmoid"] = "softmax"
    """Logits to scores (`sequence-classification` only)."""
    max_tokens: Annotated[int, Field(ge=8)]
    """The window, in tokens, special tokens included."""
    threshold: Score = 0.0
    """Score below which no label is given, unless the label or the label set says otherwise."""
    thresholds: dict[str, Score] = {}
    """Per label; stronger than `threshold`."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Logits are divided by it before the softmax."""
    similarity: dict[str, float] = {}
    """Scalars of `edge.similarity.SimilarityParams` (`zero-shot-embedding` only)."""
    quantization: Quantization
    selftest_tolerance: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Largest |Δscore| against the reference that the self-test lets pass."""
    opset: int
    files: dict[str, FileEntry] = {}
    """Per file name; filled by `seal_bundle`."""
    source: Source
    dataset_sha256: str | None = None
    metrics: tuple[Metric, ...] = ()
    licence: str
    created_utc: str
    """ISO 8601, `Z`."""

    @model_validator(mode="after")
    def _check_task_fields(self) -> Self:
        if self.task is Task.ZERO_SHOT_NLI:
            _check_nli(self)
        elif self.task is Task.SEQUENCE_CLASSIFICATION and not self.labels:
            raise ValueError(
                "labels: a sequence-classification bundle names the label of each logit"
            )
        if len(set(self.labels)) < len(self.labels):
            raise ValueError(f"labels: expected distinct labels, found {list(self.labels)}")
        return self


def _check_nli(manifest: Manifest) -> None:
    ids = (manifest.entailment_id, manifest.contradiction_id)
    if (
        None in ids
        or ids[0] == ids[1]
        or not all(0 <= (i or 0) < len(manifest.labels) for i in ids)
    ):
        raise ValueError(
            "entailment_id, contradiction_id: expected two ids within the "
            f"{len(manifest.labels)} logits, found {ids}"
        )
    template = manifest.hypothesis_template or ""
    if not (template.count("{}") == template.count("{") == template.count("}") == 1):
        raise ValueError("hypothesis_template: expected a sentence with one {} for the label")


@dataclass(frozen=True, slots=True)
class SelfTestCase:
    """One line of `selftest.jsonl`: what the workstation's fp32 model answered."""

    text: Annotated[str, Field(min_length=1)]
    labels: tuple[str, ...]
    """The labels asked for; empty means the bundle's own, or the default label set."""
    label: str
    scores: Annotated[Mapping[str, Score], Field(min_length=1)]


_CASE = TypeAdapter(SelfTestCase)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk whose files are what its manifest says."""

    path: Path
    manifest: Manifest
    digest: str
    """The bundle's identity: sha256 (hex) of the canonical manifest, which hashes every file."""

    def read_selftest(self) -> Iterator[SelfTestCase]:
        """The self-test's cases, in file order.

        Raises:
            BundleCorrupt: A line is not a self-test case.
        """
        path = self.path / SELFTEST
        with path.open("rb") as lines:  # as bytes, only a line feed ends a line: U+2028 does not
            for number, line in enumerate(lines, 1):
                try:
                    yield _CASE.validate_json(line, strict=True)
                except ValidationError as error:
                    problem = _first_problem(error)
                    raise BundleCorrupt(
                        f"{path}:{number}: not a self-test case: {problem}"
                    ) from error


def read_bundle(path: Path) -> Bundle:
    """Read and verify a bundle: schema version, file names, sizes, hashes, a graph without links.

    Files that the manifest does not name are left alone: file managers put theirs everywhere.

    Raises:
        BundleCorrupt: Something is missing, changed or unreadable.
        BundleIncompatible: The manifest is of a schema, or for a CPU, that is not known here.
    """
    manifest = read_manifest(path)
    _check_target(path / MANIFEST, manifest.quantization.target)
    _check_names(path / MANIFEST, manifest.files)
    for name, entry in manifest.files.items():
        _check_file(path / name, entry)
    check_self_contained(path / MODEL)
    return Bundle(path=path, manifest=manifest, digest=manifest_digest(manifest))


def read_manifest(bundle: Path) -> Manifest:
    """What a bundle's manifest says of it; its files are not looked at.

    Raises:
        BundleCorrupt: There is none, or it cannot be read.
        BundleIncompatible: It is of a schema that is not known here.
    """
    path = bundle / MANIFEST
    try:
        _check_regular(path)
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise BundleCorrupt(
                f"{path}: expected at most {MAX_MANIFEST_BYTES} bytes, found more; "
                "this is not the manifest of a bundle"
            )
        data: Any = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise BundleCorrupt(
            f"{path.parent}: expected a bundle, found no {MANIFEST} in it"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise BundleCorrupt(f"{path}: cannot read the manifest: {error}") from error
    found = data.get("schema_version") if isinstance(data, dict) else None
    if found != SCHEMA_VERSION:
        raise BundleIncompatible(
            f"{path}: this intentd reads bundles of schema_version {SCHEMA_VERSION}, "
            f"found {repr(found)[:MAX_SHOWN_CHARS]}; "
            "build the bundle with the matching intentd-export, or update intentd"
        )
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        raise BundleCorrupt(f"{path}: {_first_problem(error)}; build the bundle again") from error


def seal_bundle(path: Path, manifest: Manifest) -> Bundle:
    """Hash the files in `path`, write `manifest.json` beside them, and read the result back.

    The manifest is fsynced. The caller owns the other files' durability, and atomicity: seal in a
    temporary directory, then rename.

    Raises:
        BundleCorrupt: A required file is missing, or there is one that a bundle does not hold.
    """
    names = sorted(entry.name for entry in path.iterdir() if entry.name not in UNLISTED)
    _check_names(path, names)
    files = {
        name: FileEntry(sha256=_sha256(path / name), size=(path / name).stat().st_size)
        for name in names
    }
    sealed = manifest.model_copy(update={"files": files})
    target = path / MANIFEST
    with target.open("w", encoding="utf-8") as out:
        out.write(
            json.dumps(sealed.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=False)
            + "\n"
        )
        out.flush()
        os.fsync(out.fileno())
    return read_bundle(path)


def manifest_digest(manifest: Manifest) -> str:
    """sha256 (hex) of the canonical form."""
    return hashlib.sha256(canonical_manifest(manifest)).hexdigest()


def canonical_manifest(manifest: Manifest) -> bytes:
    """What is hashed and signed: JSON with sorted keys, no white space, ASCII."""
    return json.dumps(
        manifest.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=True
    ).encode()


def _check_target(path: Path, target: str) -> None:
    """Refuse int8 for instructions that this program has no proof of running exactly."""
    if target not in [known.value for known in Target]:
        raise BundleIncompatible(
            f"{path}: expected a bundle for one of {', '.join(Target)}, found one for "
            f"{target[:MAX_SHOWN_CHARS]}; build it again with --target any, or update intentd"
        )


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _check_names(path: Path, names: Collection[str]) -> None:
    missing = [name for name in REQUIRED if name not in names]
    unknown = sorted(set(names) - set(REQUIRED))
    if missing or unknown:
        found = f"none for {', '.join(missing)}" if missing else f"also {', '.join(unknown)}"
        raise BundleCorrupt(
            f"{path}: expected an entry for each of {', '.join(REQUIRED)}, found {found}; "
            "copy the whole bundle again"
        )


def _check_regular(path: Path) -> None:
    """Refuse links, directories and devices: what is hashed must be what is read later."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise BundleCorrupt(f"{path}: expected a regular file; copy the whole bundle again")


def _check_file(path: Path, entry: FileEntry) -> None:
    try:
        _check_regular(path)
        size = path.stat().st_size
        if size != entry.size:
            raise BundleCorrupt(
                f"{path}: expected {entry.size} bytes, found {size}; copy the bundle again"
            )
        found = _sha256(path)
    except OSError as error:
        raise BundleCorrupt(f"{path}: cannot be read: {error}") from error
    if found != entry.sha256:
        raise BundleCorrupt(
            f"{path}: expected sha256 {entry.sha256}, found {found}; copy the bundle again"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
