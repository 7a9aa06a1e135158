"""Alembic's environment, and the steps in `versions`, oldest first; released ones never change."""
