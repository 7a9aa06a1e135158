"""Trains a classifier of a data set: a full fit by the Trainer, or a head that few rows are enough for."""
