"""Keeps the model libraries from talking while they work; what fails is still raised."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as transformers_logging

__all__ = ["quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """The libraries' advice and bars concern nobody here; what fails is raised."""
    previous = logging.root.manager.disable
    bars = transformers_logging.is_progress_bar_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        transformers_logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.disable(previous)
            if bars:
                transformers_logging.enable_progress_bar()
