"""`edge.wire.models`: every field of every message about models survives its JSON."""

from __future__ import annotations

import types
from enum import StrEnum
from typing import Any, Union, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from edge import wire
from edge.errors import InvalidValue
from edge.wire import ActivateRequest, ActivationAnswer, KeepRequest, ShadowRequest, decode, models
from edge.wire.base import RequestModel

MESSAGES = [
    value
    for name, value in vars(models).items()
    if name in models.__all__ and isinstance(value, type) and issubclass(value, BaseModel)
]
DIGESTS = st.from_regex(r"[0-9a-f]{6,64}|configured", fullmatch=True)
LIMITED: dict[tuple[type[BaseModel], str], st.SearchStrategy[Any]] = {
    (ActivateRequest, "digest"): DIGESTS,
    (ActivateRequest, "probation_requests"): st.none() | st.integers(0, 1000),
    (ShadowRequest, "digest"): DIGESTS,
    (KeepRequest, "seconds"): st.none() | st.floats(0, 1000),
}
PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=8),
    int: st.integers(0, 2**53),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    type(None): st.none(),
    dict: st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
}


def messages(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Messages of this model, with every field drawn; a new field joins by itself."""
    fields = {
        field.alias or name: _drawn_field(model, name, field.annotation)
        for name, field in model.model_fields.items()
    }
    return st.builds(model, **fields)


def _drawn_field(model: type[BaseModel], name: str, kind: Any) -> st.SearchStrategy[Any]:
    return LIMITED[model, name] if (model, name) in LIMITED else drawn(kind)


def drawn(kind: Any) -> st.SearchStrategy[Any]:
    """Values of an annotation, as far as the messages use them."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is list:
        return st.lists(drawn(parts[0]), max_size=2)
    if origin in (Union, types.UnionType):
        return st.one_of(*map(drawn, parts))
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return messages(kind)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return st.sampled_from(kind)
    return PLAIN[origin or kind]


@given(st.one_of(*map(messages, MESSAGES)))
def test_every_field_of_every_message_survives_its_json(original: BaseModel) -> None:
    """decode(encode(x)) == x, through the bytes that go over the socket."""
    assert decode(type(original), original.model_dump_json(by_alias=True).encode()) == original


@given(messages(ActivationAnswer))
def test_what_answered_before_is_called_from(original: ActivationAnswer) -> None:
    """A word that Python keeps for itself."""
    assert b'"from":' in original.model_dump_json(by_alias=True).encode()


@pytest.mark.parametrize("digest", ["", "0a1b2", "0A1B2C", "../../etc", "f" * 65, "configured "])
def test_what_is_no_digest_is_refused(digest: str) -> None:
    """Before anybody looks for it on the disk."""
    for model in (ActivateRequest, ShadowRequest):
        with pytest.raises(InvalidValue, match="digest"):
            decode(model, b'{"digest": "%s"}' % digest.encode())


def test_all_lists_every_message() -> None:
    """Nobody has to know which file of the package a message is in; requests refuse extras."""
    assert {model.__name__ for model in MESSAGES} <= set(wire.__all__)
    for model in MESSAGES:
        assert issubclass(model, RequestModel) == model.__name__.endswith("Request")
