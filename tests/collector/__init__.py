"""Tests of the collector, on a real PostgreSQL and on SQLite."""
