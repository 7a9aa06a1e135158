"""A box's own shadow, and what it kept of requests, reach the comparison on the workstation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from edge.admin_client import AdminClient
from edge.bundle import STARTER
from edge.client import Client
from edge.predictor import Predictor
from tests.daemons import running_daemon
from tests.e2e.talk import wait_until
from tests.models import TinyModel
from tests.training.judged import TEXTS, freeze_told
from tests.training.samples import run_train

ASKED = TEXTS[24:30]


def test_a_running_box_gives_what_it_saw_and_was_asked(
    tmp_path: Path, tiny: Callable[[str], TinyModel], load: Callable[[Path], Predictor]
) -> None:
    """Its admin socket, and its predictions.db while it is being written."""
    bundle, work_dir = tiny("intents").int8, tmp_path / "train"
    work_dir.mkdir()
    freeze_told(work_dir, load(bundle))
    with running_daemon("--bundle", str(STARTER)) as daemon:
        with AdminClient(daemon.admin_socket) as admin, Client(daemon.socket) as client:
            digest = admin.install_model(bundle).digest
            admin.start_shadow(digest)

            def is_compared() -> bool:
                for text in ASKED:
                    client.classify(text)
                report = admin.shadow().report
                return report is not None and report.requests >= len(ASKED)

            wait_until(is_compared, "the shadow has answered")
            client.review()  # what was asked is on the disk before it is shown
        log = daemon.state_dir / "predictions.db"
        done = run_train(
            *(work_dir, "shadow", str(log), "--bundle", str(bundle)),
            *("--live", str(daemon.admin_socket)),
        )

    assert done.returncode in (0, 1), done.stderr
    found = json.loads((work_dir / "shadow" / "shadow.json").read_text())
    assert found["live"]["digest"] == digest == found["candidate"]
    assert found["live"]["requests"] >= len(ASKED)
    assert found["logged"]["texts"] == len(ASKED)
    assert found["live"]["errors"] == 0
