"""Tests of the whole, on a real daemon."""
