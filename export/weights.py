"""Stores matrices in 8 bits: pure arithmetic on arrays, which knows no graph.

Every rule is symmetric: a weight of 0 stays 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Stored", "by_block", "by_column", "by_row", "smoothing"]

Floats = npt.NDArray[np.float32]

ZERO = 128  # of unsigned weights
TINY = 1e-12
UNSEEN = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A matrix in 8 bits with its scales."""

    values: npt.NDArray[Any]
    """int8 or uint8."""
    scales: Floats
    """One for each column, row or block."""


def by_column(weights: Floats, *, signed: bool, bits: int) -> Stored:
    """One scale for each output; what `MatMulInteger` takes.

    Args:
        weights: float32 [inputs, outputs].
        signed: int8 around 0, or uint8 around 128.
        bits: 8 for -127 … 127; 7 for -63 … 63, so that 255 x 63 x 2 stays within 16 bits.
    """
    limit = 2 ** (bits - 1) - 1
    scales = _scales(weights, 0, limit)
    rounded = np.rint(weights / scales)
    values = rounded.astype(np.int8) if signed else (rounded + ZERO).astype(np.uint8)
    return Stored(values, scales)


def by_row(table: Floats) -> Stored:
    """One scale for each row, float32 [rows, 1]: an embedding table, in int8."""
    scales = _scales(table, 1, 127)[:, None]
    return Stored(np.rint(table / scales).astype(np.int8), scales)


def by_block(weights: Floats, block_size: int) -> Stored:
    """One scale for each block of inputs of an output; what `MatMulNBits` takes.

    Args:
        weights: float32 [inputs, outputs].
        block_size: A power of two, at least 16; the last block is filled with zeros.

    Returns:
        uint8 [outputs, blocks, block_size] around 128, and float32 [outputs, blocks].
    """
    inputs, outputs = weights.shape
    padded = np.pad(weights, ((0, -inputs % block_size), (0, 0)))
    blocks = np.ascontiguousarray(padded.T).reshape(outputs, -1, block_size)
    scales = _scales(blocks, 2, 127)
    return Stored((np.rint(blocks / scales[..., None]) + ZERO).astype(np.uint8), scales)


def smoothing(activations: Floats, weights: Floats) -> Floats:
    """Factors that move outliers of the activations into the weights: x / f and f * W.

    Dividing a channel and multiplying its weights by the same number changes no product, but evens
    out what int8 has to hold with one scale. Powers of two, so that fp32 rounds nothing.

    Source: SmoothQuant (Xiao et al., 2023), with equal parts of the burden (alpha = 0.5).

    Args:
        activations: float32 [inputs]; the largest |x| seen in each channel.
        weights: float32 [inputs]; the largest |w| that each channel meets.
    """
    seen = np.maximum(activations, activations.max() * UNSEEN)  # other texts may use a silent one
    ratio = np.sqrt(np.maximum(seen, TINY) / np.maximum(weights, TINY))
    ratio /= np.exp(np.mean(np.log(ratio)))  # the overall scale is free: keep it
    return np.asarray(np.exp2(np.rint(np.log2(ratio))), dtype=np.float32)


def _scales(values: Floats, axis: int, limit: int) -> Floats:
    largest = np.abs(values).max(axis=axis)
    return np.asarray(np.maximum(largest / limit, TINY), dtype=np.float32)
