"""What people said, kept for good, and what was answered, kept for a while: two SQLite files.

`CorrectionStore` owns corrections.db, `PredictionLog` owns predictions.db. Neither knows HTTP.
"""

from edge.store.corrections import CorrectionStore
from edge.store.predictions import PredictionLog

__all__ = ["CorrectionStore", "PredictionLog"]
