"""Executed notebooks against what they said before: `workbench check NOTEBOOK...`, and a pytest plugin beside nbval.

nbval stays the gate: it executes every notebook and compares the text of the few cells that keep their output. All
else is committed without outputs, so nbval cannot see a table whose numbers moved, a blank picture where a curve was,
a lost legend or a new warning. For these the checker keeps a reference beside the notebooks,
`references/<name>.json`: not the outputs but what they say, as *facts* (see `facts.py`), a few kilobytes a cell.

    cell -> outputs.facts -> {"output 2: column ap": Fact(words, numbers, picture), ...} -> judge.differences

Everything an output can be is brought to named facts of three parts, so that storing, comparing, measuring spread
and telling differences are each written once: words are compared letter by letter, numbers within a tolerance,
pictures as thumbnails. Addresses, times, paths and generated ids are taken out before. A whole number is exact; any
other may be off by the tolerance of its cell (1 %), by one unit in the last place that was printed, or by five times
the spread over the repeats from which the reference was made, whichever is most. Those repeats pretend to be other
machines: other numbers of threads, other instruction sets. What varies more than its own size is not compared, and
every report says what share of all statements was.

A cell states its own tolerance: tags `check-rtol=0.1`, `check-atol=1e-3`, `check-picture=0.2`, `check-ignore`, or
metadata `"check": {"rtol": 0.1, "columns": {"ap": 0.2, "seconds": null}}`; null is not compared.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.check import books, judge, references
from workbench.check.books import Cell
from workbench.check.judge import Difference, Known, Tolerance


@dataclass(frozen=True)
class Finding:
    """A difference and its cell."""

    notebook: str
    cell: int
    title: str
    difference: Difference

    def __str__(self) -> str:
        return f"{self.notebook}, cell {self.cell} ({self.title}): {self.difference}"


@dataclass
class Report:
    """What the check of one notebook says."""

    notebook: str
    cells: int
    findings: list[Finding] = field(default_factory=list)
    total: int = 0  # statements: a text, a number, a picture
    compared: int = 0
    left_out: dict[str, int] = field(default_factory=dict)  # cell and reason: how many statements

    @property
    def share(self) -> float:
        return self.compared / self.total if self.total else 0.0

    def summary(self) -> str:
        """One line: findings, and what share was compared."""
        count = len(self.findings)
        told = f"{count} finding{'s' * (count != 1)}" if count else "as it was"
        line = f"{self.notebook}: {told}; {self.compared} of {self.total} statements compared ({self.share:.1%})"
        return line + ("".join(f"\n  not compared: {why}: {number}" for why, number in self.left_out.items()))

    def record(self) -> dict[str, Any]:
        """The same, JSON-able."""
        told = [
            {"cell": one.cell, "title": one.title, **{name: str(part) for name, part in vars(one.difference).items()}}
            for one in self.findings
        ]
        counts = {"cells": self.cells, "statements": self.total, "compared": self.compared}
        return {"notebook": self.notebook, **counts, "left_out": self.left_out, "findings": told}


def check(
    path: Path,
    executed: Path | None = None,
    against: Path | None = None,
    tolerance: Tolerance | None = None,
    timeout: float = 600.0,
) -> Report:
    """Execute a notebook, or take `executed`, and compare it with its reference, or with the notebook `against`.

    Raises:
        InvalidNotebook: not a notebook, not executed, other code than the reference is of, a kernel that failed.
        InvalidParameter: a tolerance that cannot be read.
    """
    tolerance = tolerance or Tolerance()
    committed = books.cells(books.read(path))
    reference = references.of_notebook(against) if against else references.load(path)
    other = against.name if against else "its reference"
    books.matched(path, committed, [(source, title) for source, title, _ in reference], other)
    tolerances = [told(path, cell, tolerance) for cell in committed]
    book = books.executed(executed) if executed else books.run(path, timeout)
    found = books.cells(book)
    books.matched(executed or path, found, [(cell.source, cell.title) for cell in committed], path.name)
    report = Report(path.name, len(committed))
    for cell, one in [*books.form(committed), *books.order(found)]:
        report.findings.append(Finding(path.name, cell.number, cell.title, one))
    for cell, stored, (_, _, known), own in zip(found, committed, reference, tolerances):
        compare(report, cell, stored, known, own)
        if cell.stopped:
            break
    if not report.findings and not report.compared:
        remedy = "see the cells' tolerances; a notebook that shows nothing needs no check"
        raise books.InvalidNotebook(path.name, "something to compare", f"none of {report.total} statements", remedy)
    report.findings.sort(key=lambda one: one.cell)
    return report


def told(path: Path, cell: Cell, tolerance: Tolerance) -> Tolerance:
    """The tolerance of a cell; where it cannot be read, the error names the cell."""
    try:
        return tolerance.of(cell.node.metadata)
    except judge.InvalidParameter as error:
        raise judge.InvalidParameter(f"{path.name}, {cell}", error.expected, error.found, error.remedy) from None


def compare(report: Report, cell: Cell, stored: Cell, known: dict[str, Known], tolerance: Tolerance) -> None:
    """Compare one cell with its reference, and with the output that the committed notebook keeps."""
    for name, one in known.items():
        for part, reason in judge.statements(name, one, tolerance):
            report.total += 1
            report.compared += part
            if not part:
                why = f"cell {cell.number} ({cell.title}), {name.partition(':')[0]}: {reason}"
                report.left_out[why] = report.left_out.get(why, 0) + 1
    if tolerance.ignore or cell.node.execution_count is None:
        return
    found = cell.facts
    differences = judge.differences(known, found, tolerance)
    if books.KEPT & stored.tags and stored.node.outputs:
        kept = judge.differences(judge.merged([stored.facts]), found, tolerance)
        differences += [one for one in kept if one.what not in {other.what for other in differences}]
    report.findings += [Finding(report.notebook, cell.number, cell.title, one) for one in differences]
