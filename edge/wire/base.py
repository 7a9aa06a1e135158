"""What all messages share: how strict requests are, how lenient answers, how a body is read."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.errors import InvalidValue, MalformedBody

__all__ = ["AnswerModel", "Problem", "RequestModel", "Strings", "decode"]

# A field name is shown in an error only if it looks like one; anything else may be the user's text.
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")

Message = TypeVar("Message", bound=BaseModel)

# Fail fast: 1 MiB of wrong items must not become half a million errors (measured: 11 s and 800 MB).
Strings = Annotated[list[str], Field(min_length=1, fail_fast=True)]


class RequestModel(BaseModel):
    """A request: an unknown field is a mistake, and is said to be one."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True
    )


class AnswerModel(BaseModel):
    """An answer: lenient to read, so that a newer daemon may add fields."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class Problem(AnswerModel):
    """`application/problem+json` (RFC 9457) with a stable code."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str


def decode(model: type[Message], body: bytes) -> Message:
    """Read a JSON body.

    Raises:
        MalformedBody: Not JSON, not UTF-8, nested too deeply, or holding lone surrogates.
        InvalidValue: JSON, but a field is unknown, missing, of the wrong type or out of range.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _explain(model, error) from None  # pydantic's own message repeats the user's text


def _explain(model: type[BaseModel], error: ValidationError) -> MalformedBody | InvalidValue:
    details: list[Any] = error.errors(include_url=False, include_input=False, include_context=False)
    # Where a field may be one of two types, the deepest error is that of the type that was meant.
    worst = max(details, key=lambda one: (len(one["loc"]), not one["type"].endswith("_type")))
    if worst["type"] == "json_invalid":
        return MalformedBody(f"{worst['msg']}; send one JSON object in UTF-8")
    if worst["type"] == "extra_forbidden":
        name = worst["loc"][-1] if _FIELD_NAME.fullmatch(worst["loc"][-1]) else "body"
        return InvalidValue(f"{name}: unknown field; known are {', '.join(model.model_fields)}")
    where = ".".join(str(part) for part in worst["loc"] if not _is_type_name(part)) or "body"
    return InvalidValue(f"{where}: {worst['msg'].removeprefix('Value error, ')}")


def _is_type_name(part: str | int) -> bool:
    """Whether a part of an error's place is pydantic's name for a type, not a field or position."""
    return isinstance(part, str) and (part == "str" or "[" in part)
