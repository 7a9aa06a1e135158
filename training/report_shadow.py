"""The report of a shadow run: who is better, by how much, at what cost, and where they part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from training.report_assess import percent, shorten
from training.report_page import Badge, Block, Facts, Figure, Heading, Page, Table, Text, write_page

__all__ = ["shadow_blocks", "write_shadow"]

MOST_SHOWN = 30
GOOD = {"better": True, "not worse": True, "worse": False}
SIDES = ("champion", "candidate")


def write_shadow(
    folder: Path, found: Mapping[str, Any], disagreements: Sequence[Mapping[str, Any]]
) -> None:
    """Write report.html, report.md and figures/.

    Args:
        folder: Of the stage.
        found: shadow.json.
        disagreements: The first rows of disagreements.jsonl.
    """
    page = Page("Shadow: candidate against champion")
    page.add(*shadow_blocks(found))
    page.add(*_disagreement_blocks(disagreements))
    write_page(folder, page)


def shadow_blocks(found: Mapping[str, Any]) -> Iterator[Block]:
    """Verdict, golden rows, logged texts, cost, and what a box saw live."""
    yield Badge(f"The candidate: {found['verdict']}", GOOD.get(found["verdict"]))
    yield Text(f"{found['why']}.")
    titles = found["titles"]
    yield Facts([(side, titles[side]) for side in SIDES])
    yield from _golden_blocks(found)
    yield from _logged_blocks(found["logged"])
    yield Heading("Cost")
    yield Table(("", *SIDES), list(_cost_rows(found["cost"])))
    if found["live"] is not None:
        yield Heading("Live")
        yield Facts(list(_live_facts(found["live"])))


def _golden_blocks(found: Mapping[str, Any]) -> Iterator[Block]:
    from training.plots import draw_intervals

    golden, gains = found["golden"], found["bootstrap"]
    yield Heading(f"On {found['golden_file']}")
    yield Text(f"{golden['n']} rows with a label, {golden['n_oos']} with none.")
    yield Table(("", *SIDES), list(_golden_rows(golden)))
    names = {"accuracy": "accuracy", "macro_f1": "macro-F1", "served": "what an app gets is right"}
    values = [
        (title, *(gains[n][k] for k in ("value", "low", "high"))) for n, title in names.items()
    ]
    yield Figure(
        "gain",
        draw_intervals(values, "←  worse    better  →"),
        "By how much the candidate is better",
    )
    yield Table(
        ("candidate less champion", "found", "from", "to"),
        [(name, *(f"{x:+.3f}" for x in spread)) for name, *spread in values],
    )
    if golden["fallen"]:
        yield Text("Classes whose recall has fallen by more than 5 points:")
        rows = [
            (fall["label"], str(fall["n"]), *(f"{x:.3f}" for x in fall["recall"]))
            for fall in golden["fallen"][:MOST_SHOWN]
        ]
        yield Table(("class", "rows", *SIDES), rows)


def _golden_rows(golden: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    cards = [golden[side] for side in SIDES]
    for name, title in (("accuracy", "accuracy"), ("macro_f1", "macro-F1")):
        yield title, *(percent(card[name]) for card in cards)
    yield "calibration error", *(f"{card['ece']:.3f}" for card in cards)
    areas = [card["oos_auroc"] for card in cards]
    yield "out of scope, AUROC", *("–" if a is None else f"{a:.3f}" for a in areas)
    yield "answered at its thresholds", *(f"{card['answered']:.1%}" for card in cards)
    yield "what an app gets is right", *(percent(card["served"]) for card in cards)


def _logged_blocks(logged: Mapping[str, Any]) -> Iterator[Block]:
    yield Heading("On logged texts")
    if logged["skipped"]:
        yield Table(
            ("left out because", "records"), [(why, str(n)) for why, n in logged["skipped"].items()]
        )
    if not logged["compared"]:
        yield Text(
            "No text could be compared: name a predictions.db or an export that holds texts."
        )
        return
    failed = ", ".join(f"{side} {n}" for side, n in logged["failed"].items())
    yield Facts(
        [
            ("texts", f"{logged['texts']}, each once; not answered: {failed}"),
            ("the same label", percent(logged["agreement"])),
            ("disagreements", str(logged["disagreements"])),
            *(
                (f"answered by the {side}", f"{share:.1%}")
                for side, share in zip(SIDES, logged["answered"], strict=True)
            ),
        ]
    )
    yield Text("Nobody said who is right here: agreement is all that such texts can tell.")
    if logged["flips"]:
        rows = [(f["champion"], f["candidate"], str(f["n"])) for f in logged["flips"][:MOST_SHOWN]]
        yield Table((*SIDES, "texts"), rows)


def _cost_rows(cost: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    sides = [cost[side] for side in SIDES]
    yield "time a text, p50", *(f"{side['p50_ms']:.1f} ms" for side in sides)
    yield "time a text, p95", *(f"{side['p95_ms']:.1f} ms" for side in sides)
    yield "on the disk", *(f"{side['bytes'] / 1e6:.1f} MB" for side in sides)
    yield "weights", *(side["recipe"] for side in sides)
    yield "window", *(f"{side['window']} tokens" for side in sides)


def _live_facts(live: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    agreement = live["agreement"]
    yield "in the shadow", f"since {live['since_utc'] or '?'}, now {live['state']}"
    yield "requests", f"{live['requests']}, {live['dropped']} more were not compared"
    yield "the same label", "–" if agreement is None else f"{agreement:.1%}"
    yield "disagreements", f"{live['disagreements']}, in the box's own review"
    yield "failed", str(live["errors"])
    for side in SIDES:
        times = [live[side][name] for name in ("p50_ms", "p95_ms")]
        if None not in times:
            yield f"time a text, {side}", f"{times[0]:.1f} ms, p95 {times[1]:.1f} ms"


def _disagreement_blocks(rows: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    yield Heading("Where they part")
    if not rows:
        yield Text("Nowhere: both give every text the same label.")
        return
    yield Text(
        "The surest first. All are in disagreements.jsonl; intentd-train golden import "
        "--unlabelled takes them, for people to judge."
    )
    yield Table(
        ("text", *SIDES, "right"),
        [
            (
                shorten(row["text"]),
                f"{row['champion']['raw_label']} {row['champion']['score']:.2f}",
                f"{row['candidate']['raw_label']} {row['candidate']['score']:.2f}",
                (row["label"] or "none of these") if row["origin"] == "golden" else "?",
            )
            for row in rows[:MOST_SHOWN]
        ],
    )
