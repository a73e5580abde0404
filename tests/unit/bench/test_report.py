from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import report
from bench.outcomes import Summary
from bench.plot import plotted


def cells(table: str, row: str) -> list[str]:
    (found,) = (line for line in table.splitlines() if line.startswith(f"| {row} |"))
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_a_row_shows_both_rates_the_figure_and_its_bar(summary: Summary) -> None:
    table = report.markdown(summary)
    direct, ours, figure, bar, aim, verdict, *spent = cells(table, "get x64")[2:]
    assert (direct, ours, figure) == ("1,000", "4,000", "4.00 (4.00 to 4.00)")
    assert (bar, aim, verdict, spent) == ("≥ 2.5", "3.5", "reached", ["10 / 20", "10 / 20"])
    assert cells(table, "get x1")[4:8] == ["2.00 (2.00 to 2.00) of the latency", "≤ 2.6", "2", "reached"]


def test_what_missed_its_bar_is_said(summary: Summary) -> None:
    table = report.markdown(summary)
    assert cells(table, "put x64")[7] == "**not reached**"
    assert cells(table, "unary get")[4:8] == ["not measured", "≥ 0.45", "0.7", "**not reached**"]
    shown = {outcome.row: report.line(outcome) for outcome in summary.outcomes}
    assert "NOT REACHED" in shown["put x64"]
    assert "NOT REACHED: no h2load" in shown["unary get"]
    assert "REACHED" not in shown["get x64"] + shown["envelope"] + shown["mixed"]


def test_the_closing_line_counts_the_bars(summary: Summary) -> None:
    assert report.closing(summary) == "3 of 5 bars reached"
    assert "measures nothing" in report.closing(replace(summary, quick=True))
    assert "not all rows" in report.closing(replace(summary, complete=False))


def test_growth_is_a_table_with_ratios(summary: Summary) -> None:
    table = report.markdown(summary)
    assert "| get, PostgreSQL, by callers | direct/s | Keepstate/s | ratio |" in table
    assert "| 64 | 6,400 | 19,200 | 3.00 |" in table


def test_the_tables_go_between_the_marks_of_a_page() -> None:
    page = f"before\n{report.MARKS[0]}\nold\n{report.MARKS[1]}\nafter\n"
    new = report.inserted(page, "new")
    assert new == f"before\n{report.MARKS[0]}\n\nnew\n\n{report.MARKS[1]}\nafter\n"
    assert report.inserted(new, "new") == new
    with pytest.raises(ValueError, match="marks"):
        report.inserted("before\nafter\n", "new")


def test_the_page_shows_the_run_that_is_kept() -> None:
    kept = report.KEPT / "summary.json"
    text = report.markdown(Summary.from_json(kept.read_text())) if kept.exists() else report.NONE
    page = report.PAGE.read_text()
    assert report.inserted(page, text) == page


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(report, "SUMMARY", tmp_path / "summary.json")
    monkeypatch.setattr(report, "PAGE", tmp_path / "performance.md")
    monkeypatch.setattr(report, "KEPT", tmp_path / "performance")
    report.PAGE.write_text("\n".join(report.MARKS))
    return tmp_path


def test_a_whole_run_goes_into_the_documents(summary: Summary, folders: Path) -> None:
    (folders / "summary.json").write_text(summary.to_json())
    assert report.main() == 0
    assert report.markdown(summary) in report.PAGE.read_text()
    assert Summary.from_json((folders / "performance" / "summary.json").read_text()) == summary
    assert (folders / "performance" / "plot.svg").read_text() == plotted(summary)


@pytest.mark.parametrize(("quick", "complete"), [(True, True), (False, False)])
def test_no_other_run_does(summary: Summary, folders: Path, quick: bool, complete: bool) -> None:
    assert report.main() == 1
    (folders / "summary.json").write_text(replace(summary, quick=quick, complete=complete).to_json())
    assert report.main() == 1
    assert report.PAGE.read_text() == "\n".join(report.MARKS)


def test_the_plot_shows_each_row_and_what_grows(summary: Summary) -> None:
    root = ElementTree.fromstring(plotted(summary))
    texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"get x64", "put x64", "get x1", "mixed", "get, by callers"} <= set(texts)
    assert "4.00" in texts  # of get x64
    assert "0.50" in texts  # of get x1, as a rate
    assert len(list(root.iter("{http://www.w3.org/2000/svg}polyline"))) == 4


def test_a_plot_of_nothing_is_a_picture_too(summary: Summary) -> None:
    ElementTree.fromstring(plotted(replace(summary, outcomes=[], series=[])))
