"""One training: what it is asked for, its run folder, and the stages before it."""

import contextlib
import dataclasses
import functools
import json
import multiprocessing
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workbench import compare, config, data, device, evaluate, fit, method, provenance, runs
from workbench.data.io.kind import hashed
from workbench.errors import InvalidParameter
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
    def asked(self) -> method.Stage | None:
        """The stage that the method's settings ask for, where the arm has none of its own."""
        return None if self.arm.before else method.method_class(self.arm.method).before(self.config)

    @property
    def stage(self) -> tuple[Arm | None, tuple[str, ...]]:
        """What is trained before and the parts to take from it: as the arm says, else as the method's settings ask."""
        asked = self.asked
        if asked is None:
            return self.arm.before, self.arm.take
        changes = {**self.arm.budget, **asked.budget}, {**self.arm.data, **asked.data}
        return Arm(asked.method or self.arm.method, asked.config, *changes), asked.take

    @property
    def before(self) -> "Task | None":
        asked, arm = self.asked, self.stage[0]
        return dataclasses.replace(self, name=(asked and asked.name) or arm.method, arm=arm) if arm else None

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
        asked = dataclasses.asdict(self.budget).items()
        budget = {k: v for k, v in asked if k not in fit.ASIDE and (v or k not in fit.OPTIONAL)}
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
    told |= {"truth": task.data.truth, "train": len(task.data.train)}
    runs.write_json(run.path / "samples" / "index.json", {"cases": cases, "arrays": sorted(arrays)} | told)
    tensors = {k: v.contiguous() for k, v in model.state_dict().items() if isinstance(v, torch.Tensor)}
    runs.save(run.path / "weights.safetensors", lambda file: file.write(serialize(tensors)))
    aside = [(hashed(name), reason) for name, reason in task.data.aside]
    runs.write_json(run.path / "report.json", {"seconds": round(seconds, 1), "aside": aside})
    runs.save(run.path / "done", lambda file: file.write(b""))


# ---------------------------------------------------------------- the study


def train_quietly(task: Task, threads: int) -> tuple[Run, bool, float]:
    """`train` in a worker process, without a progress bar."""
    torch.set_num_threads(threads)
    start = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("once")
        run, reused = train(task, watch=lambda told: None)
    return run, reused, time.monotonic() - start
