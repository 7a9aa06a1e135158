"""The calls about models, to `admin.sock`. Opens no connection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict
from urllib.parse import quote, urlencode

from pydantic import BaseModel

from edge.calls import Call, reader
from edge.wire import (
    ActivateRequest,
    ActivationAnswer,
    BundleDetail,
    BundleFacts,
    DiffAnswer,
    KeepAnswer,
    KeepRequest,
    ModelsAnswer,
    RemovedAnswer,
    ShadowAnswer,
    ShadowRequest,
    SwapMode,
    VerifyAnswer,
)

__all__ = [
    "ACTIVATION",
    "COMMIT",
    "MODELS",
    "ROLLBACK",
    "SHADOW",
    "STOP_SHADOW",
    "ActivateOptions",
    "activate_call",
    "compare_call",
    "install_call",
    "keep_call",
    "model_call",
    "remove_call",
    "start_shadow_call",
    "verify_call",
]

ARCHIVE = "application/octet-stream"  # tar or zip: the daemon sees which


class ActivateOptions(TypedDict, total=False):
    """How one model takes over from another."""

    mode: SwapMode
    """Whether both stay in memory meanwhile; by default the daemon chooses by free memory."""
    manual: bool
    """Wait for `commit_model` after the probation, instead of letting the report decide."""
    probation_requests: int | None
    """Texts that both models answer before it is decided; None: as many as the setting says."""
    force: bool
    """Go on although the memory seems too small, or the model answers already."""


MODELS = Call("/v1/models", reader(ModelsAnswer))
ACTIVATION = Call("/v1/models/activation", reader(ActivationAnswer))
COMMIT = Call("/v1/models/commit", reader(ActivationAnswer), method="POST")
ROLLBACK = Call("/v1/models/rollback", reader(ActivationAnswer), method="POST")
SHADOW = Call("/v1/shadow", reader(ShadowAnswer))
STOP_SHADOW = Call("/v1/shadow/stop", reader(ShadowAnswer), method="POST")


def model_call(digest: str) -> Call[BundleDetail]:
    """`GET /v1/models/{digest}`."""
    return Call(_path(digest), reader(BundleDetail))


def verify_call(digest: str) -> Call[VerifyAnswer]:
    """`POST /v1/models/{digest}/verify`."""
    return Call(f"{_path(digest)}/verify", reader(VerifyAnswer), method="POST")


def install_call(
    archive: Iterable[bytes], size: int | None, allow_older: bool
) -> Call[BundleFacts]:
    """`POST /v1/models/install`; without a size the archive goes in chunks."""
    headers = {"Content-Type": ARCHIVE}
    if size is not None:
        headers["Content-Length"] = str(size)
    path = f"/v1/models/install?allow_older={int(allow_older)}"
    return Call(path, reader(BundleFacts), archive, headers=headers)


def remove_call(digest: str) -> Call[RemovedAnswer]:
    """`DELETE /v1/models/{digest}`."""
    return Call(_path(digest), reader(RemovedAnswer), method="DELETE")


def compare_call(old: str, new: str) -> Call[DiffAnswer]:
    """`GET /v1/models/diff`."""
    query = urlencode({"from": old, "to": new})
    return Call(f"/v1/models/diff?{query}", reader(DiffAnswer))


def activate_call(digest: str, options: ActivateOptions) -> Call[ActivationAnswer]:
    """`POST /v1/models/activate`."""
    body = _body(ActivateRequest(digest=digest, **options))
    return Call("/v1/models/activate", reader(ActivationAnswer), body)


def start_shadow_call(digest: str) -> Call[ShadowAnswer]:
    """`POST /v1/shadow/start`."""
    return Call("/v1/shadow/start", reader(ShadowAnswer), _body(ShadowRequest(digest=digest)))


def keep_call(seconds: int | None) -> Call[KeepAnswer]:
    """`POST /v1/model/keep`."""
    return Call("/v1/model/keep", reader(KeepAnswer), _body(KeepRequest(seconds=seconds)))


def _body(message: BaseModel) -> bytes:
    return message.model_dump_json().encode()


def _path(digest: str) -> str:
    return f"/v1/models/{quote(digest, safe='')}"
