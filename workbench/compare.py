"""Comparisons of runs from their tables of scores: means over seeds, paired differences with intervals. No torch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from workbench.errors import unknown

if TYPE_CHECKING:
    from workbench.runs import Run

LOWER_IS_BETTER = (  # these and what begins with one of them: hd95_cup
    "mae", "mse", "fg_mae", "fg_mse", "leakage", "ciede2000", "hd95", "hausdorff", "centroid", "cdr", "epe", "cycle",
    "folds", "overlap_distance", "ed", "false_", "cnr_error", "wasserstein", "flicker", "motion", "nll", "ece",
)  # fmt: skip
NOT_METRICS = ("case", "group", "arm", "seed", "run", "background", "label", "split", "score", "called", "confidence")
DEALT = ("fold", "data_seed")  # the settings of data that deal the cases anew, so that a seed may have its own
NO_METRIC = ("label_", "score_")  # and what begins with one of these: of several findings each its own


@dataclass(frozen=True)
class Difference:
    """Mean paired difference, its 95 % interval, and Wilcoxon's two-sided p over groups (NaN if undefined)."""

    mean: float
    low: float
    high: float
    p: float
    groups: int
    seeds: int


@dataclass(frozen=True)
class Claim:
    """What a method's card says: that its metric is better than another arm's by more than `margin`.

    The margin has the metric's unit; below 0 it is a tolerance. Without `other` the metric itself is to exceed it.
    `kind` is `must` for what has to hold, `reported` for what is shown however it turns out. `arm` names the arm that
    is judged where it is not the method itself, such as an ablation. With `spread` it is the metric's spread over the
    cases that is to be smaller, see `deviations`.
    """

    text: str
    metric: str
    other: str | None
    margin: float = 0.0
    kind: Literal["must", "reported"] = "must"
    arm: str | None = None
    spread: bool = False

    def judge(self, scores: pd.DataFrame, arm: str) -> dict[str, Any]:
        """`holds` where the whole 95 % interval is beyond the margin, `does not hold` where none is, or `undecided`."""
        arm = self.arm or arm
        if self.spread:
            scores = deviations(scores, self.metric)
        if self.other is None:
            constant = scores[scores["arm"] == arm].assign(arm="", **{self.metric: 0.0})
            scores = pd.concat([scores[scores["arm"] == arm], constant])
        difference = paired(scores, arm, self.other or "", self.metric)
        sign = 1 if self.other is None else -1 if self.spread else better(self.metric)
        low, high = sorted((sign * difference.low - self.margin, sign * difference.high - self.margin))
        verdict = "holds" if low > 0 else "does not hold" if high < 0 else "undecided"
        values = {"difference": difference.mean, "interval": [difference.low, difference.high], "p": difference.p}
        metric = f"spread of {self.metric}" if self.spread else self.metric
        asked = {"claim": self.text, "kind": self.kind, "metric": metric, "margin": self.margin}
        return asked | {"verdict": verdict, **values}


def gather(runs: Iterable["Run"], arms: Iterable[str] | None = None) -> pd.DataFrame:
    """The scores of many runs in one long table, with columns `arm`, `seed` and `run` added.

    `arms` are other names, a run each, where the settings of one arm differ: from `views.arms`.
    """
    runs = list(runs)
    arms = [run.arm for run in runs] if arms is None else arms
    tables = [
        run.scores().assign(arm=arm, seed=run.seed, run=f"{run.name}/{run.id}")
        for run, arm in zip(runs, arms, strict=True)
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(NOT_METRICS))


def alike(runs: Iterable["Run"]) -> list[list["Run"]]:
    """Groups of runs that can be compared, the largest first: those tested on the same cases, or on folds of the same.

    The fingerprint of the data tells; each fold of a cross-validation and phantoms of each seed have one of their own.
    """
    groups: dict[str, list[Run]] = {}
    prints: dict[str, set[str]] = {}
    asked = {run: {key: value for key, value in run.config["data"].items() if key != "fingerprint"} for run in runs}
    for run, data in asked.items():
        prints.setdefault(repr(data), set()).add(run.config["data"]["fingerprint"])
    for run, data in asked.items():
        changed = run.config["data"]["fingerprint"] if len(prints[repr(data)]) > 1 else ""
        groups.setdefault(repr([{**data, **dict.fromkeys(DEALT)}, changed]), []).append(run)
    return sorted(groups.values(), key=len, reverse=True)


def metrics(scores: pd.DataFrame) -> list[str]:
    """The columns of a table of scores that are metrics."""
    numeric = scores.select_dtypes("number").columns
    return [name for name in numeric if name not in NOT_METRICS and not name.startswith(NO_METRIC)]


def better(metric: str) -> int:
    """+1 where a higher value of the metric is better, -1 where a lower one is.

    >>> better("fg_psnr"), better("mae")
    (1, -1)
    """
    return -1 if metric.startswith(LOWER_IS_BETTER) else 1


def per_seed(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Mean over cases: one row an arm, one column a seed."""
    return scores.pivot_table(index="arm", columns="seed", values=metric, aggfunc="mean", sort=False)


def deviations(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The scores with each case's distance from its run's median in place of the metric.

    Their means compare the spread of two arms over the cases, robustly (Brown and Forsythe, 1974).
    """
    middle = scores.groupby(["arm", "seed"])[metric].transform("median")
    return scores.assign(**{metric: (scores[metric] - middle).abs()})


def table(scores: pd.DataFrame, layout: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Text cells `mean ± sd over seeds` (the mean alone for one seed): one row an arm, one column a layout entry.

    An entry is (background, metric): the cases of one background, or `average` for all of them.
    """
    columns = {}
    for background, metric in layout:
        part = scores if background == "average" else scores[scores["background"] == background]
        if len(part) and metric in part:
            columns[background, metric] = cells(per_seed(part, metric)).reindex(scores["arm"].unique(), fill_value="-")
    return pd.DataFrame(columns)


def digits_of(largest: float) -> int:
    """Decimals that leave at least two digits of the largest value in a column: 2 from 2 on, else 3, more below 0.1.

    >>> [digits_of(value) for value in (24.0, 0.8, 0.066, 0.0009)]
    [2, 3, 4, 5]
    """
    return 2 if largest >= 2 else 3 if not 0 < largest < 0.1 else 4 if largest >= 0.01 else 5


def cells(values: pd.DataFrame) -> pd.Series:
    mean, sd = values.mean(axis=1), values.std(axis=1)
    digits = digits_of(mean.abs().max())
    many = values.shape[1] > 1
    text = [
        f"{m:.{digits}f}" + (f" ± {s:.{digits}f}" if many and s == s else "") for m, s in zip(mean, sd, strict=True)
    ]
    return pd.Series(text, index=values.index)


def paired(scores: pd.DataFrame, first: str, second: str, metric: str) -> Difference:
    """The paired difference first - second of one metric over the seeds and cases that both arms share.

    Cases of one group (a patient, a lesion, a slice shown on two backgrounds) count as one: they are averaged first.
    The interval is that of `interval`.

    Raises:
        InvalidParameter: a metric that the scores do not have, with the nearest.
    """
    if metric not in scores:
        raise unknown("metric", metric, metrics(scores))
    table = scores[scores["arm"].isin([first, second])]
    table = table.pivot_table(index=["seed", "group", "case"], columns="arm", values=metric, aggfunc="mean")
    if not {first, second} <= set(table.columns):
        return Difference(*[float("nan")] * 4, groups=0, seeds=0)
    difference = (table[first] - table[second]).dropna().groupby(["seed", "group"]).mean().unstack("group")
    values = difference.to_numpy(float)
    if not values.size:
        return Difference(*[float("nan")] * 4, groups=0, seeds=0)
    low, high = interval(values)
    by_group = np.nanmean(values, axis=0)
    p = stats.wilcoxon(by_group).pvalue if len(by_group) > 1 and np.any(by_group != 0) else float("nan")
    return Difference(float(np.nanmean(by_group)), low, high, float(p), values.shape[1], values.shape[0])


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of values (seeds, groups), NaN where missing: a new seed on a new group.

    Seeds and groups are crossed random effects: the variance of the mean is that of the seeds' means over their number
    plus that of the groups' means over theirs, less what the residual adds to both; Student's t with Satterthwaite's
    degrees of freedom keeps few seeds honest (a bootstrap over five is too narrow). One seed: groups alone.
    """
    mean, sizes = np.nanmean(values), np.array(values.shape)
    by_seed, by_group = np.nanmean(values, axis=1), np.nanmean(values, axis=0)
    means = [by for by in (by_seed, by_group) if len(by) > 1]
    if not means:
        return float("nan"), float("nan")
    parts = np.array([by.var(ddof=1) / len(by) for by in means])
    variance = parts.sum()
    if len(parts) == 2:
        residual = values - by_seed[:, None] - by_group[None] + mean
        shared = np.nansum(residual**2) / ((sizes - 1).prod() * sizes.prod())
        variance = max(variance - shared, parts.max())
    freedom = parts.sum() ** 2 / sum(part**2 / (len(by) - 1) for part, by in zip(parts, means)) if variance else 1.0
    half = stats.t.ppf(0.975, freedom) * np.sqrt(variance)
    return float(mean - half), float(mean + half)
