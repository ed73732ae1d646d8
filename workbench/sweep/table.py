"""What a sweep leaves: sweep.csv, and the table on the terminal; its report.html is made in report.py."""

import csv
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


def common(rows: Sequence[Row]) -> list[str]:
    """The scores worth showing side by side: all, but none of several notebooks, which have few in common."""
    return scores_of(rows) if len({row.point.source for row in rows}) == 1 else []


def heads(names: Sequence[str], scores: Sequence[str]) -> list[str]:
    """What stands over the columns of `Row.cells`."""
    return [*names, "state", "seconds", *scores, "reason"]


def write(folder: Path, names: Sequence[str], rows: Sequence[Row]) -> None:
    scores = scores_of(rows)
    with runs.replacing(folder / "sweep.csv", "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*heads(names, scores), "folder"])
        writer.writerows([*row.cells(names, scores), row.point.folder.name] for row in rows)


def show(names: Sequence[str], rows: Sequence[Row], goal: str = "") -> str:
    """The table as text, with the score that is the goal, if one is, before the others; the longest sweeps are cut."""
    scores = sorted(common(rows), key=lambda name: name != goal)[:SCORES]
    lines = [[*names, "state", "seconds", *scores]]
    lines += [[shown(cell) for cell in row.cells(names, scores)[:-1]] for row in rows[:LONGEST]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    return "\n".join([*text, *([f"... {len(rows) - LONGEST} more in sweep.csv"] if len(rows) > LONGEST else [])])


def summary(states: Mapping[str, int] | Counter, seconds: float) -> str:
    """`16 runs: 10 done, 6 reused in 12 s`."""
    parts = [f"{states[name]} {name}" for name in ("done", "reused", "failed", "pruned", "stopped") if states.get(name)]
    return f"{sum(states.values())} runs: {', '.join(parts)} in {seconds:.1f} s"
