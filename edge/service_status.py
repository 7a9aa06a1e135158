"""How the installed service compares with the shipped one: files, units, and the running daemon."""

from __future__ import annotations

import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge.client import Client
from edge.posture import find_daemon, read_posture, weaknesses
from edge.service_plan import Request
from edge.service_units import Condition, Manager, condition_of, drop_ins, render, service_files
from edge.settings import SYSTEM_SOCKET

__all__ = ["read_service_status"]

COMMAND_TIMEOUT_S = 10.0
SHOWN = ("intentd.service", "intentd.socket", "intentd-admin.socket", "intentd-sync.timer")
UNKNOWN = "unknown"


def read_service_status(request: Request, socket: Path = SYSTEM_SOCKET) -> dict[str, Any]:
    """Files, units, answer and posture, as JSON has them."""
    files = [
        {
            "path": str(path := request.place(file)),
            "condition": condition_of(path, render(file, request.executable)).value,
            "drop_ins": [str(one) for one in drop_ins(path)],
        }
        for file in service_files(request.manager)
    ]
    is_here = request.root == Path("/")
    answers = is_here and _answers(socket)
    as_shipped = all(file["condition"] == Condition.CURRENT.value for file in files)
    return {
        "healthy": as_shipped and (answers or not is_here),
        "manager": request.manager.value,
        "executable": str(request.executable),
        "files": files,
        "units": _units(request) if is_here else [],
        "answers": answers,
        **_posture(socket, answers),
    }


def _answers(socket: Path) -> bool:
    with Client(socket) as client:
        return client.is_ready()


def _posture(socket: Path, answers: bool) -> dict[str, Any]:
    pid = find_daemon(socket) if answers else None
    if pid is None:
        return {"posture": None, "weaknesses": []}
    posture = read_posture(pid, (socket, socket.with_name("admin.sock")))
    return {"posture": asdict(posture), "weaknesses": weaknesses(posture)}


def _units(request: Request) -> list[dict[str, str]]:
    if request.manager is Manager.INIT:
        return []
    names = SHOWN if request.manager is Manager.SYSTEMD else SHOWN[:1]
    return [
        {"unit": name, "enabled": _ask("is-enabled", name), "active": _ask("is-active", name)}
        for name in names
    ]


def _ask(question: str, unit: str) -> str:
    """The first word that systemctl answers."""
    try:
        done = subprocess.run(  # noqa: S603 — our own words, and no shell
            ["systemctl", question, unit],  # noqa: S607 — wherever the distribution has it
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return UNKNOWN
    return next(iter(done.stdout.split()), UNKNOWN)
