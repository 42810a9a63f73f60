"""The report as a page says what report.json says, needs nothing beside it, and takes no markup from anybody."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from pager_ray.metrics.catalogue import metrics_of
from pager_ray.report.evaluation import make_report
from pager_ray.report.evaluation_page import page
from tests.report.scores import ALIGNMENTS, FAMILIES, facts, score_rows, state_of

REPORT = make_report(state_of(score_rows(17)), facts(excluded=3))
PICTURES = {"distributions.png": b"\x89PNG figure", "1_worst_hall.jpg": b"\xff\xd8 picture"}


class Seen(HTMLParser):
    """Tags, attributes and cells of a page, and whether every tag that was opened is closed."""

    ALONE = frozenset({"meta", "img", "br", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "style", "onerror")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in self.ALONE:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def test_every_number_is_on_the_page() -> None:
    """Each metric has its row, with mean and interval as in report.json, and every knob stands behind them."""
    text = page(REPORT, PICTURES)
    seen = Seen(text)
    assert seen.open == []
    for metric in metrics_of(FAMILIES, ALIGNMENTS, solid_angle=False):
        stats = REPORT["metrics"][metric.column]
        wanted = [metric.alignment or "–", f"{stats['mean']:.4f}", f"{stats['low']:.4f}…{stats['high']:.4f}"]
        assert any(row[0].startswith(metric.label) and row[1:4] == wanted for row in seen.rows), metric.column
    assert ["protocol.height", "2048"] in seen.rows
    order = [text.index(part) for part in ("<h2>Metrics", "<h2>Pictures", "<h2>Not in the means", "<summary>Protocol")]
    assert order == sorted(order)


def test_nothing_is_fetched_and_nothing_runs() -> None:
    """Pictures are part of the page; there is no script, and what could be asked for elsewhere is forbidden."""
    text = page(REPORT, PICTURES)
    seen = Seen(text)
    assert len(seen.links) == len(PICTURES)
    assert all(link.startswith(("data:image/png;base64,", "data:image/jpeg;base64,")) for link in seen.links)
    assert not {"script", "iframe", "object", "link", "form", "base"} & set(seen.tags)
    assert "default-src 'none'" in text


def test_names_of_others_are_text() -> None:
    """Markup and links in ids, messages, labels and names of pictures are shown as they are typed."""
    hostile = '<img src=x onerror=alert(1)>[a](javascript:b)![c](https://d.example/e.png)"|`'
    report = make_report(state_of(score_rows(3)), facts(excluded=1))
    report["excluded"][0] |= {"id": hostile, "message": hostile}
    report["dataset"]["name"] = report["checkpoint"]["name"] = hostile
    report["slices"] = {"scene": {hostile: next(iter(next(iter(REPORT["slices"].values())).values()))}}
    seen = Seen(page(report, {f"{hostile}.jpg": b"\xff\xd8"}))
    assert seen.open == []
    assert all(link.startswith("data:image/jpeg;base64,") for link in seen.links)
    assert seen.tags.count("img") == 1
    assert "a" not in seen.tags
    assert any(hostile in cell for row in seen.rows for cell in row)


def test_wide_tables_scroll_by_themselves() -> None:
    """Every table lies in a box of its own, and the page fits a phone."""
    text = page(REPORT, {})
    assert len(re.findall("<table>", text)) == len(re.findall('<div class="scroll"><table>', text)) > 2
    assert 'name="viewport"' in text
    assert "Pictures" not in text
