"""A report as a list of blocks, written as one HTML page and as Markdown. It knows no stage.

The page stands alone: no script, no font and no picture from elsewhere; it fits a phone, and
follows the reader's light or dark.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from training.rows import new_file

__all__ = ["Badge", "Facts", "Figure", "Heading", "Page", "Table", "Text", "write_page"]

INK = "#010203"
"""As `training.plots` draws what takes the colour of the words around it."""
LIGHT_INK = "#222222"
FIGURES = "figures"


@dataclass(frozen=True, slots=True)
class Heading:
    """Of a section."""

    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Badge:
    """A verdict."""

    text: str
    good: bool | None
    """None: neither."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Table:
    """Columns; those whose every cell is a number stand to the right."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture."""

    name: str
    """Of its file beside the Markdown, without ending."""
    svg: str
    caption: str
    """What it shows; read out where it is not seen."""


Block = Heading | Text | Badge | Facts | Table | Figure


@dataclass(slots=True)
class Page:
    """A report in the making."""

    title: str
    blocks: list[Block] = field(default_factory=list)

    def add(self, *blocks: Block) -> None:
        """Append."""
        self.blocks.extend(blocks)


def write_page(folder: Path, page: Page) -> None:
    """Write report.html, report.md and the figures that the latter shows.

    Raises:
        OSError: The disk is full, say.
    """
    figures = [block for block in page.blocks if isinstance(block, Figure)]
    if figures:
        (folder / FIGURES).mkdir(exist_ok=True)
    for figure in figures:
        _write(folder / FIGURES / f"{figure.name}.svg", _standalone(figure.svg))
    _write(folder / "report.html", _html(page))
    _write(folder / "report.md", _markdown(page))


def _write(path: Path, text: str) -> None:
    with new_file(path) as stream:
        stream.write(text.encode())


def _html(page: Page) -> str:
    body = "\n".join(part for block in page.blocks for part in _html_block(block))
    title = html.escape(page.title)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>'
        '\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{body}\n"
        "</main>\n</body>\n</html>\n"
    )


def _html_block(block: Block) -> Iterator[str]:
    match block:
        case Heading(text):
            yield f"<h2>{html.escape(text)}</h2>"
        case Text(text):
            yield f"<p>{html.escape(text)}</p>"
        case Badge(text, good):
            kind = {True: "good", False: "bad", None: "open"}[good]
            yield f'<p class="badge {kind}">{html.escape(text)}</p>'
        case Facts(items):
            pairs = (f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in items)
            yield f"<dl>{''.join(pairs)}</dl>"
        case Table(header, rows):
            yield _html_table(header, rows)
        case Figure(_, svg, caption):
            picture = svg.replace(INK, "currentColor").replace(
                "<svg", f'<svg role="img" aria-label="{html.escape(caption)}"', 1
            )
            yield f"<figure>{picture}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    right = _numeric(header, rows)
    classes = [' class="n"' if flag else "" for flag in right]
    head = "".join(
        f"<th{kind}>{html.escape(cell)}</th>" for kind, cell in zip(classes, header, strict=True)
    )
    lines = (
        "".join(
            f"<td{kind}>{html.escape(cell)}</td>" for kind, cell in zip(classes, row, strict=True)
        )
        for row in rows
    )
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    whole = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="wide"><table>{whole}</table></div>'


def _markdown(page: Page) -> str:
    parts = [f"# {_escape(page.title)}", *(_markdown_block(block) for block in page.blocks)]
    return "\n\n".join(parts) + "\n"


def _markdown_block(block: Block) -> str:
    match block:
        case Heading(text):
            return f"## {_escape(text)}"
        case Text(text):
            return _escape(text)
        case Badge(text, _):
            return f"**{_escape(text)}**"
        case Facts(items):
            return "\n".join(f"- {_escape(name)}: {_escape(value)}" for name, value in items)
        case Table(header, rows):
            right = _numeric(header, rows)
            lines = [_line(header), "|" + "|".join("---:" if r else "---" for r in right) + "|"]
            return "\n".join([*lines, *map(_line, rows)])
        case Figure(name, _, caption):
            return f"![{_escape(caption)}]({FIGURES}/{name}.svg)"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_escape(cell) for cell in cells)} |"


def _escape(text: str) -> str:
    """A user's text is text: it makes no table, no link, no heading and no second line."""
    plain = " ".join(text.split())
    for sign in "\\`*_|[]<>#":
        plain = plain.replace(sign, f"\\{sign}")
    return plain


def _numeric(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[bool]:
    """Whether a column holds numbers alone."""
    return [
        bool(rows) and all(row[i][:1] in "0123456789+-–" for row in rows)
        for i in range(len(header))
    ]


def _standalone(svg: str) -> str:
    """For a viewer without a page around it: dark on white."""
    sheet = '<rect width="100%" height="100%" fill="#ffffff"/>'
    start = svg.index(">") + 1
    return svg[:start] + sheet + svg[start:].replace(INK, LIGHT_INK) + "\n"


STYLE = """
:root{--ink:#1f2430;--soft:#5d6472;--paper:#fff;--line:#dfe2e8;--card:#f6f7f9;
--good:#1a7f4b;--bad:#b3401f;--open:#7a5c00}
@media (prefers-color-scheme:dark){:root{--ink:#e6e8ee;--soft:#a2a9b8;--paper:#14171d;
--line:#333945;--card:#1c2028;--good:#5fd39a;--bad:#ff9272;--open:#e8c55a}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:50rem;margin:0 auto;padding:1rem}
h1{font-size:1.5rem;line-height:1.25;margin:.5rem 0 1rem}
h2{font-size:1.15rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line);padding-bottom:.25rem}
p{margin:.5rem 0}
.badge{border-left:.3rem solid;padding:.35rem .75rem;background:var(--card);font-weight:600}
.good{border-color:var(--good);color:var(--good)}
.bad{border-color:var(--bad);color:var(--bad)}
.open{border-color:var(--open);color:var(--open)}
dl{display:grid;grid-template-columns:minmax(8rem,max-content) 1fr;gap:.2rem 1rem;margin:.5rem 0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
.wide{overflow-x:auto;margin:.75rem 0}
table{border-collapse:collapse;font-size:.9rem;min-width:100%}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:600;white-space:nowrap}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td:first-child:not(.n){min-width:9rem}
@media (max-width:34rem){dl{display:block}dd{margin:0 0 .5rem}}
figure{margin:1rem 0}figure svg{width:100%;max-width:30rem;height:auto;display:block}
figure svg text{font-family:inherit!important}
figcaption{color:var(--soft);font-size:.9rem}
"""
