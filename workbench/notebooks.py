"""One run of a notebook under papermill: parameters checked, output kept, report, scores and table made.

    runs/_studies/<name>-<id>/
      notebook.ipynb   report.html   done or failed: seconds, scores, reason   runs.txt: the trainings that it asked for

`<id>` is a hash of what was asked, of the notebook's cells and of the package's source, not of where the runs are kept:
what is done was made by this notebook and this package. A new version of either asks for a new run of the notebook;
the trainings inside have an identity of their own, are found again, and so are not repeated.
"""

import ast
import builtins
import contextlib
import functools
import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from workbench import config, reports, runs
from workbench.errors import InvalidParameter, InvalidRun, WorkbenchError, unknown

FOLDER = Path(__file__).parents[1] / "notebooks"
WAIT = 60  # s for another process that runs the same notebook with the same parameters, such as one that is dying


class FailedNotebook(WorkbenchError):
    """A notebook that stopped with an error; what it had done is kept."""


# ---------------------------------------------------------------- which notebook, and what it takes


def find(name: str) -> Path:
    """The notebook of a method, notebooks/NN_name.ipynb, or any other by its path.

    Raises:
        InvalidParameter: none of that name, or an installation without the notebooks.
    """
    if name.endswith(".ipynb"):
        if Path(name).is_file():
            return Path(name).absolute()
        raise InvalidParameter(name, "a notebook", "nothing of that name", "give the path of a file that is there")
    found = every()
    if name not in found:
        raise unknown("notebook", name, found)
    return found[name]


def every() -> dict[str, Path]:
    """The notebooks of the repository by name, in the order of their numbers.

    Raises:
        InvalidParameter: an installation without the notebooks.
    """
    found = {title(path): path for path in sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))}
    if not found:
        remedy = "work in a clone of the repository, installed with `pip install -e .`"
        raise InvalidParameter(str(FOLDER), "the notebooks", "none", remedy)
    return found


def title(path: Path) -> str:
    """A notebook's name, fit for a folder: without its number, in small letters."""
    name = re.sub(r"^\d\d_", "", path.stem).lower()
    return re.sub(r"[^a-z0-9_.-]", "-", name).strip("_.-")[:40] or "notebook"


def of_method(path: Path) -> bool:
    """Whether it is the notebook of a method here."""
    return path.parent == FOLDER and bool(list((Path(__file__).parent / "methods").glob(f"{title(path)}*")))


def cells(path: Path) -> list[dict[str, Any]]:
    """The cells of a notebook, each with its type, source and tags.

    Raises:
        InvalidParameter: no notebook of Python.
    """
    return _cells(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _cells(path: Path, changed: int) -> list[dict[str, Any]]:
    try:
        book = json.loads(path.read_text(encoding="utf-8"))
        kernel = book["metadata"].get("kernelspec", {}).get("language") or "python"
        parts = [(one["cell_type"], one["source"], one["metadata"].get("tags", [])) for one in book["cells"]]
    except (*runs.UNREADABLE, KeyError, TypeError, AttributeError) as error:
        remedy = "save it again in JupyterLab"
        raise InvalidParameter(path, "a notebook of format 4", type(error).__name__, remedy) from None
    if kernel.lower() != "python":
        raise InvalidParameter(path, "a notebook in Python", kernel, "run others with papermill")
    return [{"type": kind, "source": "".join(source), "tags": tags} for kind, source, tags in parts]


def asked_in(path: Path) -> str:
    """The source of the parameters cell.

    Raises:
        InvalidParameter: no cell is tagged `parameters`.
    """
    tagged = [cell["source"] for cell in cells(path) if "parameters" in cell["tags"]]
    if not tagged:
        remedy = "tag the cell that sets them (in JupyterLab: the gears at the top right)"
        raise InvalidParameter(path.name, "a cell tagged parameters", "none", remedy)
    return tagged[0]


def declared(path: Path) -> dict[str, tuple[type | None, Any]]:
    """The names of the parameters cell, each with its type (None where it tells none) and default.

    Raises:
        InvalidParameter: no cell is tagged `parameters`, or it is no plain Python.
    """
    try:
        body = ast.parse(asked_in(path)).body
    except SyntaxError as error:
        raise InvalidParameter(path.name, "plain Python in the parameters cell", error.msg, "correct it") from None
    found = {}
    for node in body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        try:
            value = ast.literal_eval(node.value)
        except (ValueError, AttributeError):  # an expression, or no assignment
            value = None
        hint = getattr(node, "annotation", None)
        hint = getattr(hint, "value", hint)  # list of list[int]
        kind = getattr(builtins, getattr(hint, "id", ""), None) if hint else type(value)
        known = kind if kind in (bool, int, float, str, list, dict, tuple) else None
        found |= {target.id: (known, value) for target in targets if isinstance(target, ast.Name)}
    return found


def parameters(path: Path, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """What papermill passes: names of the parameters cell directly, all other settings in its `settings`.

    papermill itself only warns of a name that it does not know and takes any type, so both are refused here. A text
    `runs` is where runs are kept, which is asked for otherwise.
    """
    known = declared(path)
    if "runs" in chosen and keeps(known):
        raise InvalidParameter("runs", "a folder given by --runs", repr(chosen["runs"]), "use --runs FOLDER")
    direct = {key: value for key, value in chosen.items() if key in known}
    others = {key: value for key, value in chosen.items() if key not in known}
    if others and "settings" not in known:
        raise unknown(f"parameter of {path.name}", next(iter(others)), known)
    kinds = {key: known[key][0] for key in direct}
    direct = {key: config.checked(key, one, kinds[key]) if kinds[key] else one for key, one in direct.items()}
    return direct | ({"settings": direct.get("settings", {}) | others} if others else {})


def keeps(known: Mapping[str, tuple[type | None, Any]]) -> bool:
    """Whether the parameters of a notebook ask where runs are kept."""
    return known.get("runs", (None,))[0] is str


def libraries(path: Path) -> tuple[str, ...]:
    """The first names of all that the notebook imports: what its kernels can be given already imported."""
    words = r"^\s*(?:from|import)\s+([\w., ]+)"
    lines = [
        match for cell in cells(path) if cell["type"] == "code" for match in re.findall(words, cell["source"], re.M)
    ]
    names = {part.strip().partition(".")[0].partition(" ")[0] for line in lines for part in line.split(",")}
    return tuple(sorted(names - {""}))


# ---------------------------------------------------------------- one run


@functools.lru_cache(maxsize=1)
def package() -> str:
    """A hash of the package's source, whatever its folder."""
    made, base = hashlib.sha256(), Path(__file__).parent
    for path in sorted(base.rglob("*.py")):
        made.update(str(path.relative_to(base)).encode() + b"\0" + path.read_bytes())
    return made.hexdigest()


@dataclass(frozen=True)
class Outcome:
    """How a run ended: done, reused, failed or stopped."""

    state: str
    seconds: float = 0.0
    scores: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class Point:
    """One notebook with one set of parameters and where it is kept; picklable, for a worker process or a cluster."""

    source: Path
    asked: Mapping[str, Any]
    root: Path
    id: str

    @classmethod
    def make(cls, source: Path, asked: Mapping[str, Any], root: Path) -> "Point":
        request = {"asked": dict(asked), "notebook": cells(source), "package": package()}
        try:
            return cls(source, asked, root, runs.identity(request))
        except (TypeError, ValueError) as error:
            raise InvalidParameter(source.name, "parameters that JSON can hold", str(error), "give others") from None

    @property
    def folder(self) -> Path:
        return self.root / "_studies" / f"{title(self.source)}-{self.id}"

    @property
    def state(self) -> str:
        """`done`, `failed`, `half done` or `new`."""
        for name in ("done", "failed"):
            if (self.folder / name).is_file():
                return name
        return "half done" if (self.folder / "notebook.ipynb").is_file() else "new"

    @property
    def outcome(self) -> Outcome:
        """What the finished run left."""
        kept = runs.read_json(self.folder / "done")
        return Outcome("reused", float(kept.get("seconds", 0)), kept.get("scores", {}))

    @property
    def stop(self) -> Path:
        """The file whose appearance stops the run."""
        return self.folder / "stop"


def execute(
    point: Point, passed: Mapping[str, Any], stops: Iterable[Path] = (), again: bool = False, bar: bool = False
) -> Outcome:
    """The finished run of a point: found again, or made by executing the notebook in a kernel of its own.

    A failed one keeps its notebook with the error. It ends as `stopped` when one of the files `stops` appears.
    """
    import filelock

    stops, start = (*stops, point.stop), time.monotonic()
    try:
        point.folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(point.folder / ".lock", timeout=WAIT):
            if point.state == "done" and not again:
                return point.outcome
            for name in ("done", "failed", "runs.txt"):
                (point.folder / name).unlink(missing_ok=True)
            if any(path.exists() for path in stops):
                return Outcome("stopped")
            reason = executed(point, passed, stops, bar)
            seconds = round(time.monotonic() - start, 2)
            if any(path.exists() for path in stops):
                return Outcome("stopped", seconds)
            outcome = Outcome("failed", seconds, {}, reason) if reason else finished(point, seconds)
            runs.write_json(point.folder / outcome.state, asdict(outcome))
            return outcome
    except filelock.Timeout:
        return Outcome("failed", reason="another process runs it")
    except OSError as error:
        remedy = "free some space or choose another folder, then run again: it resumes"
        raise InvalidRun(point.folder, "a folder that can be written", error.strerror or str(error), remedy) from None


def executed(point: Point, passed: Mapping[str, Any], stops: tuple[Path, ...], bar: bool) -> str:
    """Run all cells; empty, or why that failed."""
    import logging

    import papermill

    from workbench import engine, kernels

    logging.getLogger("papermill").setLevel(logging.ERROR)
    logging.getLogger("traitlets").setLevel(logging.CRITICAL)
    place = {"runs": str(point.root)} if keeps(declared(point.source)) else {}
    env = os.environ | {"WORKBENCH_RUNS": str(point.root), "WORKBENCH_NOTED": str(point.folder / "runs.txt")}
    given = {"address": kernels.address(libraries(point.source)), "stops": stops, "env": env, "folder": point.root}
    target = point.folder / "notebook.ipynb"
    target.unlink(missing_ok=True)
    try:
        papermill.execute_notebook(
            str(point.source), str(target), {**passed, **place}, engine_name=engine.NAME, kernel_name="python3",
            language="python", progress_bar=bar, **given,
        )  # fmt: skip
    except papermill.PapermillExecutionError as error:
        return f"{error.ename}: {' '.join(str(error.evalue).split())}"
    except RuntimeError as error:  # of nbclient and jupyter_client, about kernels
        return f"no kernel: {error}"
    return ""


def finished(point: Point, seconds: float) -> Outcome:
    reports.write(point.folder / "notebook.ipynb")
    return Outcome("done", seconds, scores(point))


def run(name: str, asked: Mapping[str, Any], root: Path, passed: Mapping[str, Any] | None = None) -> Path:
    """Execute whether or not it has been, keep it below `root/_studies`, print the table; returns that folder.

    `passed` is what was asked with the preset's settings beside it, where there is a preset.

    Raises:
        FailedNotebook: a cell failed; the notebook up to there is kept and named.
    """
    point = Point.make(find(name), asked, root)
    passed = parameters(point.source, asked if passed is None else passed)
    point.stop.unlink(missing_ok=True)
    outcome = execute(point, passed, again=True, bar=True)
    target = point.folder / "notebook.ipynb"
    if outcome.state != "done":
        remedy = f"look at {target}; runs that were finished are kept and will be reused"
        raise FailedNotebook(point.source.name, "every cell to run", outcome.reason, remedy)
    print(tagged(target, "table"))
    report_file = point.folder / "report.html"
    print(f"notebook:  {target}\nreport:    {report_file}\ndashboard: workbench dashboard {root}")
    return point.folder


# ---------------------------------------------------------------- what a run leaves


def tagged(notebook: Path, tag: str) -> str:
    """The text that the cells with a tag printed."""
    import nbformat

    cells = nbformat.read(notebook, as_version=4).cells
    outputs = [out for cell in cells if tag in cell.metadata.get("tags", []) for out in cell.get("outputs", [])]
    return "".join(out.text for out in outputs if out.output_type == "stream").rstrip()


def scores(point: Point) -> dict[str, float]:
    """What a cell tagged `scores` printed as JSON, and the means of the runs that the notebook asked for.

    The means are over cases and seeds, of the first arm under the metric's own name, of others as `arm.metric`.
    """
    found: dict[str, list[float]] = {}
    for text in filter(None, [tagged(point.folder / "notebook.ipynb", "scores")]):
        with contextlib.suppress(ValueError, AttributeError):
            for key, value in json.loads(text).items():
                found[key] = [float(value)]
    noted = asked_for(point)
    for run in noted:
        if run.state == "done":
            from workbench import compare

            own, table = "" if run.arm == noted[0].arm else f"{run.arm}.", run.scores()
            for key, value in table[compare.metrics(table)].mean().items():
                found.setdefault(f"{own}{key}", []).append(float(value))
    means = {key: sum(values) / len(values) for key, values in found.items()}
    return {key: value for key, value in means.items() if abs(value) < float("inf")}  # JSON has no others


def asked_for(point: Point) -> list[runs.Run]:
    """The trainings that the notebook asked for so far, in order."""
    with contextlib.suppress(FileNotFoundError):
        lines = (point.folder / "runs.txt").read_text().splitlines()
        return [runs.Run(point.root / line) for line in dict.fromkeys(lines)]
    return []
