"""Forty regressions, planted one at a time in a small notebook or in the package it shows, and who catches each.

The notebook is as those of the workbench: no outputs but of one check cell. Most regressions are planted in the
package `lesson.py`, since that is what changes while a notebook stays; some in the committed notebook or in an
executed copy.
"""

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as tree
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from workbench import check
from workbench.check import books, references
from workbench.errors import WorkbenchError

LESSON = Path(__file__).with_name("lesson.py")
CHECK = {"tags": ["nbval-check-output", "keep_output"]}
CELLS: tuple[tuple[str, dict], ...] = (
    ("seed: int = 0  # of everything", {"tags": ["parameters"]}),
    ("from bokeh.io import output_notebook, show\nfrom IPython.display import HTML\n\nimport lesson", {}),
    ("output_notebook()", {}),
    ("model, curves = lesson.train(seed)", {}),
    ("table = lesson.scores(seed)\nlesson.shown(table)", {}),
    ("lesson.picture(1)", {}),
    ('lesson.drawing(curves["train"])', {}),
    ("show(lesson.plot(curves))", {}),
    ("HTML(lesson.panel(curves))", {}),
    ("lesson.told(table)", {}),
    ("import ipywidgets\n\nipywidgets.VBox([ipywidgets.FloatSlider(model.weight)])", {}),
    ("lesson.refuse(-1)", {"tags": ["raises-exception"]}),
    (
        'train, test = lesson.split(seed)\nprint("no case in two splits:", not train & test)\n'
        'print("cases:", len(train), "and", len(test))',
        CHECK,
    ),
)  # fmt: skip

Edit = Callable[[NotebookNode], None]


@dataclass(frozen=True)
class Regression:
    """What is planted: another text in the package, or an edit of the committed notebook or of an executed copy."""

    name: str
    old: str = ""
    new: str = ""
    committed: Edit | None = None
    executed: Edit | None = None


def last(book: NotebookNode) -> NotebookNode:
    return book.cells[-1]


def strip(book: NotebookNode) -> None:
    last(book).outputs, last(book).execution_count = [], None  # as nbstripout leaves a cell that lost its tag


def uncount(book: NotebookNode) -> None:
    last(book).execution_count = None


def stale(book: NotebookNode) -> None:
    last(book).outputs[0].text = last(book).outputs[0].text.replace("15", "14")


def skip(book: NotebookNode) -> None:
    book.cells[9].outputs, book.cells[9].execution_count = [], None


def clear(book: NotebookNode) -> None:
    book.cells[6].outputs = []


TABLE, PICTURE = "    return table", "    return image\n\n\ndef drawing"


def table_as(code: str) -> tuple[str, str]:
    return TABLE, f"    return {code}"


def picture_as(code: str) -> tuple[str, str]:
    return PICTURE, f"    return {code}\n\n\ndef drawing"


def before_told(code: str) -> tuple[str, str]:
    return "    best = table", f"    {code}\n    best = table"


REGRESSIONS = (
    # numbers
    Regression("a printed number twice as large", "{table['dice'].max():.3f}", "{2 * table['dice'].max():.3f}"),
    Regression("a sign turned", "table['dice'].mean() - 0.5", "0.5 - table['dice'].mean()"),
    Regression("NaN where a number was", "{table['hd95'].mean():.2f}", "{table['hd95'].mean() * np.nan:.2f}"),
    Regression("rounded to whole numbers", *table_as("table.round()")),
    Regression("a loss 3 % too high", "{curves['train'][-1]:.4f}", "{curves['train'][-1] * 1.03:.4f}"),
    Regression("a count off by one", "after {steps} steps", "after {steps - 1} steps"),
    Regression("another unit", 'UNIT = "mm"', 'UNIT = "cm"'),
    # tables
    Regression("a column dropped", *table_as('table.drop(columns="hd95")')),
    Regression("names of two columns swapped", *table_as('table.set_axis(["hd95", "dice", "voxels"], axis=1)')),
    Regression("rows shuffled", *table_as("table.iloc[[2, 0, 1, 4, 3]]")),
    Regression("a table emptied", *table_as("table.iloc[:0]")),
    Regression("a value missing", *table_as('table.where(table["dice"] < table["dice"].max())')),
    Regression("counts became fractions", *table_as("table.astype(float)")),
    # pictures
    Regression("a blank picture", *picture_as("Image.new('RGB', image.size)")),
    Regression("the picture of another case", "9 * case", "9 * (case + 1)"),
    Regression("colours inverted", *picture_as("ImageOps.invert(image)")),
    Regression("red and blue swapped", *picture_as("Image.merge('RGB', image.split()[::-1])")),
    Regression("a picture of half the size", *picture_as("image.reduce(2)")),
    Regression("a blurred picture", *picture_as("image.filter(ImageFilter.GaussianBlur(4))")),
    Regression("no curve in the drawing", "    pen.line(points, (0, 114, 178), 2)\n", ""),
    Regression("no label at the axis of the drawing", 'pen.text((150, 180), "steps of training", "black")', "pass"),
    # figures
    Regression("a curve missing in the figure", "in zip(curves.items(),", "in zip(list(curves.items())[:1],"),
    Regression("a flat curve in the figure", "values, legend_label", "0 * values, legend_label"),
    Regression("no label at the axis of the figure", ', y_axis_label="loss"', ""),
    Regression("no legend in the figure", "legend_label=name, ", ""),
    Regression("colours of two curves swapped", '("#0072B2", "#D55E00")', '("#D55E00", "#0072B2")'),
    Regression("no picture in the markup", '<img src="data:image/png;base64,{code}">', ""),
    # words and outputs
    Regression("a new warning", *before_told('warnings.warn("the spacing is guessed", UserWarning)')),
    Regression("an address printed", 'print(f"best: {best} with', 'print(f"best: {[Model()]} {best} with'),
    Regression("words swapped", "gain over chance", "chance over gain"),
    Regression("nothing printed any longer", *before_told("return")),
    Regression("an exception swallowed and printed", "raise ValueError(", "print('ValueError:', "),
    Regression("another exception", "raise ValueError", "raise TypeError"),
    Regression("a crash", *before_told("1 / 0")),
    Regression("a check that no longer holds", "set(order[15:])", "set(order[14:])"),
    # the notebook itself
    Regression("the check cell stripped", committed=strip),
    Regression("the check cell without its count", committed=uncount),
    Regression("a stale output in the check cell", committed=stale),
    Regression("a cell skipped", executed=skip),
    Regression("an output lost in the executed copy", executed=clear),
)  # fmt: skip


def build(folder: Path, repeats: int = 3) -> Path:
    """The notebook with its package, its kept output and its reference; returns where."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(LESSON, folder / "lesson.py")
    book = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    book.cells = [nbformat.v4.new_code_cell(source, metadata=metadata) for source, metadata in CELLS]
    path = folder / "lesson.ipynb"
    nbformat.write(book, path)
    executed = books.run(path)
    nbformat.write(executed, folder / "executed.ipynb.txt")
    book.cells[-1] = last(executed)
    nbformat.write(book, path)
    references.update(path, repeats)
    return path


def plant(regression: Regression, good: Path, folder: Path) -> Path:
    """A copy of the good notebook with one regression; returns where."""
    shutil.copytree(good.parent, folder)
    path, package = folder / good.name, folder / "lesson.py"
    if regression.old:
        text = package.read_text()
        if regression.old not in text:
            raise LookupError(f"{regression.name}: nothing to replace")
        package.write_text(text.replace(regression.old, regression.new, 1))
    for target, edit in ((path, regression.committed), (folder / "executed.ipynb.txt", regression.executed)):
        if edit:
            book = nbformat.read(target, as_version=4)
            edit(book)
            nbformat.write(book, target)
    return path


def by_checker(regression: Regression, path: Path) -> list[str]:
    """What the checker finds."""
    executed = path.with_name("executed.ipynb.txt") if regression.executed else None
    try:
        return [str(one) for one in check.check(path, executed).findings]
    except WorkbenchError as error:
        return [str(error)]


def by_nbval(paths: Sequence[Path], root: Path) -> dict[Path, bool]:
    """For each notebook whether nbval, called as in CI, fails; all of them in one call."""
    report = root / "nbval.xml"
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-p", "no:cacheprovider", "-q"]
    command += ["-c", os.devnull, "--rootdir", str(root), f"--junitxml={report}", *map(str, paths)]
    subprocess.run(command, capture_output=True, cwd=root)
    failed = set()
    for case in tree.parse(report).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed.add(case.get("classname") or case.get("name"))
    names = {path: path.relative_to(root).with_suffix("").as_posix().replace("/", ".") for path in paths}
    return {path: any(one.startswith(name) for one in failed) for path, name in names.items()}
