"""The vectors of the default label set, kept between two starts: half a second that is spent once.

They are what this model makes of these texts with this runtime on this CPU, or they are not used: a
file that is anything else, damaged or cut off, is as good as none. It holds no text.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.cpu import Cpu

__all__ = ["VectorFile", "Vectors"]

Vectors = npt.NDArray[np.float32]

FORMAT = 1
DIGEST_BYTES = hashlib.sha256().digest_size
MAX_BYTES = 64 << 20
KEPT_FILES = 4  # of bundles and label sets that take turns
SUFFIX = ".vectors"


@dataclass(frozen=True, slots=True)
class VectorFile:
    """Where the vectors of one label set are kept; it never raises, and may find nothing."""

    path: Path
    identity: bytes
    """sha256 over all that the vectors depend on; part of the file's checksum."""

    @classmethod
    def of(cls, directory: Path, bundle: str, label_set: str, runtime: str, cpu: Cpu) -> VectorFile:
        """The file for a bundle's and a label set's digests, a runtime's version, and a CPU."""
        facts = [FORMAT, bundle, label_set, runtime, cpu.model, cpu.machine, sorted(cpu.flags)]
        identity = hashlib.sha256(json.dumps(facts).encode()).digest()
        return cls(directory / (identity.hex()[:16] + SUFFIX), identity)

    def read(self, rows: int) -> Vectors | None:
        """float32 [rows, dim]; None unless the file holds exactly these, whole."""
        try:
            if self.path.stat().st_size > MAX_BYTES:
                return None
            data = self.path.read_bytes()
        except OSError:
            return None
        checksum, payload = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
        if checksum != self._checksum(payload) or not payload or len(payload) % (4 * rows):
            return None
        return np.frombuffer(payload, "<f4").reshape(rows, -1).astype(np.float32)

    def write(self, vectors: Vectors) -> None:
        """Keep them, if the disk lets us; a reader sees all of them or none."""
        payload = vectors.astype("<f4").tobytes()
        with suppress(OSError):
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            unfinished = self.path.with_name(f".{secrets.token_hex(8)}")
            try:
                fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(fd, "wb") as file:
                    file.write(self._checksum(payload) + payload)
                unfinished.replace(self.path)
            finally:
                unfinished.unlink(missing_ok=True)
            self._forget_others()

    def _checksum(self, payload: bytes) -> bytes:
        return hashlib.sha256(self.identity + payload).digest()

    def _forget_others(self) -> None:
        """Remove the oldest files, of bundles and label sets that are long gone."""
        found = sorted(self.path.parent.glob(f"*{SUFFIX}"), key=lambda file: -file.stat().st_mtime)
        for file in found[KEPT_FILES:]:
            file.unlink(missing_ok=True)
