"""What the Hugging Face and text-embeddings-inference formats bring; unknown fields are ignored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from edge.wire.base import Strings
from edge.wire.classify import Template

__all__ = ["HubParameters", "HubRequest", "TeiRequest"]


class HubParameters(BaseModel):
    """`parameters` of the Hugging Face inference format; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    candidate_labels: Strings | str | None = None
    """A list, or one comma-separated string."""
    multi_label: bool | None = None
    hypothesis_template: Template | None = None
    top_k: Annotated[int, Field(ge=1)] | None = None
    function_to_apply: Literal["sigmoid", "softmax", "none"] | None = None


class HubRequest(BaseModel):
    """Body of `POST /` in the Hugging Face inference format."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    inputs: str | Strings
    parameters: HubParameters = HubParameters()


Pair = Annotated[list[str], Field(min_length=1, max_length=2, fail_fast=True)]


class TeiRequest(BaseModel):
    """Body of `POST /predict` in the text-embeddings-inference format.

    A string is one text; a list of one-element lists is a batch. Pairs are refused: no bundle
    scores them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    inputs: str | Annotated[list[Pair | str], Field(min_length=1, fail_fast=True)]
    truncate: bool | None = None
    raw_scores: bool = False
