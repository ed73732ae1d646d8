"""What a method's card claims, judged on data: the records of claims/*.json and the README's table made from them."""

import json
import math
import re
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from workbench import compare, runs
from workbench.errors import InvalidParameter, InvalidRun
from workbench.workers import follow_parent

VERDICTS = ("holds", "undecided", "does not hold")  # in the order of the README's columns
GROUPS = ("rivals", "floors", "ablations")  # what is compared where nothing else is asked for


def judge(
    name: str,
    seeds: int,
    options: Mapping[str, Any],
    budget: Mapping[str, Any],
    change: Mapping[str, Any] | None = None,
    *,
    which: tuple[str, ...],
    jobs: int,
    root: Path | None,
) -> dict[str, Any]:
    """Train a method and its arms on one data set and return the record, in the form that claims/*.json holds.

    `change` holds settings of the method and its ablations.
    """
    import torch

    from workbench.study import Study, arms_of, opened

    for key, value in (("seeds", seeds), ("jobs", jobs)):
        if value < 1:
            raise InvalidParameter(f"--{key}", "at least 1", str(value), "give more")
    study = Study(arms_of(name, which, change=change), options=options, budget=budget, seeds=range(seeds), root=root)
    opened(study.kind, json.dumps(dict(options), sort_keys=True))  # bad input is found before workers start
    threads = max(1, torch.get_num_threads() // jobs)  # what OMP_NUM_THREADS allows, or the cores
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=follow_parent) as pool:
        study.run(executor=pool, threads=threads)
    return record(study, name, options, {**(change or {}), **budget}, which)


def record(
    study: Any, name: str, options: Mapping[str, Any], asked: Mapping[str, Any], which: tuple[str, ...] = GROUPS
) -> dict[str, Any]:
    """The per-seed values of every arm and metric, and the verdicts; `asked` are the other settings of its command."""
    scores = study.scores
    metrics = compare.metrics(scores)
    arms = {arm: {m: per_seed(scores, arm, m) for m in metrics if per_seed(scores, arm, m)} for arm in study.arms}
    first = study.runs[0]
    shown = {k: v for k, v in options.items() if k != "root"} | dict(asked)
    words = [f"-p {key}={value}" for key, value in shown.items()] + ["--root FOLDER"] * ("root" in options)
    command = " ".join(["workbench claims", name, f"--seeds {len(study.seeds)}", "--arms", *which, *words])
    env = {k: first.env[k] for k in ("versions", "python", "device", "precision", "git", "fingerprint")}
    few = options.get("labelled")  # a record for each number of labels
    data = first.config["data"]["name"] + (f", {few} labels" if few else "")
    body = {"method": name, "data": data, "seeds": study.seeds, "arms": arms}
    return finite(body | {"verdicts": study.claims(), "command": command, "env": env})


def per_seed(scores: Any, arm: str, metric: str) -> list[float]:
    """The mean over cases, a value a seed; empty where the arm has no such score."""
    means = scores[scores["arm"] == arm].groupby("seed")[metric].mean()
    return [float(v) for v in means] if means.notna().all() else []


def finite(value: Any) -> Any:
    """The value with NaN and infinity as null, as JSON has no word for them; floats to six significant digits."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def read(path: Path) -> list[dict[str, Any]]:
    records = runs.read_json(path) if path.is_file() else []
    if not isinstance(records, list):
        raise InvalidRun(path, "a list of records", type(records).__name__, "move the file elsewhere")
    return records


def keep(path: Path, new: dict[str, Any]) -> None:
    """Put a record into the file in place of the one for the same data, if there is one."""
    records = [old for old in read(path) if old["data"] != new["data"]] + [new]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidRun(path.parent, "a folder that can be made", error.strerror, "choose another with out") from error
    numbered = lambda one: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", one["data"])]  # noqa: E731
    runs.write_json(path, sorted(records, key=numbered))


def markdown(folder: Path) -> str:
    """The README's table: a row for each claim that must hold, with the data it holds on, is undecided, or fails on."""
    lines = ["| method | must hold | " + " | ".join(VERDICTS) + " |", "|---" * (2 + len(VERDICTS)) + "|"]
    for path in sorted(folder.glob("*.json")):
        found: dict[str, dict[str, list[str]]] = {}
        for one in read(path):
            for verdict in (v for v in one["verdicts"] if v["kind"] == "must"):
                cells = found.setdefault(f"{verdict['claim']} ({verdict['metric']})", {name: [] for name in VERDICTS})
                cells[verdict["verdict"]].append(cell(one["data"], verdict))
        lines += [
            "| " + " | ".join([path.stem, claim, *map("<br>".join, cells.values())]) + " |"
            for claim, cells in found.items()
        ]
    return "\n".join(lines)


def cell(data: str, verdict: dict[str, Any]) -> str:
    """The data set with the difference and its interval, with more than two decimals where it is small."""
    difference, (low, high) = verdict["difference"], verdict["interval"]
    bounds = [abs(value) for value in (difference, low, high) if value is not None]
    digits = compare.digits_of(max(bounds, default=1)) if max(bounds, default=1) < 0.1 else 2
    shown, low, high = ("n/a" if value is None else f"{value:.{digits}f}" for value in (difference, low, high))
    return f"{data}: {shown} [{low}, {high}]"
