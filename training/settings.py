"""Every choice of a training run, frozen, each default written once; read from one TOML file.

Order: default < train.toml < `--set section.key=value`. An unknown key is an error.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from training.errors import InvalidConfig

__all__ = [
    "AssessSettings",
    "AugmentSettings",
    "BuildSettings",
    "CollectSettings",
    "ExportSettings",
    "FitSettings",
    "GoldenSettings",
    "PromoteSettings",
    "PublishSettings",
    "Settings",
    "ShadowSettings",
    "load_settings",
]

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class CollectSettings:
    """Where corrections come from."""

    __pydantic_config__ = STRICT

    sources: tuple[str, ...] = ()
    """A collector's URL, an export (.ndjson, .jsonl, .parquet), or a box's corrections.db."""
    suppressed: tuple[str, ...] = ()
    """Files of erased ids, one a line, as `intentd-collect export --suppressed` writes them."""
    audit_sources: tuple[str, ...] = ("audit",)
    """Values of a correction's `source` that mean: drawn at random."""


@dataclass(frozen=True, slots=True)
class GoldenSettings:
    """What a golden set must be before it is frozen."""

    __pydantic_config__ = STRICT

    min_per_class: Count = 10
    """Agreed rows that every class needs."""
    gate: Share = 0.90
    """The accuracy that it is to prove; the gate of `assess`."""


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """How rows become a data set."""

    __pydantic_config__ = STRICT

    intents: str = "default"
    """The label set's intents.toml: its labels, and its examples as seeds; "default" is the shipped
    one, and an empty string means the labels that occur, and no seeds."""
    seeds: bool = True
    """Whether the label set's examples take part."""
    extra: tuple[str, ...] = ()
    """Further files of rows."""
    mixed_label_sets: Literal["refuse", "keep", "drop"] = "refuse"
    """Rows that were labelled under another wording than most."""
    unknown_labels: Literal["refuse", "drop"] = "refuse"
    """Rows whose label is not in the set."""
    near_duplicate: Share = 0.8
    """Jaccard of two texts' shingles from which they are one."""
    leak_jaccard: Share = 0.8
    """The same, between a row and a golden one."""
    leak_cosine: Share = 0.8
    """Likeness of meaning between a row and a golden one from which it is a paraphrase."""
    leaks: Literal["fail", "drop"] = "fail"
    """What a row too like a golden one does."""
    max_rows_per_source_day: Count = 100
    """One person's zeal must not be the model; 0 means no limit."""
    min_audit: Count = 30
    """Audited rows from which the share of wrong answers is estimated."""
    max_weight: Annotated[float, Field(ge=1)] = 4.0
    """Bound of a row's weight, and of its inverse."""
    dev: Share = 0.1
    """Share of each class's sources that chooses among epochs and settings."""
    calibration: Share = 0.1
    """The same, for temperature and thresholds."""
    suspects: bool = True
    """Whether probable label errors are looked for."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Parts in which suspects are looked for."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Something must be left to learn from."""
        if self.dev + self.calibration >= 1:
            raise ValueError("expected dev and calibration to be less than 1 together")


@dataclass(frozen=True, slots=True)
class AugmentSettings:
    """How classes are filled up."""

    __pydantic_config__ = STRICT

    target: Count = 500
    """Rows a class, real ones included."""
    templates: str = "default"
    """A templates.toml; "default" is the shipped one, an empty string none."""
    synonyms: str = "default"
    """A synonyms.toml; the same."""
    wordnet: bool = True
    """Whether WordNet is asked too, where `wn` and an English lexicon are installed."""
    noise: bool = True
    """Whether rows are misspelt, and their case changed."""
    max_children: Count = 8
    """Synonym and noise rows of one real row: more are one row said again."""
    max_per_template: Count = 40
    """Rows of one template."""
    max_template_share: Share = 0.8
    """Of a class's rows, at most so many from templates."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How a classifier is trained."""

    __pydantic_config__ = STRICT

    encoder: str = "distilbert/distilbert-base-uncased"
    """A Hugging Face id, a model directory, or a wheel that holds one."""
    revision: str = "main"
    """Branch, tag or commit on the hub."""
    head: Literal["auto", "full", "setfit", "frozen"] = "auto"
    """full: every weight is trained. setfit: the encoder learns which rows belong together, then a
    regression. frozen: the regression alone. auto takes what the number of rows is enough for."""
    enough: Count = 500
    """Rows of the smallest class from which auto trains fully."""
    enough_real: Count = 80
    """Real rows of the smallest class that it needs as well: made ones say little that is new.
    Source: full fine-tuning beats contrastive heads from about 80 (OpenAutoNLU)."""
    pooling: Literal["auto", "first", "mean"] = "auto"
    """What the head reads: the first token, or the mean of all. auto: the mean where the encoder
    was trained for it or where it is not trained much."""
    window: Annotated[int, Field(ge=8)] = 512
    """Most tokens of a text, in training and on the edge; the encoder's own window if smaller."""
    warm_start: bool = True
    """Whether a full fit starts from the frozen head: it then takes few epochs."""
    epochs: Annotated[int, Field(ge=1)] = 10
    """At most; dev stops it before."""
    patience: Annotated[int, Field(ge=1)] = 2
    """Epochs without a gain after which it stops."""
    min_gain: Annotated[float, Field(ge=0)] = 0.001
    """Of macro-F1 on dev, to count as one."""
    batch: Annotated[int, Field(ge=1)] = 32
    """Rows a step, over all processes."""
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    """Of a full fit: the highest, after a rise and before a fall."""
    label_smoothing: Share = 0.05
    """Of a full fit: the share of each label that goes to all of them."""
    class_weights: bool = True
    """Whether small classes count as much as large ones."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: half where there is a GPU, else fp32."""
    contrast_epochs: Annotated[int, Field(ge=1)] = 10
    """Of setfit: how often every row is seen."""
    contrast_rate: Annotated[float, Field(gt=0)] = 5e-5
    """Its learning rate."""
    wrong_cost: Annotated[float, Field(ge=0)] = 1.0
    """What a wrong answer costs, where turning a right one away costs 1; decides the thresholds."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """How what was trained becomes a bundle."""

    __pydantic_config__ = STRICT

    recipe: str = "auto"
    """One of intentd-export's recipes, or auto: the fastest that keeps the answers."""
    name: str = "intents"
    """The bundle's name."""
    version: str = "1"
    """Its version."""
    licence: str | None = None
    """Of the weights; none means what the encoder's card states."""
    probes: Count = 150
    """Texts of the calibration part that are asked beside the built-in ones; none is packed."""
    min_agreement: Share = 0.99
    """Gate: least share of equal labels."""
    max_delta: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Gate: largest |Δscore|."""
    minutes: Annotated[float, Field(ge=0)] = 30.0
    """Most minutes of the search for what int8 holds badly."""


@dataclass(frozen=True, slots=True)
class AssessSettings:
    """What a bundle must show on the golden set; the accuracy's gate is `golden.gate`."""

    __pydantic_config__ = STRICT

    macro_f1: Share = 0.88
    """The least mean F1 over the classes."""
    class_f1: Share = 0.70
    """The least F1 that every class must reach."""
    ece: Share = 0.05
    """The most that confidence and accuracy may be apart."""
    seed: int = 0
    """Of the draws behind the intervals."""


@dataclass(frozen=True, slots=True)
class ShadowSettings:
    """How a candidate is compared with the champion."""

    __pydantic_config__ = STRICT

    champion: str = ""
    """The champion's bundle; an empty string means the starter, which every daemon has."""
    logged: tuple[str, ...] = ()
    """A box's predictions.db, an export (.ndjson, .jsonl, .parquet), or files of rows."""
    engine: Literal["local", "ray"] = "local"
    """Where both answer: in this process, or on a Ray cluster."""
    address: str = ""
    """Of the Ray cluster; an empty string means RAY_ADDRESS, else one on this machine."""
    workers: Annotated[int, Field(ge=1)] = 2
    """Processes on the Ray cluster, each with both models."""
    worker_cpus: Annotated[float, Field(gt=0)] = 1.0
    """CPUs that each of them takes."""
    margin: Share = 0.01
    """How much less accurate a candidate may be and still count as not worse."""
    significance: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """McNemar's p from which a difference is no chance."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class PromoteSettings:
    """Where candidates are registered."""

    __pydantic_config__ = STRICT

    tracking_uri: str = ""
    """MLflow: a server's http(s)://…, or a database's sqlite:///…, postgresql://…; empty means a
    SQLite file in the working directory."""
    artifacts: str = ""
    """Where the files of a database's runs lie (a path, s3://…); empty means the working directory.
    A server has a place of its own."""
    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "intentd"
    """The name under which MLflow counts the versions; its experiment has the same."""


@dataclass(frozen=True, slots=True)
class PublishSettings:
    """Where boxes find what was promoted."""

    __pydantic_config__ = STRICT

    to: str = ""
    """A directory, file://…, or s3://bucket/prefix."""
    key: str = ""
    """A private key of `intentd-export keygen`; empty means unsigned."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All of it."""

    __pydantic_config__ = STRICT

    work_dir: str = "train"
    """Where the stages' folders lie."""
    collect: CollectSettings = field(default_factory=CollectSettings)
    golden: GoldenSettings = field(default_factory=GoldenSettings)
    build: BuildSettings = field(default_factory=BuildSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    fit: FitSettings = field(default_factory=FitSettings)
    export: ExportSettings = field(default_factory=ExportSettings)
    assess: AssessSettings = field(default_factory=AssessSettings)
    shadow: ShadowSettings = field(default_factory=ShadowSettings)
    promote: PromoteSettings = field(default_factory=PromoteSettings)
    publish: PublishSettings = field(default_factory=PublishSettings)

    def section(self, name: str) -> dict[str, Any]:
        """One section as plain values, for a manifest."""
        return asdict(getattr(self, name))


def load_settings(path: Path | None, overrides: Iterable[str] = ()) -> Settings:
    """Read the settings.

    Args:
        path: train.toml; None means defaults, and a file that is not there is an error.
        overrides: `section.key=value`, the value as TOML writes it; what is not TOML is a string.

    Raises:
        InvalidConfig: The file cannot be read, or a key or a value cannot be used.
    """
    values = {} if path is None else _read(path)
    where = "the defaults" if path is None else str(path)
    for override in overrides:
        _apply(values, override)
        where = f"{where} with --set"
    try:
        return TypeAdapter(Settings).validate_python(values)
    except ValidationError as error:
        raise InvalidConfig(
            f"{where.replace(' with --set' * 2, ' with --set')}: {_say(error)}"
        ) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise InvalidConfig(
            f"{path}: expected the run's settings, but {error.strerror}; leave --config out for "
            "the defaults"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InvalidConfig(f"{path}: expected TOML, found {error}") from None


def _apply(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    *sections, key = name.strip().split(".")
    if not equals or not key or len(sections) > 1:
        raise InvalidConfig(
            f"--set: expected section.key=value, found {override!r}; for example "
            "--set build.near_duplicate=0.9"
        )
    table = values
    for section in sections:
        table = table.setdefault(section, {})
    if not isinstance(table, dict):
        raise InvalidConfig(f"--set {name}: expected a section in the file, found a value")
    table[key] = _value(text)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _say(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    place = ".".join(map(str, problem["loc"]))
    if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        near = difflib.get_close_matches(place, _names(Settings), 1)
        return f"unknown setting {place}" + (f"; did you mean {near[0]}?" if near else "")
    if problem["type"] == "value_error":
        return f"{place}: {problem['msg'].removeprefix('Value error, ')}"
    return f"{place}: {problem['msg']}, found {problem['input']!r}"


def _names(kind: type[Any], prefix: str = "") -> list[str]:
    """Every setting, as `section.key`."""
    names = []
    for part in fields(kind):
        factory = part.default_factory
        if isinstance(factory, type) and is_dataclass(factory):
            names += _names(factory, f"{part.name}.")
        else:
            names.append(f"{prefix}{part.name}")
    return names
