"""A comparison: arms x seeds on the same data, each a run folder, then paired differences and verdicts."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import torch

from workbench import compare, config, data, device, evaluate, fit, method, progress, provenance, runs
from workbench.errors import InvalidParameter, InvalidRun, unknown
from workbench.fit import Budget
from workbench.progress import Watch
from workbench.runs import Run


@dataclass(frozen=True)
class Arm:
    """One side of a comparison: a method, the settings that differ from its defaults, and perhaps the stage before it.

    `before` is trained first, as a run of its own that arms with the same stage share; from its weights those whose
    names begin with one of `take` (`"encoder"`) are copied. `data` replaces options of the data for this arm alone.
    """

    method: str
    config: Mapping[str, Any] = field(default_factory=dict)
    budget: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    before: "Arm | None" = None
    take: tuple[str, ...] = ()


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


@functools.lru_cache(maxsize=8)
def opened(kind: str, options: str) -> data.Data:
    """A data set, made once a process; options as JSON, so that they can be a key.

    Files that were set aside are named here, once, by the main process; what is kept in runs has no names.
    """
    made = data.open_data(kind, **json.loads(options))
    if multiprocessing.parent_process() is None and device.rank() == 0:
        for name, reason in made.aside:
            print(f"set aside: {name}: {reason}", file=sys.stderr)
    return made


@dataclass(frozen=True)
class Task:
    """One training, complete and picklable: what a worker process or a cluster is sent."""

    name: str
    arm: Arm
    kind: str
    options: Mapping[str, Any]
    seed: int
    root: Path

    @property
    def data(self) -> data.Data:
        return opened(self.kind, json.dumps({**self.options, **self.arm.data}, sort_keys=True))

    @property
    def config(self) -> config.Config:
        """The method's settings; those that the data decides (image size, number of classes) come from the data."""
        cls = method.method_class(self.arm.method).Config
        (own,) = config.split(self.arm.config, cls)
        return cls(**{k: v for k, v in self.data.spec.items() if hasattr(cls, k)} | own)

    @property
    def budget(self) -> Budget:
        budget = Budget(**config.split(self.arm.budget, Budget)[0])
        precision = device.find_precision(budget.precision, device.find_device(budget.device))
        return dataclasses.replace(budget, precision=precision)

    @property
    def stage(self) -> tuple[Arm | None, tuple[str, ...]]:
        """What is trained before and the parts to take from it: as the arm says, else as the method's settings ask."""
        asked = None if self.arm.before else method.method_class(self.arm.method).before(self.config)
        if asked is None:
            return self.arm.before, self.arm.take
        changes = {**self.arm.budget, **asked.budget}, {**self.arm.data, **asked.data}
        return Arm(asked.method or self.arm.method, asked.config, *changes), asked.take

    @property
    def before(self) -> "Task | None":
        arm = self.stage[0]
        return dataclasses.replace(self, name=arm.method, arm=arm) if arm else None

    @property
    def label(self) -> str:
        return f"{self.name} seed {self.seed}"

    @property
    def id(self) -> str:
        return runs.identity(self.request())

    @property
    def finished(self) -> bool:
        return Run(runs.folder(self.root, self.arm.method, self.id)).state == "done"

    def request(self) -> dict[str, Any]:
        """What the run's id is a hash of: everything that changes its result, and nothing else."""
        budget = {k: v for k, v in dataclasses.asdict(self.budget).items() if k not in fit.ASIDE}
        group = data.module(self.kind).Options
        chosen = group(**config.split({**self.options, **self.arm.data}, group)[0])
        options = {k: v for k, v in dataclasses.asdict(chosen).items() if not k.startswith("root")}  # may hold names
        return {
            "method": self.arm.method, "config": dataclasses.asdict(self.config), "budget": budget, "seed": self.seed,
            "data": {"kind": self.kind, "name": self.data.name, **options, "fingerprint": self.data.fingerprint},
            "before": self.before.id if self.before else None, "take": list(self.stage[1]),
        }  # fmt: skip


def train(task: Task, watch: Watch | None = None) -> tuple[Run, bool]:
    """The finished run of a task, and whether it was there already; a half-done one is resumed.

    Raises:
        Stopped: the run can be resumed; InvalidParameter, InvalidImage, InvalidRun: as they say.
    """
    run = runs.create(task.root, task.request(), task.name)
    if run.state == "done":
        return run, True
    before = train(task.before)[0] if task.before else None
    with run.lock() if device.rank() == 0 else contextlib.nullcontext():
        start = time.monotonic()
        torch.manual_seed(method.seed_of(task.seed))
        model = method.method_class(task.arm.method)(task.config)
        model.begin()
        if before:
            take(model, before, task.stage[1])
        if device.rank() == 0:
            runs.write_json(run.path / "env.json", environment(task))
        source, budget = task.data, task.budget
        fit.fit(model, source.train, budget, seed=task.seed, valid=source.valid, folder=run.path, watch=watch)
        if device.rank() == 0:
            finish(run, model, task, time.monotonic() - start)
    return run, False


def take(model: method.Method, before: Run, parts: tuple[str, ...]) -> None:
    """Copy the weights of a finished stage whose names begin with one of the parts."""
    from safetensors.torch import load_file

    weights = {k: v for k, v in load_file(before.path / "weights.safetensors").items() if k.startswith(parts)}
    shapes = {key: value.shape for key, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
    missing = [part for part in parts if not any(key.startswith(part) for key in weights)]
    unmatched = [key for key, value in weights.items() if shapes.get(key) != value.shape]
    if missing or unmatched or not parts:
        names, found = ", ".join(sorted({key.split(".")[0] for key in shapes})), ", ".join(missing or unmatched[:3])
        raise InvalidParameter("take", f"parts of both stages, such as {names}", found or "none", "name others")
    model.load_state_dict(weights, strict=False)


def environment(task: Task) -> dict[str, Any]:
    known = {"seed": task.seed, "fingerprint": task.data.fingerprint, "precision": task.budget.precision}
    return provenance.environment(device.find_device(task.budget.device), processes=device.world(), **known)


def finish(run: Run, model: method.Method, task: Task, seconds: float) -> None:
    """Evaluate on the test cases and write scores, samples, weights and, last of all, `done`."""
    from safetensors.torch import save as serialize

    model.settle((given, prediction) for given, prediction, _ in fit.evaluate(model, task.data.valid))
    table, arrays = evaluate.assess(model, task.data)
    runs.save(run.path / "scores.parquet", lambda file: table.to_parquet(file, index=False))
    for key, array in (arrays | (whole := evaluate.learned(model))).items():
        runs.save(run.path / "samples" / f"{key}.npy", lambda file, array=array: np.save(file, array))
    cases = table[[name for name in table if name in compare.NOT_METRICS]].to_dict("records")
    told = {"labels": dict(task.data.labels), "unit": task.data.unit, "whole": sorted(whole)}
    runs.write_json(run.path / "samples" / "index.json", {"cases": cases, "arrays": sorted(arrays)} | told)
    tensors = {k: v.contiguous() for k, v in model.state_dict().items() if isinstance(v, torch.Tensor)}
    runs.save(run.path / "weights.safetensors", lambda file: file.write(serialize(tensors)))
    aside = [(hashlib.sha256(os.fsencode(name)).hexdigest()[:10], reason) for name, reason in task.data.aside]
    runs.write_json(run.path / "report.json", {"seconds": round(seconds, 1), "aside": aside})
    runs.save(run.path / "done", lambda file: file.write(b""))


# ---------------------------------------------------------------- the study

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
        """The verdicts on the method's claims, as far as the arms that they name are in the study."""
        claims = card(self.arms[self.main].method).CLAIMS
        named = lambda claim: {claim.arm or self.main, claim.other or self.main}  # noqa: E731
        return [claim.judge(self.scores, self.main) for claim in claims if named(claim) <= self.arms.keys()]


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


def train_quietly(task: Task, threads: int) -> tuple[Run, bool, float]:
    """`train` in a worker process, without a progress bar."""
    torch.set_num_threads(threads)
    start = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("once")
        run, reused = train(task, watch=lambda told: None)
    return run, reused, time.monotonic() - start
