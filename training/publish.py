"""Lays a promoted bundle where `intentd model pull` finds it, and says so in an index.

`bundles/DIGEST/` holds the files, `index.json` what there is; any web server may serve both as they
lie. A published bundle is never changed. The index comes last, so it names only whole ones.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge.bundle import MANIFEST, SIGNATURE, Bundle, read_bundle
from edge.models.pull import INDEX, Index
from export.report import Reporter
from training.errors import InvalidConfig, PromotionRefused, StageMissing
from training.evidence import short
from training.place import Place
from training.settings import Settings
from training.stage import sha256_of
from training.tracking import Registry, Version

__all__ = ["Publication", "publish"]


@dataclass(frozen=True, slots=True)
class Publication:
    """What came of publishing."""

    location: str
    """As `intentd model pull` takes it, where it is not served by a web server."""
    name: str
    version: str
    digest: str
    alias: str
    signed: bool
    written: tuple[str, ...]
    """Files that were not there, or not like this; the index is the last."""

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return bool(self.written)


def publish(
    settings: Settings, alias: str, reporter: Reporter, *, dry_run: bool = False
) -> Publication:
    """Publish the version that an alias names.

    Args:
        settings: `publish.to` says where, `publish.key` who signs.
        alias: `production` or `staging`.
        reporter: Shows progress.
        dry_run: Write nothing, and say what would be written.

    Raises:
        PromotionRefused: The alias names nothing.
        TrainingError: MLflow or the place does not answer, or a setting cannot be used.
        SourceInvalid: The key cannot be used.
        BundleCorrupt: What the registry holds is no sound bundle.
    """
    work_dir, place = Path(settings.work_dir), Place(settings.publish.to)
    if not work_dir.is_dir():
        raise StageMissing(
            f"{work_dir}: expected a working directory, found none; choose another --work-dir"
        )
    with tempfile.TemporaryDirectory(dir=work_dir, prefix=".publish.") as scratch:
        bundle = _fetch(settings, alias, Path(scratch), reporter)
        if settings.publish.key:
            from export.sign import sign_bundle

            sign_bundle(bundle, Path(settings.publish.key))
        if dry_run:
            return _lay(place, bundle, alias, reporter, dry_run=True)
        with place.hold():
            return _lay(place, bundle, alias, reporter, dry_run=False)


def _fetch(settings: Settings, alias: str, folder: Path, reporter: Reporter) -> Bundle:
    """The bundle as the registry keeps it, verified."""
    registry = Registry(settings)
    number = registry.aliases().get(alias)
    if number is None:
        raise PromotionRefused(
            f"{alias}: expected a promoted version in {registry.name}, found none; run "
            f"`intentd-train promote --to {alias}` first"
        )
    version = registry.version(number)
    with reporter.step(f"fetching {short(version.digest)}"):
        bundle = read_bundle(registry.download(version, folder))
    _check_is(bundle, version, registry.name)
    return bundle


def _check_is(bundle: Bundle, version: Version, registry: str) -> None:
    if bundle.digest != version.digest:
        raise PromotionRefused(
            f"{registry}: expected version {version.number} to hold {short(version.digest)}, found "
            f"{short(bundle.digest)}: its files were changed there; restore them"
        )


def _lay(
    place: Place, bundle: Bundle, alias: str, reporter: Reporter, *, dry_run: bool
) -> Publication:
    written = []
    for name, path in reporter.track("publishing", _files(bundle)):
        if place.sha256(name) != sha256_of(path):
            written.append(name)
            if not dry_run:
                place.write(name, path)
    signed = (bundle.path / SIGNATURE).exists() or place.read(
        f"bundles/{bundle.digest}/{SIGNATURE}"
    ) is not None
    before = _read_index(place)
    after = _merged(before, _entry(bundle, alias, signed))
    if after != before:
        written.append(INDEX)
        if not dry_run:
            place.write(INDEX, (json.dumps(after, indent=2, ensure_ascii=False) + "\n").encode())
    manifest = bundle.manifest
    return Publication(
        place.location,
        manifest.name,
        manifest.version,
        bundle.digest,
        alias,
        signed,
        tuple(written),
    )


def _files(bundle: Bundle) -> Iterator[tuple[str, Path]]:
    """Published name and file; the manifest last."""
    names = [*bundle.manifest.files]
    names += [SIGNATURE] if (bundle.path / SIGNATURE).exists() else []
    for name in (*names, MANIFEST):
        yield f"bundles/{bundle.digest}/{name}", bundle.path / name


def _read_index(place: Place) -> dict[str, Any]:
    """What is published; what later programs say of it stays.

    Raises:
        InvalidConfig: There is something else, which is not to be overwritten.
    """
    data = place.read(INDEX)
    if data is None:
        return {"schema_version": 1, "bundles": []}
    try:
        Index.model_validate_json(data)
    except ValidationError as error:
        raise InvalidConfig(
            f"{place.location}/{INDEX}: expected an index of schema_version 1, found something "
            f"else ({error.errors(include_url=False)[0]['msg']}); nothing was written over it: "
            "choose another place, or restore it"
        ) from None
    found: dict[str, Any] = json.loads(data)
    return found


def _entry(bundle: Bundle, alias: str, signed: bool) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "digest": bundle.digest,
        "alias": alias,
        "files": {name: file.model_dump() for name, file in manifest.files.items()},
        "created_utc": manifest.created_utc,
        "signature": signed,
    }


def _merged(index: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """The index with this bundle, which alone of its name has the alias then."""
    bundles = []
    known: dict[str, Any] = {}
    for one in index["bundles"]:
        if one["digest"] == entry["digest"]:
            known = one
        elif one["name"] == entry["name"] and one.get("alias") == entry["alias"]:
            bundles.append(one | {"alias": ""})
        else:
            bundles.append(one)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    merged = {"published_utc": now} | known | entry
    return index | {"bundles": sorted([*bundles, merged], key=_age)}


def _age(entry: dict[str, Any]) -> tuple[str, str]:
    return entry.get("published_utc", ""), entry["digest"]
