"""The Python client of `admin.sock`: models, the outbox, full corrections, erasure and counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from edge.connection import Connection
from edge.correction_calls import (
    CURSOR,
    STATS,
    ack_call,
    corrections_call,
    dead_call,
    detail_call,
    epoch_call,
    erase_call,
    erase_text_call,
    outbox_call,
    receipts_call,
    redrive_call,
    sent_call,
)
from edge.model_calls import (
    ACTIVATION,
    COMMIT,
    MODELS,
    ROLLBACK,
    SHADOW,
    STOP_SHADOW,
    ActivateOptions,
    activate_call,
    compare_call,
    install_call,
    keep_call,
    model_call,
    remove_call,
    start_shadow_call,
    verify_call,
)
from edge.settings import find_admin_socket
from edge.uploads import Upload, open_upload
from edge.wire import (
    AckAnswer,
    ActivationAnswer,
    BundleDetail,
    BundleFacts,
    CorrectionDetail,
    CorrectionsAnswer,
    CursorAnswer,
    DeadAnswer,
    DiffAnswer,
    KeepAnswer,
    ModelsAnswer,
    OutboxAnswer,
    RecordResult,
    ShadowAnswer,
    StatsAnswer,
    UseReceipt,
    VerifyAnswer,
)

if TYPE_CHECKING:
    from edge.models.entries import Readable

__all__ = ["ActivateOptions", "AdminClient"]


class AdminClient(Connection):
    """A client of one daemon's `admin.sock`; see `Connection` for the errors of every call."""

    def __init__(self, socket: Path | str | None = None) -> None:
        """Connects at the first call.

        Args:
            socket: The daemon's admin socket; None means `edge.settings.find_admin_socket()`.
        """
        super().__init__(Path(socket) if socket is not None else find_admin_socket())

    def corrections(
        self, after: int = 0, limit: int = 100, label: str | None = None, kind: str | None = None
    ) -> CorrectionsAnswer:
        """One page of corrections with their texts, in the order in which they were made.

        Args:
            after: Only those with a higher `seq`; the `next` of the page before.
            limit: How many, at most 1000.
            label: Only those with this label.
            kind: Only `correction` or only `confirmation`.
        """
        return self._send(corrections_call(after, limit, label, kind))

    def correction(self, correction_id: str) -> CorrectionDetail:
        """One correction with its text."""
        return self._send(detail_call(correction_id))

    def erase(self, correction_id: str) -> list[str]:
        """Erase a correction and its prediction, here and upstream; returns the ids erased."""
        return self._send(erase_call(correction_id)).erased

    def erase_text(self, text: str) -> list[str]:
        """Erase all that holds this text, predictions included; returns the corrections' ids."""
        return self._send(erase_text_call(text)).erased

    def stats(self) -> StatsAnswer:
        """Counts by label, agreement by day, and how the store does."""
        return self._send(STATS)

    def outbox(self, limit: int = 500) -> OutboxAnswer:
        """What upstream has not confirmed yet, oldest first."""
        return self._send(outbox_call(limit))

    def mark_sent(self, ids: Sequence[str]) -> int:
        """Note that these are on their way; returns how many are known."""
        return self._send(sent_call(ids)).sent

    def acknowledge(self, results: Sequence[RecordResult]) -> AckAnswer:
        """Pass on what upstream said of each record."""
        return self._send(ack_call(results))

    def record_receipts(self, receipts: Sequence[UseReceipt], cursor: int) -> int:
        """Pass on which corrections were used, and where the next receipts begin."""
        return self._send(receipts_call(receipts, cursor)).recorded

    def cursor(self) -> CursorAnswer:
        """Where this device stands."""
        return self._send(CURSOR)

    def bump_epoch(self, server_epoch: int, server_seq: int) -> int:
        """Tell how far upstream has seen this device; returns the epoch from here on."""
        return self._send(epoch_call(server_epoch, server_seq)).epoch

    def dead_letter(self, limit: int = 100) -> DeadAnswer:
        """What upstream refused for good, and why."""
        return self._send(dead_call(limit))

    def redrive(self, ids: Sequence[str] | None = None) -> int:
        """Put dead letters (None: all of them) back into the outbox; returns how many."""
        return self._send(redrive_call(ids)).redriven

    def models(self) -> ModelsAnswer:
        """Every bundle on the machine, and how the last activation went."""
        return self._send(MODELS)

    def model(self, digest: str) -> BundleDetail:
        """One bundle with its manifest.

        Args:
            digest: Whole, or a beginning of at least 6 digits that only one bundle has; so
                wherever a digest is taken here.
        """
        return self._send(model_call(digest))

    def install_model(
        self, source: Path | Readable | Upload, *, allow_older: bool = False
    ) -> BundleFacts:
        """Bring a bundle over; nothing is served differently. Repeating it does no harm.

        Args:
            source: A bundle's directory, a tar or zip file, one of these as a stream, or what
                `open_upload` made of them. Sent piece by piece, whatever its size.
            allow_older: Take it although a newer version was taken before.
        """
        if isinstance(source, Upload):
            return self._send(install_call(source.pieces, source.size, allow_older))
        with open_upload(source) as upload:
            return self.install_model(upload, allow_older=allow_older)

    def verify_model(self, digest: str) -> VerifyAnswer:
        """Check an installed bundle's files, and let it answer its self-test in a trial."""
        return self._send(verify_call(digest))

    def compare_models(self, old: str, new: str) -> DiffAnswer:
        """What clients would notice of a change from one bundle to another."""
        return self._send(compare_call(old, new))

    def activate_model(self, digest: str, **options: Unpack[ActivateOptions]) -> ActivationAnswer:
        """Begin to let a bundle take over; `activation` tells how it goes on.

        Args:
            digest: Of the bundle, or `edge.wire.CONFIGURED` for the one that the settings name.
            options: See `ActivateOptions`.
        """
        return self._send(activate_call(digest, options))

    def activation(self) -> ActivationAnswer:
        """The activation that goes on, or the last one.

        Raises:
            NotFound: There was none since the daemon started.
        """
        return self._send(ACTIVATION)

    def commit_model(self) -> ActivationAnswer:
        """Keep the model that is on probation."""
        return self._send(COMMIT)

    def rollback_model(self) -> ActivationAnswer:
        """Go back: from a model on probation to the one before, else to the previous one."""
        return self._send(ROLLBACK)

    def remove_model(self, digest: str) -> str:
        """Delete an installed bundle that does not serve; returns its digest."""
        return self._send(remove_call(digest)).removed

    def start_shadow(self, digest: str) -> ShadowAnswer:
        """Let a bundle answer beside the one that serves, and compare; clients see none of it."""
        return self._send(start_shadow_call(digest))

    def shadow(self) -> ShadowAnswer:
        """How the comparison stands."""
        return self._send(SHADOW)

    def stop_shadow(self) -> ShadowAnswer:
        """End the comparison; returns how it stood."""
        return self._send(STOP_SHADOW)

    def keep_model(self, seconds: int | None = None) -> KeepAnswer:
        """Keep the model loaded for so long; None: until told otherwise, 0: no more."""
        return self._send(keep_call(seconds))
