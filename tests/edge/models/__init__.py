"""Tests of edge.models."""
