"""Measurements: each module is a command that prints a table, with machine and versions."""
