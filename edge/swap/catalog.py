"""The bundles on this machine, as the admin sees them: list, show, verify, install, remove, diff.

It loads no model into this process, and switches none.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from edge.bundle import STARTER, Bundle, Manifest, manifest_digest, read_bundle, read_manifest
from edge.errors import BundleCorrupt, BundleIncompatible, NotFound, StoreUnavailable
from edge.labels import read_label_set
from edge.memory import free_bytes, needed_bytes
from edge.models.diff import compare_manifests
from edge.models.entries import Readable
from edge.models.listing import Version
from edge.models.trial import run_trial
from edge.models.verdict import TrialReport
from edge.models.versions import VersionStore
from edge.settings import Settings
from edge.wire.models import (
    CONFIGURED,
    BundleDetail,
    BundleFacts,
    ChangeInfo,
    DiffAnswer,
    VerifyAnswer,
)

__all__ = ["Catalog", "Choice"]

KEPT_FREE = 0.9  # of the free memory, what a trial may take


class Choice:
    """A bundle that somebody named: one of the store, or the one that the settings name."""

    def __init__(self, key: str | None, path: Path, manifest: Manifest) -> None:
        self.key = key
        """Its digest in the store; None is the settings' bundle."""
        self.path = path
        self.manifest = manifest
        self.digest = manifest_digest(manifest)

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(entry.size for entry in self.manifest.files.values())

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.manifest.name} {self.manifest.version} ({self.digest[:12]})"


class Catalog:
    """The store of bundles with the settings' own. Methods that read files are to be awaited."""

    def __init__(self, store: VersionStore | None, settings: Settings) -> None:
        """Without a store (its disk is broken) there is the settings' bundle, and nothing else."""
        self._store = store
        self._settings = settings

    @property
    def store(self) -> VersionStore:
        """The store.

        Raises:
            StoreUnavailable: There is none.
        """
        if self._store is None:
            raise StoreUnavailable(
                f"{self._settings.models_dir}: no models can be kept there; make the directory "
                "writable for intentd, and restart it"
            )
        return self._store

    def choose(self, name: str) -> Choice:
        """The bundle of this digest, of the only one that starts so, or `configured`.

        Raises:
            NotFound: There is none.
            InvalidValue: There are several.
            BundleCorrupt: Its manifest cannot be read.
        """
        if name == CONFIGURED:
            return self.choose_key(None)
        try:
            found = self.store.find(name)
        except NotFound:
            own = self._own()
            if own is not None and own.digest.startswith(name):
                return own
            raise
        if found.manifest is None:
            raise BundleCorrupt(f"{found.problem}; remove it, and install it again")
        return Choice(found.digest, found.path, found.manifest)

    def choose_key(self, key: str | None) -> Choice:
        """The bundle of this name in the store; None is the settings' own."""
        if key is not None:
            return self.choose(key)
        path = self._settings.bundle
        return Choice(None, path, read_manifest(path))

    def facts(self, serving: str | None, on_probation: bool) -> list[BundleFacts]:
        """Every bundle; `serving` is the key of the one that answers."""
        listed = []
        if self._store is not None:
            listed = [_facts(version, serving, on_probation) for version in self._store.versions()]
        own = self._own()
        if own is None:
            return listed
        return [*listed, _own_facts(own, self._own_state(serving, on_probation))]

    def detail(self, name: str, serving: str | None, on_probation: bool) -> BundleDetail:
        """One bundle with its manifest."""
        if name != CONFIGURED and self._store is not None:
            try:
                version = self._store.find(name)
            except NotFound:
                pass
            else:
                facts = _facts(version, serving, on_probation)
                return _detail(facts, version.manifest)
        own = self.choose(name)
        return _detail(_own_facts(own, self._own_state(serving, on_probation)), own.manifest)

    def compare(self, old: Choice, new: Choice) -> DiffAnswer:
        """What changes for clients."""
        default = read_label_set(self._settings.intents).names
        found = compare_manifests(old.manifest, new.manifest, default)
        return DiffAnswer(
            labels_added=list(found.labels_added),
            labels_vanished=list(found.labels_vanished),
            fixes_labels=found.fixes_labels,
            frees_labels=found.frees_labels,
            changes=[ChangeInfo(**asdict(change)) for change in found.changes],
            breaks_clients=found.breaks_clients,
        )

    def install(self, source: Readable, allow_older: bool) -> tuple[Bundle, bool]:
        """Take a bundle in; returns it, and whether it was not there before. Blocks."""
        store, settings = self.store, self._settings
        before = {version.digest for version in store.versions()}
        keys = settings.trusted_keys if settings.trusted_keys != Path() else None
        bundle = store.install(source, allow_older=allow_older, trusted_keys=keys)
        return bundle, bundle.digest not in before

    async def try_out(self, choice: Choice, is_wanted: asyncio.Event) -> TrialReport:
        """Let a child process load it and answer; `is_wanted` cleared ends that."""
        settings = self._settings
        return await asyncio.to_thread(
            partial(
                run_trial,
                choice.path,
                timeout_s=settings.trial_timeout_s,
                memory_bytes=self.trial_bytes(choice),
                intents=settings.intents,
                threads=settings.threads,
                is_wanted=is_wanted.is_set,
            )
        )

    def trial_bytes(self, choice: Choice) -> int:
        """What its trial may take: what the settings say, else most of what is free."""
        limit = self._settings.trial_memory_mb << 20
        return limit or max(int(free_bytes() * KEPT_FREE), needed_bytes(choice.size) // 2)

    async def verify(self, name: str) -> VerifyAnswer:
        """Check every hash, then let a child process load it and answer its self-test."""
        choice = await asyncio.to_thread(self.choose, name)
        try:
            await asyncio.to_thread(self._read, choice)
        except (BundleCorrupt, BundleIncompatible) as error:
            return _verified(choice, False, str(error))
        always = asyncio.Event()
        always.set()
        report = await self.try_out(choice, always)
        return _verified(choice, report.passed, report.detail, report)

    def _read(self, choice: Choice) -> Bundle:
        return read_bundle(choice.path) if choice.key is None else self.store.verify(choice.key)

    def _own(self) -> Choice | None:
        try:
            return self.choose_key(None)
        except (BundleCorrupt, BundleIncompatible):
            return None

    def _own_state(self, serving: str | None, on_probation: bool) -> str:
        if serving is None:
            return "probation" if on_probation else "serving"
        journal = None if self._store is None else self._store.journal()
        is_next = journal is not None and (journal.last_good, journal.previous) == (serving, None)
        return "previous" if is_next else "installed"


def _verified(
    choice: Choice, is_ok: bool, detail: str, report: TrialReport | None = None
) -> VerifyAnswer:
    cases = report.facts.get("cases") if report else None
    agreeing = report.facts.get("agreeing") if report else None
    return VerifyAnswer(
        digest=choice.digest,
        ok=is_ok,
        detail=detail,
        agreement=agreeing / cases if cases and agreeing is not None else None,
        cases=int(cases) if cases is not None else None,
    )


def _facts(version: Version, serving: str | None, on_probation: bool) -> BundleFacts:
    state = "previous" if version.is_previous else "installed"
    if version.manifest is None:
        state = "broken"
    if version.digest == serving:
        state = "probation" if on_probation or version.is_pending else "serving"
    return BundleFacts(
        digest=version.digest,
        bytes=version.size,
        origin="installed",
        state=state,
        installed_utc=version.installed_utc,
        note=version.problem or "",
        **_from_manifest(version.manifest),
    )


def _own_facts(own: Choice, state: str) -> BundleFacts:
    return BundleFacts(
        digest=own.digest,
        bytes=own.size,
        origin="built-in" if own.path == STARTER else "configured",
        state=state,
        installed_utc=None,
        **_from_manifest(own.manifest),
    )


def _from_manifest(manifest: Manifest | None) -> dict[str, Any]:
    if manifest is None:
        return dict.fromkeys(("name", "version", "task", "phase", "labels", "max_tokens", "recipe"))
    is_fixed = manifest.task.phase == "B"
    return {
        "name": manifest.name,
        "version": manifest.version,
        "task": manifest.task.value,
        "phase": manifest.task.phase,
        "labels": list(manifest.labels) if is_fixed else None,
        "max_tokens": manifest.max_tokens,
        "recipe": manifest.quantization.recipe,
    }


def _detail(facts: BundleFacts, manifest: Manifest | None) -> BundleDetail:
    told = None if manifest is None else manifest.model_dump(mode="json")
    return BundleDetail(**facts.model_dump(), manifest=told)
