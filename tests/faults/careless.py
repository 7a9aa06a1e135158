"""The daemon with a store that does not sync, for tests to tell from the real one.

python -m tests.faults.careless serve ...
"""

from __future__ import annotations

import functools

from edge.cli import main
from edge.store import CorrectionStore

if __name__ == "__main__":
    careless = functools.partial(CorrectionStore.open, synchronous="NORMAL")
    CorrectionStore.open = careless  # type: ignore[method-assign]  # that is the point
    main()
