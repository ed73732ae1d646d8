"""A pytest plugin beside nbval: `pytest -p workbench.check.plugin --check-notebooks notebooks/09_neuronqc.ipynb`.

A test for every code cell; the notebook is executed once, before the first of them. With `--nbval-lax` as well, both
collect the same file: nbval compares the text of check cells, this compares all that the cells say with the reference.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from workbench.check import Report
    from workbench.errors import WorkbenchError


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("check", "executed notebooks against what they said before")
    group.addoption("--check-notebooks", action="store_true", help="check notebooks against their references")
    group.addoption("--check-timeout", type=float, default=600.0, help="seconds that a cell may take; default 600")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> "Notebook | None":
    if parent.config.getoption("--check-notebooks") and file_path.suffix == ".ipynb":
        return Notebook.from_parent(parent, path=file_path)
    return None


class Different(Exception):
    """A cell does not say what it said."""


class Notebook(pytest.File):
    """The cells of a notebook, checked together."""

    def collect(self) -> Iterator[pytest.Item]:
        from workbench.check import books

        for cell in books.cells(books.read(self.path)):
            yield CheckedCell.from_parent(self, name=f"check cell {cell.number}", number=cell.number)

    @cached_property
    def report(self) -> "Report | WorkbenchError":
        """What the check says; an error is kept as well, so that no cell executes the notebook again."""
        from workbench import check
        from workbench.errors import WorkbenchError

        try:
            return check.check(self.path, timeout=self.config.getoption("--check-timeout"))
        except WorkbenchError as error:
            return error


class CheckedCell(pytest.Item):
    """All that is to be said of one cell."""

    def __init__(self, *, number: int, **others) -> None:
        super().__init__(**others)
        self.number = number

    def runtest(self) -> None:
        report = self.parent.report
        if isinstance(report, Exception):
            raise report
        found = [str(one) for one in report.findings if one.cell == self.number]
        if found:
            raise Different("\n".join(found))

    def repr_failure(self, excinfo: pytest.ExceptionInfo, style: str | None = None):
        from workbench.errors import WorkbenchError

        if isinstance(excinfo.value, Different | WorkbenchError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"{self.path.name}, {self.name}"
