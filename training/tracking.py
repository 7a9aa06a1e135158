"""MLflow, as training needs it: versions of one model, their aliases and tags, and runs of `fit`.

The only file importing mlflow. It decides nothing: who may become what is `training.promote`'s.
"""

from __future__ import annotations

import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from training.errors import InvalidConfig, InvalidRows, RegistryUnreachable
from training.settings import Settings
from training.stage import MANIFEST, read_manifest, sha256_of

__all__ = ["DIGEST", "Registry", "Version", "log_fit"]

DIGEST = "intentd.digest"
"""Tag of a version: the digest of its bundle."""
FIT = "intentd.fit"
"""Tag of a run: sha256 of the manifest of the fit that it tells of."""
BUNDLE = "bundle"
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
SERVERS = ("http", "https")
KNOCKED = ("postgresql", "mysql")
"""Databases whose drivers know `connect_timeout`."""
CONNECT_TIMEOUT_S = 10
ABSENT = "RESOURCE_DOES_NOT_EXIST"
MAX_PARAMS, MAX_METRICS = 100, 1000  # so many MLflow takes at once
MAX_VALUE_CHARS = 250
MAX_SHOWN_CHARS = 300
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # of 7 with doubled waits, four minutes of silence
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
"""What MLflow is told before it loads, unless the environment says otherwise."""


@dataclass(frozen=True, slots=True)
class Version:
    """One registered version of the model."""

    number: int
    digest: str
    """Of the bundle that it holds."""
    run_id: str
    tags: Mapping[str, str]


class Registry:
    """The versions of one model in MLflow. Not for several threads.

    Every method raises RegistryUnreachable where MLflow does not answer, or answers with an error.
    """

    def __init__(self, settings: Settings) -> None:
        """Connects; a SQLite file of our own is made.

        Raises:
            InvalidConfig: promote.tracking_uri is none that a registry can be at.
            RegistryUnreachable: MLflow does not answer.
        """
        self._model = settings.promote.model
        self._uri, self._artifacts = _place(settings)
        self.name = _shown(self._uri)
        """The address without a password."""
        with self._asking():
            _knock(self._uri)
            from mlflow import MlflowClient

            self._client = MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)
            self._experiment = self._open_experiment()

    def aliases(self) -> dict[str, int]:
        """Alias → version; none before the first registration."""
        with self._asking():
            found = _unless_absent(lambda: self._client.get_registered_model(self._model))
            return {name: int(n) for name, n in found.aliases.items()} if found else {}

    def version(self, number: int) -> Version:
        """One version."""
        with self._asking():
            return _version(self._client.get_model_version(self._model, str(number)))

    def find(self, digest: str) -> Version | None:
        """The version that holds this bundle."""
        query = f"name = '{self._model}' and tags.`{DIGEST}` = '{digest}'"
        with self._asking():
            found = self._client.search_model_versions(query)
        return max(map(_version, found), key=lambda one: one.number, default=None)

    def register(
        self, bundle: Path, digest: str, tags: Mapping[str, str], run_id: str | None = None
    ) -> Version:
        """Upload a bundle, byte for byte, and count it as a version.

        Args:
            bundle: Its directory.
            digest: Its digest.
            tags: Of the version.
            run_id: The run that made it; None makes one.
        """
        with self._asking():
            run = self._client.get_run(run_id) if run_id else self._new_run({DIGEST: digest})
            self._client.log_artifacts(run.info.run_id, str(bundle), BUNDLE)
            if not run_id:
                self._client.set_terminated(run.info.run_id)
            if _unless_absent(lambda: self._client.get_registered_model(self._model)) is None:
                self._client.create_registered_model(self._model)
            return _version(
                self._client.create_model_version(
                    self._model,
                    source=f"{run.info.artifact_uri}/{BUNDLE}",
                    run_id=run.info.run_id,
                    tags={_name(key): value for key, value in tags.items()} | {DIGEST: digest},
                )
            )

    def move(self, alias: str, number: int | None) -> None:
        """Let an alias name a version; None takes it away."""
        with self._asking():
            if number is None:
                self._client.delete_registered_model_alias(self._model, alias)
            else:
                self._client.set_registered_model_alias(self._model, alias, str(number))

    def tag(self, number: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version; the others stay."""
        with self._asking():
            for name, value in tags.items():
                self._client.set_model_version_tag(self._model, str(number), _name(name), value)

    def download(self, version: Version, folder: Path) -> Path:
        """Fetch a version's bundle into a directory that is there; returns where it lies."""
        with self._asking(f"that the files are there, and that {folder} has room for them"):
            found = self._client.download_artifacts(version.run_id, BUNDLE, str(folder))
        return Path(found)

    def log_fit(self, folder: Path) -> str:
        """Write a fit's settings and the history of its metrics down as a run; returns its id.

        A fit that has its run already gets no other.

        Raises:
            StageMissing: There is no finished fit.
            InvalidRows: Its history cannot be read.
        """
        manifest, history = read_manifest(folder), _read_history(folder / "history.jsonl")
        made_by = sha256_of(folder / MANIFEST)
        with self._asking():
            known = self._client.search_runs([self._experiment], f"tags.`{FIT}` = '{made_by}'")
            if known:
                return str(known[0].info.run_id)
            run_id = str(self._new_run({FIT: made_by}).info.run_id)
            self._log(run_id, manifest, history)
            self._client.set_terminated(run_id)
            return run_id

    def _log(self, run_id: str, manifest: Mapping[str, Any], history: list[dict[str, Any]]) -> None:
        from mlflow.entities import Metric, Param

        when = datetime.strptime(manifest["created_utc"], "%Y-%m-%dT%H:%M:%S%z")
        params = [
            Param(_name(key), str(value)[:MAX_VALUE_CHARS])
            for key, value in sorted({**manifest["inputs"], **manifest["config"]}.items())
        ]
        metrics = [
            Metric(_name(key), value, int(when.timestamp() * 1000), step)
            for step, point in enumerate(history)
            for key, value in point.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        ]
        for start in range(0, len(params), MAX_PARAMS):
            self._client.log_batch(run_id, params=params[start : start + MAX_PARAMS])
        for start in range(0, len(metrics), MAX_METRICS):
            self._client.log_batch(run_id, metrics=metrics[start : start + MAX_METRICS])

    def _new_run(self, tags: dict[str, str]) -> Any:
        return self._client.create_run(self._experiment, tags=tags)

    def _open_experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._model)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(self._model, self._artifacts))

    @contextmanager
    def _asking(self, check: str = "promote.tracking_uri and that it runs") -> Iterator[None]:
        """MLflow's warnings concern nobody here, and its errors become one line.

        Args:
            check: What may be wrong, where MLflow does not say it.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _prepare()
            from mlflow.exceptions import MlflowException
            from sqlalchemy.exc import SQLAlchemyError

            try:
                yield
            except (MlflowException, SQLAlchemyError, OSError) as error:
                found = _reason(error).partition("\n")[0].replace(self._uri, self.name)
                raise RegistryUnreachable(
                    f"{self.name}: expected MLflow to do as asked, found: "
                    f"{found[:MAX_SHOWN_CHARS]}; check {check}, then repeat the call"
                ) from None


def log_fit(settings: Settings, folder: Path) -> str:
    """`Registry.log_fit` for who needs nothing else of MLflow.

    Raises:
        TrainingError: MLflow does not answer, or there is no finished fit.
    """
    return Registry(settings).log_fit(folder)


def _prepare() -> None:
    """Keep MLflow quiet, at home, and quick to give up."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _knock(uri: str) -> None:
    """Connect to a database server once: MLflow itself tries ten times, in minutes of silence."""
    if uri.partition("://")[0].partition("+")[0] in KNOCKED:
        from sqlalchemy import create_engine

        engine = create_engine(uri, connect_args={"connect_timeout": CONNECT_TIMEOUT_S})
        try:
            engine.connect().close()
        finally:
            engine.dispose()


def _place(settings: Settings) -> tuple[str, str | None]:
    """The address, and where artifacts go if that is ours to say; both absolute."""
    options, own = settings.promote, Path(settings.work_dir).absolute() / "mlflow"
    uri = options.tracking_uri or f"sqlite:///{own / 'mlflow.db'}"
    scheme = uri.partition("://")[0].partition("+")[0]
    if "://" not in uri or scheme not in (*SERVERS, *DATABASES):
        raise InvalidConfig(
            f"promote.tracking_uri: expected http(s)://… of a server, or a database's sqlite:///…, "
            f"postgresql://…, found {_shown(uri)!r}; MLflow keeps no registry in a directory"
        )
    if scheme in SERVERS:
        return uri, None
    if not options.tracking_uri:
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
    artifacts = options.artifacts or str(own / "artifacts")
    return uri, artifacts if "://" in artifacts else str(Path(artifacts).absolute())


def _shown(uri: str) -> str:
    return re.sub(r"//[^/@]*@", "//", uri)


def _reason(error: BaseException) -> str:
    """What the system said, if that is behind it: MLflow tells what it was about instead."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            place = f"{found.filename}: " if found.filename else ""
            return f"{place}{found.strerror}"
        found = found.__cause__ or found.__context__
    return str(error)


def _unless_absent(ask: Callable[[], Any]) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return ask()
    except MlflowException as error:
        if error.error_code != ABSENT:
            raise
        return None


def _version(found: Any) -> Version:
    tags = dict(found.tags)
    return Version(int(found.version), tags.get(DIGEST, ""), found.run_id or "", tags)


def _name(text: str) -> str:
    """As MLflow takes names; a label may hold anything."""
    return re.sub(r"[^\w. -]", "_", text, flags=re.ASCII)[:MAX_VALUE_CHARS]


def _read_history(path: Path) -> list[dict[str, Any]]:
    try:
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise InvalidRows(
            f"{path}: expected one JSON object a line, found {error}; run `intentd-train fit` again"
        ) from None
    return [line for line in lines if isinstance(line, dict)]
