"""Which of how many processes this is, as `accelerate launch` and `torchrun` say it. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from training.errors import InvalidConfig

__all__ = ["Place", "read_place"]


@dataclass(frozen=True, slots=True)
class Place:
    """One process among those that train together."""

    rank: int = 0
    processes: int = 1

    @property
    def is_main(self) -> bool:
        """Whether it writes and speaks; the others only reckon."""
        return self.rank == 0


def read_place(environ: Mapping[str, str] = os.environ) -> Place:
    """Read it from the environment; without a launcher it is one alone.

    Raises:
        InvalidConfig: The launcher's variables are no numbers.
    """
    try:
        place = Place(int(environ.get("RANK", "0")), int(environ.get("WORLD_SIZE", "1")))
    except ValueError:
        raise InvalidConfig(
            "RANK, WORLD_SIZE: expected numbers, as a launcher sets them; start with "
            "`accelerate launch`, or unset both"
        ) from None
    return place
