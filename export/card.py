"""Writes `CARD.md` from a manifest: what a bundle is, from what, measured how, its licence."""

from __future__ import annotations

from edge.bundle import Manifest

__all__ = ["write_card"]


def write_card(manifest: Manifest, notes: str) -> str:
    """The card, in Markdown.

    Args:
        manifest: Need not be sealed; the card names no hashes of files.
        notes: What it is for and what it is bad at, in Markdown.
    """
    return "\n".join(
        [
            f"# {manifest.name} {manifest.version}",
            "",
            notes.strip(),
            "",
            "| | |",
            "|---|---|",
            *(f"| {key} | {value} |" for key, value in _facts(manifest).items()),
            "",
            "## Against the original in fp32",
            "",
            *(f"- {name}: {value:g}" for name, value in manifest.quantization.parity.items()),
            *_metrics(manifest),
            "",
        ]
    )


def _facts(manifest: Manifest) -> dict[str, str]:
    return {
        "task": manifest.task.value,
        "made from": f"{manifest.source.model}, `{manifest.source.revision}`",
        "architecture": manifest.architecture,
        "licence": manifest.licence,
        "window": f"{manifest.max_tokens} tokens",
        "quantisation": manifest.quantization.recipe,
        "ONNX opset": str(manifest.opset),
        "created": manifest.created_utc,
    }


def _metrics(manifest: Manifest) -> list[str]:
    if not manifest.metrics:
        return []
    rows = [f"- {m.name}: {m.value:g} (n = {m.n}, {m.dataset})" for m in manifest.metrics]
    return ["", "## Quality", "", *rows]
