"""The harness of the measurements."""
