"""A search with Optuna over the runs of a notebook: it proposes values, a finished run tells it its score.

The runs are the grid's: with the same parameters one is found again, whoever asked for it. Trials are kept in a journal
beside the table, so a search that was stopped goes on. While a run trains, its validation scores decide whether it is
worth its time (median pruning); one that is not is stopped as by Ctrl-C.
"""

import itertools
import re
import sys
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import replace
from typing import Any

from workbench import notebooks
from workbench.errors import InvalidParameter, WorkbenchError
from workbench.notebooks import Outcome, Point
from workbench.sweep import Sweep, executors, grid, handled, outcome_of, owned, table, work_of

LOOK = 1.0  # s between looks at the validation scores of the runs that train


def run(sweep: Sweep, trials: int, goal: str, jobs: int, on: str) -> Counter:
    """Run trials until there are so many, those of earlier searches counted; show the best.

    Raises:
        InvalidParameter: no goal, no number of trials, nothing to choose from.
    """
    match = re.fullmatch(r"(max|min):(\S+)", goal)
    if not match:
        raise InvalidParameter("--goal", "max:NAME or min:NAME", repr(goal), "name a score, such as max:psnr")
    if trials < 1:
        raise InvalidParameter("--trials", "at least 1", str(trials), "write for example --trials 20")
    if not any(len(axis) > 1 or isinstance(axis[0], grid.Span) for axis in sweep.axes.values()):
        raise InvalidParameter("-p", "a parameter with several values or a range", "none", "such as lr=1e-5:1e-2:log")
    start = time.monotonic()
    with owned(sweep), handled(sweep):
        search = Search(sweep, match[2], match[1] == "max", trials)
        with executors.opened(on, jobs, sweep.libraries, sweep.stop) as fresh:
            search.run(fresh, jobs)
        states = sweep.finish(start)
        search.tell_best()
    if sweep.stopping:
        raise KeyboardInterrupt("stopped; ask for the same search again and it goes on")
    return states


class Search:
    """The trials of one search, running and done."""

    def __init__(self, sweep: Sweep, metric: str, larger: bool, trials: int) -> None:
        try:
            import optuna
        except ImportError:
            raise WorkbenchError("--trials", "the package optuna", "none", "pip install 'workbench[search]'") from None
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.sweep, self.metric, self.trials, self.states = sweep, metric, trials, optuna.trial.TrialState
        self.study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(sweep.folder / "optuna.log"))),
            study_name=f"{sweep.name} {'max' if larger else 'min'}:{metric}",
            direction="maximize" if larger else "minimize",
            pruner=optuna.pruners.MedianPruner(),
            load_if_exists=True,
        )
        before = len(self.study.get_trials(deepcopy=False))  # another seed, or it would propose the same again
        self.study.sampler = optuna.samplers.TPESampler(seed=before, constant_liar=True)
        self.running: dict[Future, tuple[Any, Point]] = {}
        self.seen: dict[str, int] = {}
        for left in self.study.get_trials(deepcopy=False, states=(self.states.RUNNING,)):
            self.study.tell(left.number, state=self.states.FAIL)  # of a search that was killed
            self.study.enqueue_trial(left.params)  # so that its run resumes

    def run(self, fresh: Any, jobs: int) -> None:
        """Keep `jobs` trials running until all are done, or the search is stopped."""
        executor: Executor = fresh()
        over = (self.states.COMPLETE, self.states.PRUNED)
        done = len(self.study.get_trials(deepcopy=False, states=over))
        self.sweep.total = max(self.trials - done, 0)
        begun = 0
        while self.running or (begun < self.sweep.total and not self.sweep.stopping):
            while len(self.running) < jobs and begun < self.sweep.total and not self.sweep.stopping:
                begun += 1
                self.begin(executor)
            ended, _ = wait(self.running, timeout=LOOK, return_when=FIRST_COMPLETED)
            for future in ended:
                self.end(future)
                if isinstance(future.exception() if not future.cancelled() else None, executors.BrokenExecutor):
                    executor = fresh()
            self.prune()

    def begin(self, executor: Executor) -> None:
        trial = self.study.ask()
        point = self.sweep.point({key: suggested(trial, key, axis) for key, axis in self.sweep.axes.items()})
        trial.set_user_attr("values", {key: point.asked[key] for key in self.sweep.axes})
        point.stop.unlink(missing_ok=True)
        passed = self.sweep.prepare(point)
        self.running[executor.submit(work_of, point, passed, (self.sweep.stop,), False)] = trial, point

    def end(self, future: Future) -> None:
        """Tell the outcome of a run to Optuna, and to the reader."""
        trial, point = self.running.pop(future)
        outcome = outcome_of(future)
        if outcome.state == "stopped" and point.stop.exists():
            point.stop.unlink()
            outcome = replace(outcome, state="pruned")
            self.study.tell(trial, state=self.states.PRUNED)
        elif outcome.state in ("done", "reused") and self.metric in outcome.scores:
            self.study.tell(trial, outcome.scores[self.metric])
        else:
            if outcome.state in ("done", "reused"):
                known = ", ".join(outcome.scores) or "none"
                outcome = Outcome("failed", outcome.seconds, outcome.scores, f"no score {self.metric}, only {known}")
            self.study.tell(trial, state=self.states.FAIL)
            if outcome.state == "stopped":
                self.study.enqueue_trial(trial.params)
        self.sweep.add(point, outcome)

    def prune(self) -> None:
        """Look at the validation scores of the runs that train, and stop those that are worse than the median was."""
        for trial, point in self.running.values():
            for step, value in self.intermediate(point):
                if step > self.seen.get(point.id, -1):
                    self.seen[point.id] = step
                    trial.report(value, step)
                    if trial.should_prune():
                        point.stop.touch()

    def intermediate(self, point: Point) -> list[tuple[int, float]]:
        """Steps and validation scores of the first training that a notebook has asked for."""
        for run in notebooks.asked_for(point)[:1]:
            table, name = run.metrics(), f"valid/{self.metric}"
            if name in table:
                known = table[["step", name]].dropna()
                return [(int(step), float(value)) for step, value in known.itertuples(index=False)]
        return []

    def tell_best(self) -> None:
        done = self.study.get_trials(deepcopy=False, states=(self.states.COMPLETE,))
        if not done:
            print(f"no run has told a score {self.metric}", file=sys.stderr)
            return
        best = self.study.best_trial
        chosen = " ".join(f"{key}={grid.shown(value)}" for key, value in best.user_attrs["values"].items())
        print(f"best of {len(done)}: {self.metric} {table.shown(best.value)} with {chosen}")


def suggested(trial: Any, key: str, axis: list[Any]) -> Any:
    """A value for one parameter: from a range of numbers, from evenly spaced whole numbers, or out of a list."""
    if isinstance(axis[0], grid.Span):
        return trial.suggest_float(key, axis[0].low, axis[0].high, log=axis[0].log)
    steps = {b - a for a, b in itertools.pairwise(axis)} if all(type(one) is int for one in axis) else set()
    if len(steps) == 1 and (step := steps.pop()) > 0 and len(axis) > 2:
        return trial.suggest_int(key, axis[0], axis[-1], step=step)
    return axis[trial.suggest_categorical(key, range(len(axis)))] if len(axis) > 1 else axis[0]
