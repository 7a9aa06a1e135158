"""The page: it stands alone, follows light and dark, and a user's text stays text."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from training.plots import INK as DRAWN_INK
from training.plots import (
    draw_bars,
    draw_confusion,
    draw_curves,
    draw_histograms,
    draw_intervals,
    draw_reliability,
)
from training.report_page import (
    INK,
    Badge,
    Facts,
    Figure,
    Heading,
    Page,
    Table,
    Text,
    write_page,
)

BINS = [{"confidence": 0.3, "accuracy": 0.2, "n": 5}, {"confidence": 0.9, "accuracy": 1.0, "n": 7}]
SVGS: dict[str, Callable[[], str]] = {
    "confusion": lambda: draw_confusion([[3, 1], [0, 4]], ["A", "B"]),
    "bars": lambda: draw_bars([("A", 0.5), ("B", 0.9)], 0.7, "F1"),
    "reliability": lambda: draw_reliability(BINS),
    "histograms": lambda: draw_histograms([("right", [0.5, 0.9]), ("wrong", [])]),
    "curves": lambda: draw_curves([("loss", [1, 2], [0.5, 0.1])], "epoch"),
    "intervals": lambda: draw_intervals([("accuracy", 0.1, -0.1, 0.2)], "gain"),
}


class Reader(HTMLParser):
    """Collects what a browser would show, and every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.shown: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        """Note it."""
        self.shown.append(data)


def written(*blocks: object) -> tuple[str, str]:
    """HTML and Markdown of a page of these."""
    with TemporaryDirectory() as name:
        page = Page("A page")
        page.add(*blocks)  # type: ignore[arg-type]  # blocks, all of them
        write_page(Path(name), page)
        return (Path(name) / "report.html").read_text(), (Path(name) / "report.md").read_text()


@hypothesis_settings(max_examples=60)
@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1))
def test_a_text_is_shown_as_it_is_and_makes_no_markup(text: str) -> None:
    """Neither in HTML nor, in a cell, in Markdown."""
    html, markdown = written(Table(("text", "n"), [(text, "1")]), Text(text), Badge(text, None))
    reader = Reader()
    reader.feed(html)

    assert reader.shown.count(text) >= 3
    allowed = {"html", "head", "meta", "title", "style", "body", "main", "h1", "p", "div"}
    assert set(reader.tags) <= allowed | {"table", "thead", "tbody", "tr", "th", "td"}
    row = next(line for line in markdown.splitlines() if line.endswith("| 1 |"))
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
    assert not re.search(r"(?<!\\)[<`\[]", row)


@pytest.mark.parametrize("name", list(SVGS))
def test_a_figure_takes_the_colour_of_the_page(name: str) -> None:
    """The same data give the same bytes, of no fixed size; the ink becomes the page's."""
    svg = SVGS[name]()
    assert svg == SVGS[name]()
    assert INK == DRAWN_INK
    assert INK in svg
    assert "viewBox" in svg
    assert not re.search(r"<svg[^>]* (width|height)=", svg)

    html, markdown = written(Figure("one", svg, "What <it> shows"))
    assert INK not in html
    assert "currentColor" in html
    assert 'aria-label="What &lt;it&gt; shows"' in html
    assert r"![What \<it\> shows](figures/one.svg)" in markdown


def test_the_page_needs_nothing_from_elsewhere() -> None:
    """No script, no address that would be fetched; it fits a phone and follows the reader."""
    figures = [Figure(name, make(), name) for name, make in SVGS.items()]
    html, _ = written(Heading("H"), Facts([("a", "b")]), *figures)

    assert "<script" not in html
    assert not re.search(r'(?:src|href)="(?!#|data:)', html)
    assert not re.search(r"url\((?!#)", html)
    assert 'name="viewport" content="width=device-width' in html
    assert "prefers-color-scheme:dark" in html


def test_figures_beside_the_markdown_are_dark_on_white(tmp_path: Path) -> None:
    """A viewer gives them no colour to take."""
    page = Page("A page")
    page.add(Figure("one", SVGS["bars"](), "bars"))
    write_page(tmp_path, page)
    svg = (tmp_path / "figures" / "one.svg").read_text()

    assert INK not in svg
    assert '<rect width="100%" height="100%" fill="#ffffff"/>' in svg


def test_many_labels_are_drawn_without_their_names() -> None:
    """150 names on one axis nobody reads; and the file stays small."""
    labels = [f"label_{n}" for n in range(150)]
    svg = draw_confusion([[int(i == j) for j in range(150)] for i in range(150)], labels)

    assert "label_7" not in svg
    assert len(svg) < 100_000


def test_markdown_holds_every_kind_of_block() -> None:
    """As a reader of the raw file sees it."""
    _, markdown = written(
        Heading("Numbers"),
        Badge("Passed", True),
        Facts([("n", "3")]),
        Table(("a", "n"), [("x", "1")]),
    )

    assert markdown.splitlines() == [
        *("# A page", "", "## Numbers", "", "**Passed**", "", "- n: 3", ""),
        *("| a | n |", "|---|---:|", "| x | 1 |"),
    ]
