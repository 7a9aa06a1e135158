"""Matrices in 8 bits: how far they move, and what they never do."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from export.weights import by_block, by_column, by_row, smoothing


@pytest.fixture
def matrix() -> npt.NDArray[np.float32]:
    """64 inputs, 24 outputs, one of them a hundred times larger, one all zeros."""
    values = np.random.default_rng(1).normal(size=(64, 24)).astype(np.float32)
    values[:, 3] *= 100
    values[:, 4] = 0
    return values


@pytest.mark.parametrize(("signed", "bits"), [(True, 8), (True, 7), (False, 8)])
def test_columns_keep_half_a_step_each(
    matrix: npt.NDArray[np.float32], signed: bool, bits: int
) -> None:
    """A large column costs the others nothing."""
    stored = by_column(matrix, signed=signed, bits=bits)
    middle = 0 if signed else 128
    error = np.abs((stored.values.astype(np.float32) - middle) * stored.scales - matrix)

    assert stored.values.dtype == (np.int8 if signed else np.uint8)
    assert (error <= stored.scales * 0.5001).all()
    assert not error[:, 4].any()


def test_seven_bits_leave_room_for_two_products(matrix: npt.NDArray[np.float32]) -> None:
    """255 x 63 x 2 < 2^15: AVX2 without VNNI adds pairs of products in 16 bits."""
    largest = int(np.abs(by_column(matrix, signed=True, bits=7).values.astype(int)).max())

    assert 2 * 255 * largest < 2**15
    assert 2 * 255 * 127 > 2**15  # what eight bits would do


def test_rows_keep_half_a_step_each(matrix: npt.NDArray[np.float32]) -> None:
    """A token with large numbers costs the others nothing."""
    stored = by_row(matrix.T)
    error = np.abs(stored.values * stored.scales - matrix.T)

    assert stored.scales.shape == (24, 1)
    assert (error <= stored.scales * 0.5001).all()


def test_blocks_are_padded_and_keep_half_a_step_each(matrix: npt.NDArray[np.float32]) -> None:
    """50 inputs make two blocks of 32."""
    stored = by_block(matrix[:50], 32)
    restored = ((stored.values.astype(np.float32) - 128) * stored.scales[..., None]).reshape(24, 64)

    assert stored.values.shape == (24, 2, 32)
    assert np.abs(restored[:, :50].T - matrix[:50]).max() <= stored.scales.max() * 0.5001
    assert not restored[:, 50:].any()


def test_smoothing_changes_no_product_and_evens_the_channels(
    matrix: npt.NDArray[np.float32],
) -> None:
    """Dividing by powers of two and multiplying back gives the very same bits."""
    activations = np.random.default_rng(2).normal(size=(9, 64)).astype(np.float32)
    activations[:, 7] *= 512
    seen, met = np.abs(activations).max(axis=0), np.abs(matrix).max(axis=1)
    factors = smoothing(seen, met)
    smooth = seen / factors

    np.testing.assert_array_equal(activations / factors * factors, activations)
    np.testing.assert_allclose(
        (activations / factors) @ (matrix * factors[:, None]), activations @ matrix, rtol=1e-3
    )
    assert smooth.max() / np.median(smooth) < 0.2 * seen.max() / np.median(seen)


def test_silent_channel_is_not_blown_up() -> None:
    """Another text may use a channel that was never seen at work."""
    factors = smoothing(np.array([1, 1, 0], np.float32), np.ones(3, np.float32))

    assert factors.max() / factors.min() <= 64
