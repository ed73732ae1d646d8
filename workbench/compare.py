"""Comparisons of runs from their tables of scores: means over seeds, paired differences with intervals. No torch."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

if TYPE_CHECKING:
    from workbench.runs import Run

LOWER_IS_BETTER = ("mae", "mse", "fg_mae", "leakage", "ciede2000")
NOT_METRICS = ("case", "group", "arm", "seed", "run", "background", "label", "split")


@dataclass(frozen=True)
class Difference:
    """Mean paired difference a - b, its 95 % interval, and Wilcoxon's two-sided p over groups (NaN where not defined)."""

    mean: float
    low: float
    high: float
    p: float
    groups: int
    seeds: int


def gather(runs: Iterable["Run"]) -> pd.DataFrame:
    """The scores of many runs in one long table, with columns `arm`, `seed` and `run` added."""
    tables = [run.scores().assign(arm=run.arm, seed=run.seed, run=f"{run.name}/{run.id}") for run in runs]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(NOT_METRICS))


def metrics(scores: pd.DataFrame) -> list[str]:
    """The columns of a table of scores that are metrics."""
    numeric = scores.select_dtypes("number").columns
    return [name for name in numeric if name not in NOT_METRICS]


def better(metric: str) -> int:
    """+1 where a higher value of the metric is better, -1 where a lower one is.

    >>> better("fg_psnr"), better("mae")
    (1, -1)
    """
    return -1 if metric in LOWER_IS_BETTER else 1


def per_seed(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Mean over cases: one row an arm, one column a seed."""
    return scores.pivot_table(index="arm", columns="seed", values=metric, aggfunc="mean", sort=False)


def paired(scores: pd.DataFrame, first: str, second: str, metric: str, resamples: int = 4000) -> Difference:
    """The paired difference first - second of one metric over the seeds and cases that both arms share.

    Cases of one group (a patient, a lesion, a slice shown on two backgrounds) count as one: they are averaged first.
    The interval is a percentile bootstrap in which seeds and groups are drawn anew, each with replacement.
    """
    table = scores[scores["arm"].isin([first, second])]
    table = table.pivot_table(index=["seed", "group", "case"], columns="arm", values=metric, aggfunc="mean")
    if not {first, second} <= set(table.columns):
        return Difference(*[float("nan")] * 4, groups=0, seeds=0)
    difference = (table[first] - table[second]).dropna().groupby(["seed", "group"]).mean().unstack("group")
    values = difference.to_numpy(float)
    if not values.size:
        return Difference(*[float("nan")] * 4, groups=0, seeds=0)
    low, high = interval(values, resamples)
    by_group = np.nanmean(values, axis=0)
    p = stats.wilcoxon(by_group).pvalue if len(by_group) > 1 and np.any(by_group != 0) else float("nan")
    return Difference(float(np.nanmean(by_group)), low, high, float(p), values.shape[1], values.shape[0])


def interval(values: np.ndarray, resamples: int = 4000) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of values (seeds, groups), NaN where a pair is missing; both axes are drawn."""
    rng = np.random.default_rng(0)  # fixed, so that the same scores give the same interval
    seeds, groups = values.shape
    rows = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
    columns = rng.multinomial(groups, np.full(groups, 1 / groups), size=resamples)
    present = ~np.isnan(values)
    total = np.einsum("rs,sg,rg->r", rows, np.where(present, values, 0.0), columns, optimize=True)
    weight = np.einsum("rs,sg,rg->r", rows, present.astype(float), columns, optimize=True)
    low, high = np.quantile(total[weight > 0] / weight[weight > 0], [0.025, 0.975])
    return float(low), float(high)
