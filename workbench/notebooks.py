"""A method's notebook run under papermill: parameters checked, output kept, report and table made."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench import runs
from workbench.errors import InvalidParameter, WorkbenchError, unknown

FOLDER = Path(__file__).parents[1] / "notebooks"


class FailedNotebook(WorkbenchError):
    """A notebook that stopped with an error; what it had done is kept."""


def find(name: str) -> Path:
    """The notebook of a method: notebooks/NN_name.ipynb.

    Raises:
        InvalidParameter: none of that name; InvalidRun: an installation without the notebooks.
    """
    found = {path.stem.partition("_")[2]: path for path in sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))}
    if not found:
        remedy = "work in a clone of the repository, installed with `pip install -e .`"
        raise InvalidParameter(str(FOLDER), "the notebooks", "none", remedy)
    if name not in found:
        raise unknown("notebook", name, found)
    return found[name]


def parameters(path: Path, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """What papermill passes: names of the parameters cell directly, all other settings in its `settings`.

    papermill itself only warns of a name that it does not know, so that is refused here.
    """
    import papermill

    known = papermill.inspect_notebook(str(path))
    direct = {key: value for key, value in chosen.items() if key in known}
    others = {key: value for key, value in chosen.items() if key not in known}
    if others and "settings" not in known:
        raise unknown(f"parameter of {path.name}", next(iter(others)), known)
    return direct | ({"settings": others} if others else {})


def run(name: str, chosen: Mapping[str, Any], root: Path) -> Path:
    """Execute, keep notebook.ipynb and report.html below `root/_studies`, print the table; returns that folder.

    Raises:
        FailedNotebook: a cell failed; the notebook up to there is kept and named.
    """
    import papermill

    source = find(name)
    passed = parameters(source, chosen) | {"runs": str(root)}
    folder = root / "_studies" / f"{name}-{runs.identity(passed)}"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "notebook.ipynb"
    try:
        papermill.execute_notebook(str(source), str(target), passed, cwd=str(root), store_widget_state=False)
    except papermill.PapermillExecutionError as error:
        remedy = f"look at {target}; runs that were finished are kept and will be reused"
        raise FailedNotebook(source.name, "every cell to run", f"{error.ename}: {error.evalue}", remedy) from None
    report(target)
    print(tagged(target, "table"))
    print(f"notebook:  {target}\nreport:    {folder / 'report.html'}\ndashboard: workbench dashboard {root}")
    return folder


def report(notebook: Path) -> None:
    """report.html beside the notebook: its text, tables and pictures, without the code."""
    import nbconvert

    exporter = nbconvert.HTMLExporter(exclude_input=True, exclude_input_prompt=True, exclude_output_prompt=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of outputs that only a live notebook can show
        body, _ = exporter.from_filename(str(notebook))
    with runs.replacing(notebook.with_name("report.html"), "w") as file:
        file.write(body)


def tagged(notebook: Path, tag: str) -> str:
    """The text that the cells with a tag printed."""
    import nbformat

    cells = nbformat.read(notebook, as_version=4).cells
    outputs = [out for cell in cells if tag in cell.metadata.get("tags", []) for out in cell.get("outputs", [])]
    return "".join(out.text for out in outputs if out.output_type == "stream").rstrip()
