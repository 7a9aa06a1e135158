"""`intentd-export build`: parses the options, and hands them on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge.bundle import Target
from export.examine import DEFAULT_TEMPLATE, Phase
from export.gate import Gate
from export.recipes import RECIPE_NAMES
from export.settings import AUTO, BuildOptions, Limits

__all__ = ["build"]

GATE, LIMITS = Gate(), Limits()
DEFAULT_MODEL = "facebook/bart-large-mnli"


def build(
    out: Annotated[Path, typer.Option(help="The bundle's directory; replaced.")],
    source: Annotated[
        str | None,
        typer.Argument(
            help=f"Hugging Face id, or a directory; {DEFAULT_MODEL} if not given, for phase a."
        ),
    ] = None,
    phase: Annotated[
        Phase, typer.Option(help="a: an NLI model for any labels; b: a classifier with its own.")
    ] = Phase.A,
    revision: Annotated[
        str, typer.Option(help="Branch, tag or commit on the hub; its commit is recorded.")
    ] = "main",
    recipe: Annotated[str, typer.Option(help=f"auto, or one of {', '.join(RECIPE_NAMES)}.")] = AUTO,
    fuse: Annotated[
        bool | None,
        typer.Option(
            "--fuse/--no-fuse",
            help="Fuse attention and trim the last layer; where it pays if not given.",
        ),
    ] = None,
    target: Annotated[
        Target, typer.Option(help="Instruction set to pack for; any is right everywhere.")
    ] = Target.ANY,
    template: Annotated[
        str | None,
        typer.Option(help=f'Hypothesis with one {{}}; "{DEFAULT_TEMPLATE}" if not given.'),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The bundle's name; else the source's.")] = None,
    version: Annotated[str, typer.Option(help="The bundle's version.")] = "1",
    licence: Annotated[
        str | None, typer.Option(help="Of the weights; else what the model card states.")
    ] = None,
    probes: Annotated[
        Path | None,
        typer.Option(
            help="JSON lines of your own: text, and labels for phase a; asked as well.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    min_agreement: Annotated[
        float, typer.Option(help="Gate: least share of equal labels.", min=0, max=1)
    ] = GATE.min_agreement,
    max_delta: Annotated[
        float, typer.Option(help="Gate: largest |Δscore|.", min=1e-6, max=1)
    ] = GATE.max_delta,
    evaluations: Annotated[
        int, typer.Option(help="Most trials of the search.", min=1)
    ] = LIMITS.evaluations,
    minutes: Annotated[
        float, typer.Option(help="Most minutes of the search.", min=0)
    ] = LIMITS.minutes,
    work_dir: Annotated[
        Path | None,
        typer.Option(help="Where intermediates lie; an interrupted build goes on from there."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the intermediates.")] = False,
) -> None:
    """Build a bundle from an NLI model or a classifier; prints its digest.

    Example: intentd-export build facebook/bart-large-mnli --out bart-bundle
    """
    if recipe not in (AUTO, *RECIPE_NAMES):
        raise typer.BadParameter(
            f"expected auto or one of {', '.join(RECIPE_NAMES)}, found {recipe}",
            param_hint="--recipe",
        )
    if source is None and phase is Phase.B:
        raise typer.BadParameter(
            "expected the directory that the training wrote, or an id on the hub, found none: "
            "a classifier has labels of its own, so there is no default",
            param_hint="SOURCE",
        )
    from export.examine import examine
    from export.hub import open_source
    from export.report import Reporter

    options = BuildOptions(
        out=out,
        recipe=recipe,
        fused=fuse,
        target=target,
        name=name,
        version=version,
        licence=licence,
        probes=probes,
        gate=Gate(min_agreement, max_delta),
        limits=Limits(evaluations, minutes),
        work_dir=work_dir,
        keep=keep,
    )
    reporter = Reporter()
    checkpoint = open_source(source or DEFAULT_MODEL, revision)
    traits = examine(checkpoint, phase, template)
    reporter.facts({"source": checkpoint.name, "revision": checkpoint.revision} | traits.facts())
    from export.build import build_bundle

    typer.echo(build_bundle(checkpoint, traits, options, reporter).digest)
