"""The calls about corrections say what was meant, and both clients make the same ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.admin_client import AdminClient
from edge.calls import Call
from edge.client import AsyncClient, Client
from edge.correction_calls import (
    confirm_call,
    correct_call,
    correction_call,
    corrections_call,
    erase_call,
)
from edge.errors import InvalidRequest, MalformedBody, NotFound, UnknownLabel
from edge.wire import CorrectionRequest, decode
from tests.daemons import Daemon, running_daemon

TEXT = "find the invoice from May"
NO_SURROGATES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon with every default."""
    with running_daemon() as started:
        yield started


def _bytes(call: Call[Any]) -> bytes:
    assert isinstance(call.body, bytes)
    return call.body


@given(
    text=NO_SURROGATES,
    label=st.none() | NO_SURROGATES,
    labels=st.none() | st.lists(NO_SURROGATES, min_size=1, max_size=3).map(tuple),
    key=st.none() | NO_SURROGATES,
)
def test_a_correction_is_read_as_it_was_meant(
    text: str, label: str | None, labels: tuple[str, ...] | None, key: str | None
) -> None:
    """Null is a label; what was not said is not sent."""
    call = correct_call(label, {"text": text, "labels": labels, "client_key": key})
    read = decode(CorrectionRequest, _bytes(call))

    assert (read.text, read.label, read.client_key) == (text, label, key)
    assert (read.labels and tuple(read.labels)) == labels
    assert not read.confirm
    sent = json.loads(_bytes(call))
    assert "label" in sent
    assert [value for name, value in sent.items() if name != "label" and value is None] == []


def test_a_confirmation_names_its_prediction_and_no_label() -> None:
    """The daemon knows what it answered."""
    call = confirm_call("p", {"source": "mail"})

    assert json.loads(_bytes(call)) == {"prediction_id": "p", "confirm": True, "source": "mail"}


@pytest.mark.parametrize("given_id", ["a/b", "../model", "a?b=c", "a b", "é"])
def test_an_id_stays_one_part_of_the_path(given_id: str) -> None:
    """Whatever somebody types, it is no other route."""
    for call in (correction_call(given_id), erase_call(given_id)):
        rest = call.path.removeprefix("/v1/corrections/")
        assert rest.isascii()
        assert not set("/? #") & set(rest)


def test_only_what_is_asked_for_is_in_the_query() -> None:
    """With its special characters as they were meant."""
    assert corrections_call(0, 5, None, None).path == "/v1/corrections?after=0&limit=5"
    assert corrections_call(0, 5, "a&b", None).path.endswith("&label=a%26b")


def test_async_client_corrects_as_the_sync_one(daemon: Daemon) -> None:
    """Every call of one, through the other."""

    async def use() -> list[Any]:
        async with AsyncClient(daemon.socket) as client:
            asked = await client.classify(TEXT)
            made = await client.correct(None, prediction_id=asked.id, client_key="k")
            nodded = await client.confirm((await client.classify("sum it up")).id)
            return [made, nodded, await client.correction(made.id), await client.review(limit=3)]

    made, nodded, fate, review = asyncio.run(use())
    with Client(daemon.socket) as client:
        assert client.correction(made.id) == fate
        assert client.correct(None, prediction_id=made.id, text=TEXT).id != made.id
        assert client.review(limit=3) == review
    assert (made.kind, nodded.kind) == ("correction", "confirmation")


def test_refusals_are_raised_as_their_classes(daemon: Daemon) -> None:
    """From both sockets."""
    with Client(daemon.socket) as client, AdminClient(daemon.admin_socket) as admin:
        with pytest.raises(NotFound):
            client.correction("none")
        with pytest.raises(UnknownLabel, match="SUMMARIZE"):
            client.correct("none", text=TEXT)
        with pytest.raises(MalformedBody):
            client.correct(None, text="\ud800")
        with pytest.raises(NotFound):
            admin.erase("none")
        with pytest.raises(InvalidRequest):
            admin.corrections(limit=0)


def test_the_admins_client_finds_the_socket_in_the_environment(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside that of the daemon which a client would ask."""
    monkeypatch.setenv("INTENTD_SOCKET", str(daemon.socket))
    with AdminClient() as admin:
        assert admin.socket == daemon.admin_socket
        assert admin.cursor().device_id
