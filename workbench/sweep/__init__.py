"""A notebook over a grid of parameters, each combination a run of its own, on any number of processes or machines.

Runs that are finished are reused, half-done ones resume (trainings inside go on from their checkpoints), a failed one
keeps its notebook and does not stop the rest. What a sweep leaves stands in `_sweeps/<name>-<id>/`, its runs beside in
`_studies/`, where `workbench run` puts its own.
"""

import contextlib
import getpass
import json
import os
import platform
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench import notebooks, runs
from workbench.errors import InvalidRun
from workbench.notebooks import Outcome, Point
from workbench.sweep import grid, report, table
from workbench.sweep.table import Row

BOOK = "notebook"  # the axis of a sweep over several notebooks


@dataclass(frozen=True)
class Book:
    """A notebook, what is asked of all its runs, such as the preset, and how a run's wishes are checked."""

    source: Path
    base: Mapping[str, Any]
    prepare: Callable[[Mapping[str, Any]], Mapping[str, Any]]  # what was asked -> what papermill passes


@dataclass
class Sweep:
    """One or several notebooks, the values of their parameters, and what has become of the runs so far."""

    books: Mapping[str, Book]  # by name
    axes: grid.Axes
    root: Path
    rows: dict[str, Row] = field(default_factory=dict)
    goal: str = ""  # the score that a search is for
    total: int = 0
    stopping: bool = False

    def __post_init__(self) -> None:
        if len(self.books) > 1:
            self.axes = {BOOK: list(self.books), **self.axes}

    @property
    def name(self) -> str:
        return next(iter(self.books)) if len(self.books) == 1 else "all"

    @property
    def libraries(self) -> tuple[str, ...]:
        return tuple(sorted({name for book in self.books.values() for name in notebooks.libraries(book.source)}))

    @property
    def folder(self) -> Path:
        asked = {"axes": {key: list(map(str, axis)) for key, axis in self.axes.items()}}
        asked["base"] = dict(next(iter(self.books.values())).base)
        return self.root / "_sweeps" / f"{self.name}-{runs.identity(asked)}"

    @property
    def stop(self) -> Path:
        return self.folder / "stop"

    def book(self, source: Path) -> Book:
        return self.books[notebooks.title(source)]

    def point(self, values: Mapping[str, Any]) -> Point:
        asked = dict(values)
        book = self.books[asked.pop(BOOK) if len(self.books) > 1 else self.name]
        return Point.make(book.source, {**book.base, **asked}, self.root)

    def prepare(self, point: Point) -> Mapping[str, Any]:
        """What papermill passes to a run; all is checked."""
        return self.book(point.source).prepare(point.asked)

    def label(self, point: Point) -> str:
        return grid.label({BOOK: notebooks.title(point.source), **point.asked}, self.axes)

    def add(self, point: Point, outcome: Outcome) -> None:
        """Keep what has become of a run and tell it in one line."""
        self.rows[point.id] = Row(point, outcome)
        told = {"failed": f"failed: {outcome.reason}", "done": f"{outcome.seconds:.1f} s"}
        line = told.get(outcome.state, outcome.state)
        print(f"[{len(self.rows)}/{self.total}] {self.label(point)}: {line}", flush=True)

    def finish(self, start: float) -> Counter:
        """Write the files of the sweep, print its table, and count the states."""
        rows = list(self.rows.values())
        states = Counter(row.outcome.state for row in rows)
        table.write(self.folder, list(self.axes), rows)
        if set(states) != {"reused"} or not (self.folder / report.NAME).is_file():
            report.write(self.folder, f"{self.name}: {len(rows)} runs", self.axes, rows)
        print(f"\n{table.show(list(self.axes), rows, self.goal)}\n\n{table.summary(states, time.monotonic() - start)}")
        print(f"table:  {self.folder / 'sweep.csv'}\nreport: {self.folder / report.NAME}")
        return states


def run(sweep: Sweep, jobs: int, on: str = "", again: bool = False) -> Counter:
    """Run the grid and count how the runs ended.

    Raises:
        InvalidParameter: a parameter that the notebook or the method does not take, before anything is started.
        InvalidRun: another sweep of this notebook in this folder. KeyboardInterrupt: stopped; all can be resumed.
    """
    start = time.monotonic()
    points = every(sweep)
    passed = {key: sweep.prepare(one) for key, one in points.items() if again or one.state != "done"}
    with owned(sweep), handled(sweep):
        new = {key: points[key] for key in passed if again or points[key].state != "done"}
        for key, one in points.items():
            if key not in new:
                sweep.add(one, one.outcome)
        if new:
            work = {key: (work_of, one, passed[key], (sweep.stop,), again) for key, one in new.items()}
            for key, outcome in spread(sweep, work, jobs, on):
                sweep.add(new[key], outcome)
        sweep.rows = {key: sweep.rows[key] for key in points}
        states = sweep.finish(start)
    if sweep.stopping:
        raise KeyboardInterrupt("stopped; ask for the same sweep again and it resumes")
    return states


def every(sweep: Sweep) -> dict[str, Point]:
    """The different points of the grid by their ids."""
    for book in sweep.books.values():
        notebooks.declared(book.source)
    found = {one.id: one for one in map(sweep.point, grid.points(sweep.axes))}
    sweep.total = len(found)
    return found


def plan(sweep: Sweep) -> list[str]:
    """What `--dry-run` prints: every run, and whether it is there."""
    points = every(sweep)
    for one in points.values():
        sweep.prepare(one)
    states = Counter(one.state for one in points.values())
    lines = [f"{one.state:<9}  {sweep.label(one)}  {one.folder.name}" for one in points.values()]
    return [*lines, f"{len(points)} runs: {', '.join(f'{number} {state}' for state, number in states.items())}"]


def spread(sweep: Sweep, work: dict[str, tuple], jobs: int, on: str) -> Iterator[tuple[str, Outcome]]:
    """The outcomes of all work, as they come."""
    from workbench.sweep import executors

    for one in work.values():
        one[1].stop.unlink(missing_ok=True)
    with executors.opened(on, jobs, sweep.libraries, sweep.stop) as fresh:
        for key, future in executors.spread(fresh, work):
            yield key, outcome_of(future)


def work_of(point: Point, passed: Mapping[str, Any], stops: tuple[Path, ...], again: bool) -> Outcome:
    """In a worker: one run; what goes wrong is its outcome and nobody else's."""
    try:
        return notebooks.execute(point, passed, stops, again)
    except Exception as error:  # such as a full disk: told beside the run, the others go on
        return Outcome("failed", reason=f"{type(error).__name__}: {error}")


def outcome_of(future: Any) -> Outcome:
    try:
        return future.result()
    except CancelledError:
        return Outcome("stopped")
    except Exception as error:  # the worker died, or could not be reached
        return Outcome("failed", reason=f"its worker: {type(error).__name__}: {' '.join(str(error).split())}")


# ---------------------------------------------------------------- one sweep at a time, and how it is stopped


@contextlib.contextmanager
def owned(sweep: Sweep) -> Iterator[None]:
    """Hold the notebook's runs in this folder; the system lets go of them when the holder dies, however it does.

    Raises:
        InvalidRun: another sweep holds them, with its owner.
    """
    import filelock

    sweep.folder.mkdir(parents=True, exist_ok=True)
    path = sweep.folder.parent / f".{sweep.name}.lock"
    owner = path.with_suffix(".json")
    try:
        with filelock.FileLock(path, timeout=0.5):
            started = time.strftime("%Y-%m-%d %H:%M:%S")
            known = {"pid": os.getpid(), "host": platform.node(), "user": getpass.getuser(), "started": started}
            runs.write_json(owner, known)
            sweep.stop.unlink(missing_ok=True)
            yield
    except filelock.Timeout:
        known = "one whose owner is not known"
        with contextlib.suppress(*runs.UNREADABLE, KeyError, TypeError):
            told = json.loads(owner.read_text())
            known = f"process {told['pid']} of {told['user']} on {told['host']}, since {told['started']}"
        remedy = "wait for it or stop it; both then share what is finished"
        raise InvalidRun(sweep.folder.parent, f"no other sweep of {sweep.name}", known, remedy) from None


@contextlib.contextmanager
def handled(sweep: Sweep) -> Iterator[None]:
    """Ctrl-C or SIGTERM: runs are interrupted, save what they can, and nothing is begun; a second one ends all."""

    def stop(number: int, frame: Any) -> None:
        if sweep.stopping:
            raise KeyboardInterrupt("ended; ask for the same sweep again and it resumes")
        sweep.stopping = True
        sweep.stop.touch()
        os.write(2, b"stopping: trainings save their checkpoints; Ctrl-C again ends them at once\n")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
