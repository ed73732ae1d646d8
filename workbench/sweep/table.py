"""What a sweep leaves: sweep.csv, index.html with links to the runs' reports, and the table on the terminal."""

import csv
import html
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench import runs
from workbench.notebooks import Outcome, Point, title
from workbench.sweep.grid import shown

LONGEST = 50  # rows on the terminal; all are in sweep.csv
SCORES = 6  # columns of scores on the terminal


@dataclass(frozen=True)
class Row:
    """One run of a sweep and how it ended."""

    point: Point
    outcome: Outcome

    def cells(self, names: Sequence[str], scores: Sequence[str]) -> list[Any]:
        asked, outcome = {"notebook": title(self.point.source), **self.point.asked}, self.outcome
        return [
            *(asked.get(name, "") for name in names), outcome.state, round(outcome.seconds, 2),
            *(outcome.scores.get(name, "") for name in scores), outcome.reason,
        ]  # fmt: skip


def scores_of(rows: Sequence[Row]) -> list[str]:
    """The names of all scores, those of the method itself before those of other arms."""
    names = dict.fromkeys(name for row in rows for name in row.outcome.scores)
    return sorted(names, key=lambda name: "." in name)


def write(folder: Path, title: str, names: Sequence[str], rows: Sequence[Row]) -> None:
    scores = scores_of(rows)
    heads = [*names, "state", "seconds", *scores, "reason"]
    with runs.replacing(folder / "sweep.csv", "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*heads, "folder"])
        writer.writerows([*row.cells(names, scores), row.point.folder.name] for row in rows)
    with runs.replacing(folder / "index.html", "w") as file:
        file.write(page(folder, title, heads, [(row, row.cells(names, scores)) for row in rows]))


def page(folder: Path, title: str, heads: Sequence[str], rows: Sequence[tuple[Row, list[Any]]]) -> str:
    """A table in HTML whose rows link to the report, or to the notebook of a run that has none."""
    cell = lambda value, tag="td": f"<{tag}>{html.escape(shown(value))}</{tag}>"  # noqa: E731
    lines = []
    for row, cells in rows:
        file = next((one for one in ("report.html", "notebook.ipynb") if (row.point.folder / one).is_file()), "")
        link = os.path.relpath(row.point.folder / file, folder)
        linked = f'<td><a href="{html.escape(link)}">{file}</a></td>' if file else "<td></td>"
        lines.append(f"<tr>{''.join(map(cell, cells))}{linked}</tr>")
    style = "body{font-family:sans-serif}td,th{padding:.2em .8em;text-align:right}tr:nth-child(even){background:#eee}"
    head = "".join(cell(name, "th") for name in heads)
    return (
        f"<!DOCTYPE html><html lang='en'><meta charset='utf-8'><title>{html.escape(title)}</title>"
        f"<style>{style}</style>"
        f"<h1>{html.escape(title)}</h1><table><tr>{head}</tr>\n" + "\n".join(lines) + "</table></html>\n"
    )


def show(names: Sequence[str], rows: Sequence[Row]) -> str:
    """The table as text; the longest sweeps are cut."""
    scores = scores_of(rows)[:SCORES]
    lines = [[*names, "state", "seconds", *scores]]
    lines += [[shown(cell) for cell in row.cells(names, scores)[:-1]] for row in rows[:LONGEST]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    return "\n".join([*text, *([f"... {len(rows) - LONGEST} more in sweep.csv"] if len(rows) > LONGEST else [])])


def summary(states: Mapping[str, int] | Counter, seconds: float) -> str:
    """`16 runs: 10 done, 6 reused in 12 s`."""
    parts = [f"{states[name]} {name}" for name in ("done", "reused", "failed", "pruned", "stopped") if states.get(name)]
    return f"{sum(states.values())} runs: {', '.join(parts)} in {seconds:.1f} s"
