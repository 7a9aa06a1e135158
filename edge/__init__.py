"""The daemon on the NAS: it reads a bundle, answers on a Unix socket, and knows no torch."""

__version__ = "0.1.0"

__all__ = ["__version__"]
