"""`AdminClient` about models, against a real daemon: what apps of an admin call."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.client import AdminClient
from edge.errors import InvalidValue, NotFound
from edge.model_calls import activate_call, compare_call, install_call, model_call
from edge.wire import ActivateRequest, SwapMode, decode
from tests.daemons import running_daemon
from tests.edge.models.graphs import make_model


@pytest.fixture(scope="module")
def client() -> Iterator[AdminClient]:
    """Of a daemon with every default."""
    with running_daemon() as daemon, AdminClient(daemon.admin_socket) as connected:
        yield connected


def test_what_was_meant_is_what_is_sent() -> None:
    """Words of others are no part of a path; what was not said is left to the daemon."""
    assert model_call("a/../b?c").path == "/v1/models/a%2F..%2Fb%3Fc"
    assert compare_call("a&to=b", "c").path == "/v1/models/diff?from=a%26to%3Db&to=c"
    body = activate_call("0a1b2c", {"mode": SwapMode.LOW_MEMORY}).body
    assert isinstance(body, bytes)
    assert decode(ActivateRequest, body) == ActivateRequest(
        digest="0a1b2c", mode=SwapMode.LOW_MEMORY
    )


def test_an_upload_says_its_size_if_anybody_knows_it() -> None:
    """Then the daemon can refuse before the first byte; else it comes in chunks."""
    assert install_call([], 7, allow_older=True).headers["Content-Length"] == "7"
    assert install_call([], 7, allow_older=True).path.endswith("allow_older=1")
    assert "Content-Length" not in install_call([], None, allow_older=False).headers


def test_a_bundle_comes_and_goes(client: AdminClient, tmp_path: Path) -> None:
    """Installed from a directory, looked at, compared, verified, removed."""
    bundle = make_model(tmp_path / "tiny")
    serving = client.models().serving

    assert client.install_model(bundle.path).digest == bundle.digest
    assert client.model(bundle.digest[:6]).name == bundle.manifest.name
    assert client.compare_models(serving, bundle.digest).breaks_clients
    assert client.verify_model(bundle.digest).ok
    assert client.remove_model(bundle.digest) == bundle.digest
    with pytest.raises(NotFound):
        client.model(bundle.digest)


def test_what_there_is_not_is_said(client: AdminClient) -> None:
    """Each with what to do."""
    with pytest.raises(NotFound, match="no model was activated"):
        client.activation()
    for call in (client.commit_model, client.rollback_model):
        with pytest.raises(InvalidValue, match="intentd model list"):
            call()
    assert client.shadow().state == "off"
    assert client.stop_shadow().report is None


def test_a_model_is_kept_loaded_as_long_as_it_is_said(client: AdminClient) -> None:
    """For a while, for good, and no more."""
    assert client.keep_model(60).until_utc is not None
    forever = client.keep_model()
    assert (forever.kept, forever.until_utc) == (True, None)
    assert not client.keep_model(0).kept
