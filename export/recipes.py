"""Recipes as data: how a bundle's weights are stored, for which instruction set.

A recipe says what is to be done; `export.quantize` does it, and `export.choose` finds the fastest
that keeps the answers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from edge.bundle import Target

__all__ = ["RECIPE_NAMES", "Recipe", "Weights", "candidates"]


class Weights(StrEnum):
    """How the weights of matrix products are stored, fastest first."""

    INT8 = "int8"
    """Products in int8; each run quantises its activations anew, with one scale for all rows."""
    NBITS8 = "nbits8"
    """Stored in 8 bits a block, multiplied row by row (`MatMulNBits`), whatever the batch-mates."""
    FP32 = "fp32"


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to store a model's weights."""

    name: str
    weights: Weights
    signed: bool = True
    """int8: signed weights; unsigned ones overflow on no CPU, in slower products."""
    bits: int = 7
    """int8: 7 leaves room for two products in 16 bits, so that AVX2 without VNNI is exact too."""
    block_size: int = 32
    """nbits8: weights that share a scale."""
    smooth: bool = False
    """int8: move outliers of the activations into the weights before quantising."""
    search: bool = False
    """int8: leave the most sensitive products in fp32, as few as the gate allows."""
    excluded: tuple[str, ...] = ()
    """Nodes that stay in fp32; filled by the search."""
    int8_embeddings: bool = True
    """Store embedding tables in int8 with one scale a row."""
    fused: bool = False
    """Made from the graph that `export.fuse` leaves."""

    @property
    def batch_invariant(self) -> bool:
        """Whether a row's scores are independent of its batch-mates, up to rounding."""
        return self.weights is not Weights.INT8

    @property
    def title(self) -> str:
        """For people who watch a build."""
        excluded = f", {len(self.excluded)} in fp32" if self.excluded else ""
        return f"{self.name}{excluded}{'' if self.fused else ', not fused'}"

    def describe(self) -> str:
        """For the manifest and people: everything that sets it apart."""
        if self.weights is Weights.FP32:
            parts = []
        elif self.weights is Weights.NBITS8:
            parts = [f"blocks of {self.block_size}"]
        else:
            parts = ["per-channel", f"{self.bits}-bit {'signed' if self.signed else 'unsigned'}"]
        parts += ["smoothed"] * self.smooth + ["fused"] * self.fused
        parts += ["int8 embeddings"] * self.int8_embeddings
        if count := len(self.excluded):
            parts.append(f"{count} product{'s' * (count > 1)} in fp32")
        return ", ".join([self.name, *parts])


RECIPE_NAMES = ("int8", "int8-smooth", "int8-mixed", "nbits8", "fp32")


def candidates(target: Target, *, fused: bool = False) -> tuple[Recipe, ...]:
    """The recipes for an instruction set, in order of speed.

    Signed weights of 8 bits are for CPUs that sum in 32 bits: with AVX2 and AVX-512 alone, two
    products overflow the 16 bits that they are summed in (measured: 1,048,544 for 2,072,640).
    """
    exact = target in (Target.AVX512_VNNI, Target.ARM64)
    bits, signed = (8, True) if exact else (8, False) if target is Target.AVX2 else (7, True)
    plain = (
        Recipe("int8", Weights.INT8, signed, bits),
        Recipe("int8-smooth", Weights.INT8, signed, bits, smooth=True),
        Recipe("int8-mixed", Weights.INT8, signed, bits, smooth=True, search=True),
        Recipe("nbits8", Weights.NBITS8),
        Recipe("fp32", Weights.FP32, int8_embeddings=False),
    )
    return tuple(replace(recipe, fused=fused) for recipe in plain)
