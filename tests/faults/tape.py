"""Records what a real process asks of the file system, with strace, as a list of operations.

Every byte that is written is on the tape, so that a disk can be rebuilt as a power cut at any
moment would have left it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

__all__ = ["Operation", "python", "read_tape", "record_tape", "strace"]

ROOT = Path(__file__).resolve().parents[2]
CALLS = "openat,pwrite64,write,sendto,sendmsg,fsync,fdatasync,ftruncate,unlink,unlinkat,rename"
SYNCS = ("fsync", "fdatasync")
MAX_BYTES = 1 << 20  # of one call
LINE = re.compile(r"^(?P<pid>\d+)\s+(?P<rest>.*)$")
CALL = re.compile(r"^(?P<name>\w+)\((?P<args>.*)\)\s+= (?P<result>-?\d+|\?)(?P<more>.*)$")
RESUMED = re.compile(r"^<\.\.\. \w+ resumed>(?P<rest>.*)$")
UNFINISHED = " <unfinished ...>"
FD = re.compile(r"^-?\d+<((?:\\x[0-9a-f]{2})*)>")
STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True, slots=True)
class Operation:
    """One system call that succeeded, or a sync that did not."""

    call: str
    path: str
    """Of the file, or what the descriptor is, such as `socket:[1]`; the old name of a rename."""
    data: bytes = b""
    """What was written or sent; the new name of a rename."""
    offset: int = 0
    """Where it was written; the new size of a truncated file; the flags of a send."""
    creates: bool = False


def python(*args: str) -> list[str]:
    """The command that runs a module of this project."""
    return [sys.executable, "-m", *args]


def strace() -> str:
    """The path of strace, which must be allowed to trace, or the test is skipped."""
    found = shutil.which("strace")
    if found is None:
        pytest.skip("needs strace")
    allowed = subprocess.run([found, "-o", "/dev/null", "true"], capture_output=True, check=False)
    if allowed.returncode != 0:
        pytest.skip("strace may not trace here")
    return found


def trace_options(tape: Path) -> Sequence[str]:
    """What makes strace write a tape."""
    return ("-f", "-y", "-xx", "-s", str(MAX_BYTES), "-e", f"trace={CALLS}", "-o", str(tape))


def record_tape(tape: Path, command: Sequence[str], inject: Sequence[str] = ()) -> list[Operation]:
    """Run a command to its end, and return what it did.

    Args:
        tape: The file for strace to write.
        command: What to run.
        inject: Errors to inject, as strace's option `inject` takes them.
    """
    errors = [word for error in inject for word in ("-e", f"inject={error}")]
    run = [strace(), *trace_options(tape), *errors, *command]
    process = subprocess.Popen(run, cwd=ROOT, start_new_session=True)
    try:
        assert process.wait(60) == 0, run
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)  # what is traced would outlive strace
        raise
    return list(read_tape(tape))


def read_tape(tape: Path) -> Iterator[Operation]:
    """The operations in their order: a write counts from its call, all else from its return."""
    begun: dict[str, str] = {}
    for line in tape.read_text("ascii").splitlines():
        match = LINE.match(line)
        if match is None:
            continue
        pid, rest = match["pid"], match["rest"]
        if rest.endswith(UNFINISHED):
            rest = rest.removesuffix(UNFINISHED)
            if rest.startswith(("write", "pwrite64", "send")):
                rest = f"{rest}) = 0"
            else:
                begun[pid] = rest
                continue
        resumed = RESUMED.match(rest)
        if resumed is not None:
            if pid not in begun:
                continue
            rest = begun.pop(pid) + resumed["rest"]
        call = CALL.match(rest)
        if call is not None and not call["result"].startswith("-"):
            yield _operation(call)
        elif call is not None and call["name"] in SYNCS:
            yield replace(_operation(call), call="failed sync")


def _operation(call: re.Match[str]) -> Operation:
    name, args = call["name"], call["args"]
    descriptor = FD.match(args)
    path = _bytes(descriptor[1]).decode() if descriptor else ""
    strings = [_bytes(found) for found in STRING.findall(args)]
    if name == "openat":
        return Operation(name, strings[0].decode(), creates="O_CREAT" in args)
    if name == "rename":
        return Operation(name, strings[0].decode(), strings[1])
    if name in ("unlink", "unlinkat"):
        return Operation("unlink", strings[0].decode())
    if name in ("pwrite64", "ftruncate"):
        return Operation(name, path, b"".join(strings), int(args.rpartition(", ")[2]))
    return Operation(name, path, b"".join(strings))


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))
