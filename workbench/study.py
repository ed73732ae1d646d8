"""A comparison: arms x seeds on the same data, each a run folder, then paired differences and verdicts."""

import dataclasses
import functools
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from workbench import compare, config, data, method, progress, runs
from workbench.errors import InvalidParameter, InvalidRun, unknown
from workbench.fit import Budget
from workbench.runs import Run
from workbench.task import Arm, Task, opened, train, train_quietly

__all__ = ["Arm", "Study", "Task", "arms_of", "card", "opened", "settings", "train"]


def arms_of(
    name: str,
    which: Iterable[str] = ("rivals", "floors", "ablations"),
    preset: str = "tiny",
    change: Mapping[str, Any] | None = None,
) -> dict[str, Arm]:
    """The method, and as asked its rivals, floors, ablations and the rivals' variants, under their files' names.

    `which` holds groups and single arms, such as ("floors", "unet"); their order is kept. Every arm gets its own
    settings of the preset; `change` is for the method and its ablations alone.

    Raises:
        InvalidParameter: an arm that the method is not compared with, with the nearest.
    """
    module = card(name)

    def own(arm: str) -> dict[str, Any]:
        return settings(arm, method.preset(arm, preset))[0]

    def varied(arm: str, base: dict[str, Any], more: dict[str, Any]) -> Arm:
        changes, *rest = settings(arm, more)
        return Arm(arm, base | changes, *rest)

    main, variants = own(name) | dict(change or {}), {}
    for rival in module.RIVALS:
        changes = getattr(method.module(rival), "ABLATIONS", {})
        variants |= {f"{rival}-{key}": varied(rival, own(rival), more) for key, more in changes.items()}
    groups = {
        "rivals": {rival: Arm(rival, own(rival)) for rival in module.RIVALS},
        "floors": {floor: Arm(floor, own(floor)) for floor in module.FLOORS},
        "variants": variants,
        "ablations": {key: varied(name, main, more) for key, more in module.ABLATIONS.items()},
    }
    known = {key: arm for group in groups.values() for key, arm in group.items()}
    if strange := [word for word in which if word not in groups and word not in known]:
        raise unknown("arm", strange[0], [*groups, *known])
    asked = [key for word in which for key in groups.get(word, (word,))]
    return {name: Arm(name, main)} | {key: known[key] for key in asked}


def card(name: str) -> ModuleType:
    """The module of a method, which says what it is compared with and what it claims.

    Raises:
        InvalidParameter: a baseline, which says nothing of the kind.
    """
    module = method.module(name)
    if not hasattr(module, "CLAIMS"):
        raise InvalidParameter(name, "a method with claims", "a baseline", "choose a method; see `workbench list`")
    return module


def settings(name: str, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Settings dealt out to the method's Config, the Budget and the data's Options; a shared name goes to each.

    Raises:
        InvalidParameter: an unknown name, a wrong type or a value out of range.
    """
    cls = method.method_class(name)
    groups = (cls.Config, Budget, data.module(cls.data).Options)
    dealt = config.split(values, *groups)
    for group, part in zip(groups, dealt, strict=True):
        group(**part)
    return tuple(dealt)


def names(name: str) -> set[str]:
    """The names of all settings that a method, its budget and its data take."""
    cls = method.method_class(name)
    groups = (cls.Config, Budget, data.module(cls.data).Options)
    return {field.name for group in groups for field in dataclasses.fields(group)}


Observer = Any  # called as observer(task, progress) after every step; a true answer stops the study


@dataclass
class Study:
    """Arms x seeds on one data set; the first arm is the one that the others are compared with.

    >>> study = Study(arms_of("smcgan"), options={"source": "phantom"}, seeds=range(5))  # doctest: +SKIP
    >>> study.run().table()  # doctest: +SKIP
    """

    arms: Mapping[str, Arm]
    options: Mapping[str, Any] = field(default_factory=dict)
    budget: Mapping[str, Any] = field(default_factory=dict)
    seeds: Iterable[int] = (0,)
    root: Path | str | None = None
    runs: list[Run] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        kinds = {method.method_class(arm.method).data for arm in self.arms.values()}
        if len(kinds) != 1:
            found = ", ".join(sorted(kinds)) or "no arms"
            raise InvalidParameter("arms", "methods for one kind of data", found, "compare methods of the same kind")
        self.kind = kinds.pop()
        self.root = Path(self.root).absolute() if self.root else runs.root_folder()
        self.seeds = list(self.seeds)

    @property
    def main(self) -> str:
        return next(iter(self.arms))

    def tasks(self) -> list[Task]:
        """Every training, seed by seed, with the study's budget under each arm's own."""
        arms = {name: under(arm, self.budget) for name, arm in self.arms.items()}
        return [
            Task(name, arm, self.kind, folded(self.kind, self.options, seed), seed, self.root)
            for seed in self.seeds
            for name, arm in arms.items()
        ]

    def run(self, watch: Observer | None = None, executor: Executor | None = None, threads: int = 1) -> "Study":
        """Train what is not there yet: one after the other, or each task on any executor with so many threads a task.

        One failed task does not stop the others; its error is raised when all have ended.

        Raises:
            InvalidParameter, InvalidImage: settings or data that cannot work, before anything is trained.
        """
        tasks = self.tasks()
        wanted = [task.id for task in tasks]
        results, failures = self._spread(tasks, executor, threads) if executor else self._in_turn(tasks, watch)
        if failures:
            raise failures[0]
        self.runs = [results[id] for id in wanted]
        return self

    def _in_turn(self, tasks: list[Task], watch: Observer | None) -> tuple[dict[str, Run], list[Exception]]:
        results, failures = {}, []
        for task in tasks:
            told = functools.partial(watch, task) if watch else progress.bar(task.label)
            start = time.monotonic()
            try:
                results[task.id], reused = train(task, told)
                announce(task.label, reused, time.monotonic() - start)
            except Exception as error:  # the others go on; run() raises it
                failures.append(error)
                print(f"{task.label}: failed: {error}", flush=True)
        return results, failures

    def _spread(self, tasks: list[Task], executor: Executor, threads: int) -> tuple[dict[str, Run], list[Exception]]:
        """Each different training once, and stages before the arms that share them: no two want one folder."""
        stages = [task.before for task in tasks if task.before and not task.finished]
        results, failures = self._spread(stages, executor, threads) if stages else ({}, [])
        different = {task.id: task for task in reversed(tasks)}
        waiting = {executor.submit(train_quietly, task, threads): id for id, task in reversed(different.items())}
        try:
            for number, future in enumerate(as_completed(waiting), 1):
                label = f"[{number}/{len(waiting)}] {different[waiting[future]].label}"
                try:
                    results[waiting[future]], reused, seconds = future.result()
                    announce(label, reused, seconds)
                except Exception as error:  # the others go on; run() raises it
                    failures.append(error)
                    print(f"{label}: failed: {error}", flush=True)
        finally:
            for future in waiting:  # after Ctrl-C: what has not begun is not begun
                future.cancel()
        return results, failures

    @functools.cached_property
    def scores(self) -> pd.DataFrame:
        """All scores in one long table, arms under the names that this study gives them."""
        names = [task.name for task in self.tasks()]
        if len(self.runs) != len(names):
            raise InvalidRun("study", f"{len(names)} finished runs", str(len(self.runs)), "call run() first")
        tables = zip(self.runs, names, strict=True)
        named = [run.scores().assign(arm=name, seed=run.seed, run=f"{run.name}/{run.id}") for run, name in tables]
        return pd.concat(named, ignore_index=True)

    def table(self) -> pd.DataFrame:
        """Mean and spread over seeds as text: one row an arm, the metrics of the method's TABLE as columns."""
        return compare.table(self.scores, card(self.arms[self.main].method).TABLE)

    def differences(self, metric: str) -> pd.DataFrame:
        """The paired difference of the first arm from every other in one metric, with interval and p."""
        others = [name for name in self.arms if name != self.main]
        rows = {name: dataclasses.asdict(compare.paired(self.scores, self.main, name, metric)) for name in others}
        return pd.DataFrame.from_dict(rows, orient="index")

    def claims(self) -> list[dict[str, Any]]:
        """The verdicts on the method's claims, as far as their arms are in the study and their metric is known here."""
        claims = card(self.arms[self.main].method).CLAIMS
        named = lambda claim: {claim.arm or self.main, claim.other or self.main}  # noqa: E731
        known = set(self.scores.columns[self.scores.notna().any()])  # lesions of patients tell no true similarity
        there = (claim for claim in claims if claim.metric in known and named(claim) <= self.arms.keys())
        return [claim.judge(self.scores, self.main) for claim in there]


def folded(kind: str, options: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The options for one seed: where the data are cut into folds and none is chosen, every seed tests another."""
    group = data.module(kind).Options
    if "fold" in options or not hasattr(group, "fold"):
        return dict(options)
    return {**options, "fold": seed % int(options.get("folds", group.folds))}


def under(arm: Arm, budget: Mapping[str, Any]) -> Arm:
    """The arm and the stages before it with this budget under their own."""
    before = under(arm.before, budget) if arm.before else None
    return dataclasses.replace(arm, budget={**budget, **arm.budget}, before=before)


def announce(label: str, reused: bool, seconds: float) -> None:
    print(f"{label}: {'reused' if reused else f'{seconds:.0f} s'}", flush=True)
