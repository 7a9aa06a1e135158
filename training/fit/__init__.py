"""Trains a classifier: a full fit by the Trainer, or a head that few rows are enough for."""
