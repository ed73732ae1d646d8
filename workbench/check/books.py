"""Notebooks: read, executed in a fresh kernel, and what is wrong with them whatever their outputs say."""

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from workbench.check import judge, outputs
from workbench.check.facts import Facts
from workbench.errors import WorkbenchError

KEPT = {"nbval-check-output", "keep_output"}


class InvalidNotebook(WorkbenchError):
    """A file that is no notebook, a notebook that was not executed, or one whose kernel failed."""


@dataclass(frozen=True)
class Cell:
    """A code cell: its number among the code cells from 1, which is its count in a run from top to bottom."""

    number: int
    node: NotebookNode

    @property
    def title(self) -> str:
        lines = [line.strip() for line in self.node.source.splitlines()]
        return judge.short(next((line for line in lines if line and not line.startswith("#")), "empty"), 40)

    @property
    def source(self) -> str:
        """A digest of the code, whatever the space at its ends."""
        return hashlib.sha256(self.node.source.strip().encode()).hexdigest()[:12]

    @property
    def tags(self) -> set[str]:
        return set(self.node.metadata.get("tags", []))

    @property
    def facts(self) -> Facts:
        return outputs.facts(self.node.outputs)

    @property
    def stopped(self) -> bool:
        """Whether an error in it ended the run."""
        return any(one.output_type == "error" for one in self.node.outputs) and "raises-exception" not in self.tags

    def __str__(self) -> str:
        return f"cell {self.number} ({self.title})"


def read(path: Path) -> NotebookNode:
    """A notebook of any version, as version 4.

    Raises:
        InvalidNotebook: no file, or not a notebook.
    """
    try:
        book = nbformat.read(path, as_version=4)
        nbformat.validate(book)
    except OSError as error:
        raise InvalidNotebook(path, "a notebook", error.strerror or str(error), "check the path") from None
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        told = judge.short(str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise InvalidNotebook(path, "a notebook", f"another file ({told})", "give a .ipynb file") from None
    return book


def cells(book: NotebookNode) -> list[Cell]:
    """The code cells with code, without the one in which papermill sets parameters."""
    nodes = [cell for cell in book.cells if cell.cell_type == "code" and cell.source.strip()]
    kept = [cell for cell in nodes if "injected-parameters" not in cell.metadata.get("tags", [])]
    return [Cell(number, node) for number, node in enumerate(kept, 1)]


def executed(path: Path) -> NotebookNode:
    """A notebook that holds the outputs of a run, of all of it or up to an error.

    Raises:
        InvalidNotebook: its first cell was not executed.
    """
    book = read(path)
    if all(cell.node.execution_count is None for cell in cells(book)[:1]):
        remedy = "execute it, or leave that to the checker"
        raise InvalidNotebook(path, "an executed notebook", "one without outputs", remedy)
    return book


def run(path: Path, timeout: float = 600.0, env: Mapping[str, str] | None = None) -> NotebookNode:
    """Execute a notebook in a fresh kernel of this Python, in its own folder, with an empty folder for runs.

    An error in a cell ends it; what was done up to there is returned, the error among the outputs.

    Raises:
        InvalidNotebook: the kernel died, or a cell took longer than `timeout` seconds.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    book = read(path)
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    started: list[int] = []
    with tempfile.TemporaryDirectory(prefix="workbench-check-") as folder:
        own = {**os.environ, "WORKBENCH_RUNS": str(Path(folder) / "runs"), **(env or {})}
        client = NotebookClient(
            book,
            timeout=timeout,
            kernel_name="python3",
            resources={"metadata": {"path": str(path.absolute().parent)}},
            store_widget_state=False,
            on_cell_start=lambda cell, cell_index: started.append(cell_index),
        )
        try:
            client.execute(env=own, stderr=subprocess.DEVNULL)  # of the kernel, not of cells
        except CellExecutionError:
            pass
        except (CellTimeoutError, DeadKernelError) as error:
            node = book.cells[started[-1]] if started else None
            where = next((str(cell) for cell in cells(book) if cell.node is node), "the start")
            if isinstance(error, DeadKernelError):
                remedy = "run the cell by itself; a lack of memory is the usual reason"
                raise InvalidNotebook(path, "a kernel that lives", f"one that died in {where}", remedy) from None
            found = f"{where} still running"
            raise InvalidNotebook(path, f"cells of at most {timeout:g} s", found, "give --timeout SECONDS") from None
    return book


def matched(path: Path, first: list[Cell], second: list[tuple[str, str]], other: str) -> None:
    """See that two notebooks have the same code.

    Raises:
        InvalidNotebook: a cell differs; it is named.
    """
    remedy = "check what is meant, then renew the reference with `workbench check --update`"
    for cell, (source, title) in zip(first, second):
        if cell.source != source:
            raise InvalidNotebook(f"{path.name}, {cell}", f"the code of {other}", f"other code than ({title})", remedy)
    if len(first) != len(second):
        raise InvalidNotebook(path.name, f"{len(second)} code cells as in {other}", f"{len(first)}", remedy)


def form(committed: list[Cell]) -> list[tuple[Cell, judge.Difference]]:
    """What is wrong with the kept outputs of a committed notebook; nbval passes an emptied check cell silently."""
    found = []
    for cell in committed:
        if "nbval-check-output" not in cell.tags:
            continue
        if not cell.node.outputs:
            silent = ", which nbval passes silently" if cell.node.execution_count is None else ""
            found.append((cell, judge.Difference("check cell", "a stored output", f"none{silent}")))
        elif cell.node.execution_count is None:
            found.append((cell, judge.Difference("check cell", "an execution count", "none")))
        for tag in ("nbval-ignore-output", "nbval-skip", "skip-execution"):
            if tag in cell.tags:
                found.append((cell, judge.Difference("check cell", "a cell that is checked", f"the tag {tag}")))
    return found


def order(executed: list[Cell]) -> list[tuple[Cell, judge.Difference]]:
    """Cells that were not executed, or not from top to bottom; nothing is told of what follows an error."""
    found, last = [], 0
    for cell in executed:
        count = cell.node.execution_count
        if count is None:
            found.append((cell, judge.Difference("run", "an executed cell", "one that was skipped")))
        elif count <= last:
            found.append(
                (cell, judge.Difference("run", f"a count above {last}", f"{count}: not run from top to bottom"))
            )
        last = max(last, count or 0)
        if cell.stopped:
            break
    return found
