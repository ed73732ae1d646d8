"""Learning curves, the spread of a metric over cases and paired differences between arms, as HoloViews elements."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import holoviews as hv
import holoviews.plotting.bokeh  # the options below are those of this backend
import numpy as np
import pandas as pd

from workbench import compare, views
from workbench.errors import unknown

if TYPE_CHECKING:
    from workbench.runs import Run

AXES = {"step": "Step", "epoch": "Epoch", "time": "Time (s)"}
KINDS = ("box", "violin", "strip")
SIZE = {"responsive": True, "min_height": 240, "toolbar": "above", "show_grid": True, "backend": "bokeh"}


def logs(runs: Iterable["Run"]) -> pd.DataFrame:
    """The learning curves of many runs in one long table, with `arm`, `seed` and `run` added."""
    tables = []
    for run in runs:
        table = run.metrics()
        if len(table) and "step" in table:
            table = table.apply(pd.to_numeric, errors="coerce")
            tables.append(table.assign(arm=run.arm, seed=run.seed, run=run.id))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def quantities(table: pd.DataFrame) -> list[str]:
    """What was logged: the columns of `logs` that can be drawn."""
    known = {*AXES, "arm", "seed", "run"}
    return [name for name in table.columns if name not in known and table[name].notna().any()]


def learning(
    table: pd.DataFrame, quantity: str, axis: str = "step", log: bool = False, colors: Mapping[str, str] | None = None
) -> hv.Overlay:
    """One curve a run of one logged quantity; the seeds of an arm share its colour and its entry in the legend.

    Args:
        table: from `logs`.
        axis: `step`, `epoch` or `time` (s).
        log: a logarithmic vertical axis, without the values that are not positive.

    Raises:
        InvalidParameter: unknown quantity or axis.
    """
    for kind, name, known in (("quantity", quantity, quantities(table)), ("axis", axis, AXES)):
        if name not in known:
            raise unknown(kind, name, known)
    colors = colors or views.palette(table["arm"])
    layers = []
    for arm, rows in table.dropna(subset=[quantity]).groupby("arm", sort=False):
        rows = rows[rows[quantity] > 0] if log else rows
        curve = hv.Curve(broken(rows, axis, quantity), axis, [quantity, "seed"], label=arm)
        layers.append(curve.opts(color=colors[arm], line_width=1.8, alpha=0.85, tools=["hover"], backend="bokeh"))
    overlay = hv.Overlay(layers)
    return overlay.opts(**SIZE, logy=log, xlabel=AXES[axis], ylabel=quantity, legend_position="right", show_title=False)


def broken(rows: pd.DataFrame, axis: str, quantity: str) -> pd.DataFrame:
    """The curves of several runs in one table, an empty row between them, so that one line draws them apart."""
    parts = []
    for _, run in rows.groupby("run", sort=False):
        parts += [run[[axis, quantity, "seed"]].sort_values(axis), pd.DataFrame({axis: [np.nan]})]
    return pd.concat(parts[:-1], ignore_index=True) if parts else rows[[axis, quantity, "seed"]]


def ylabel(metric: str) -> str:
    """Name and unit of a metric.

    >>> ylabel("fg_psnr")
    'Foreground PSNR (dB)'
    """
    unit = views.UNITS.get(metric)
    return views.title(metric) + (f" ({unit})" if unit else "")


def distribution(
    scores: pd.DataFrame, metric: str, kind: str = "box", colors: Mapping[str, str] | None = None
) -> hv.Element:
    """How one metric spreads over the cases of each arm, all seeds together.

    Args:
        scores: from `compare.gather`.
        kind: `box`, `violin` or `strip` (every case a point).

    Raises:
        InvalidParameter: unknown metric or kind.
    """
    for what, name, known in (("metric", metric, compare.metrics(scores)), ("kind", kind, KINDS)):
        if name not in known:
            raise unknown(what, name, known)
    table = scores.dropna(subset=[metric])[["arm", metric]]
    colors = colors or views.palette(scores["arm"])
    shared = {**SIZE, "xlabel": "", "ylabel": ylabel(metric), "show_legend": False}
    fill = hv.dim("arm").categorize(dict(colors))
    if kind == "strip":
        points = hv.Scatter(table, "arm", metric)
        return points.opts(**shared, jitter=0.5, size=3, alpha=0.45, color=fill)
    if kind == "violin":
        return hv.Violin(table, "arm", metric).opts(**shared, violin_fill_color=fill, violin_fill_alpha=0.6)
    boxes = hv.BoxWhisker(table, "arm", metric)
    return boxes.opts(**shared, box_fill_color=fill, box_fill_alpha=0.6, outlier_alpha=0.4, box_width=0.5)


def differences(scores: pd.DataFrame, reference: str, metric: str) -> pd.DataFrame:
    """`compare.paired` of every other arm against one: a row an arm with mean, low, high, p, groups and seeds.

    Raises:
        InvalidParameter: unknown arm or metric.
    """
    arms = list(dict.fromkeys(scores["arm"]))
    for what, name, known in (("arm", reference, arms), ("metric", metric, compare.metrics(scores))):
        if name not in known:
            raise unknown(what, name, known)
    rows = [{"arm": arm, **vars(compare.paired(scores, arm, reference, metric))} for arm in arms if arm != reference]
    columns = ["arm", "mean", "low", "high", "p", "groups", "seeds"]
    return pd.DataFrame(rows, columns=columns).dropna(subset=["mean"])


def forest(table: pd.DataFrame, reference: str, metric: str, colors: Mapping[str, str]) -> hv.Overlay:
    """A forest plot of `differences`: mean and 95 % interval of each arm minus the reference, a line at zero.

    An arrow in the label of the axis points to where the arm is better than the reference.
    """
    rows = table[::-1]  # the first arm at the top
    interval = {"left": rows["mean"] - rows["low"], "right": rows["high"] - rows["mean"]}
    data = pd.DataFrame({"arm": rows["arm"], "mean": rows["mean"], **interval})
    fill = hv.dim("arm").categorize(dict(colors))
    points = hv.Scatter(rows, "arm", ["mean", "low", "high", "p", "groups", "seeds"])
    bars = hv.ErrorBars(data, "arm", ["mean", "left", "right"])
    layers = [
        hv.HLine(0).opts(color="#444444", line_width=1, line_dash="dashed", backend="bokeh"),
        bars.opts(line_width=2, color="#444444", backend="bokeh"),
        points.opts(color=fill, size=10, tools=["hover"], backend="bokeh"),
    ]
    arrow = "better →" if compare.better(metric) > 0 else "← better"
    text = f"{views.title(metric)}: arm − {reference}" + (f" ({views.UNITS[metric]})" if metric in views.UNITS else "")
    axes = {"invert_axes": True, "xlabel": "", "ylabel": f"{text}    {arrow}", "show_legend": False}
    return hv.Overlay(layers).opts(**SIZE, **axes, show_title=False, ylim=around_zero(table))


def around_zero(table: pd.DataFrame) -> tuple[float, float]:
    """Limits that hold all intervals of `differences` and zero, with a margin."""
    low, high = min(0.0, table["low"].min()), max(0.0, table["high"].max())
    margin = 0.08 * (high - low) or 1.0
    return low - margin, high + margin


def summary(scores: pd.DataFrame, metrics: Sequence[str] | None = None) -> pd.DataFrame:
    """Mean ± standard deviation over seeds of the mean over cases: text, one row an arm, one column a metric."""
    chosen = metrics or [m for m in compare.metrics(scores) if scores[m].notna().any()]
    table: dict[str, Any] = {}
    for metric in chosen:
        seeds = compare.per_seed(scores, metric)
        table[metric] = [
            f"{row.mean():.{digits(metric)}f}" + (f" ± {row.std():.{digits(metric)}f}" if row.count() > 1 else "")
            if row.count()
            else "–"
            for _, row in seeds.iterrows()
        ]
        table[metric] = pd.Series(table[metric], seeds.index)
    return pd.DataFrame(table).reindex(list(dict.fromkeys(scores["arm"]))).fillna("–")


def digits(metric: str) -> int:
    """Decimals worth printing: two for dB and ΔE00, three for metrics up to 1, four for squared errors."""
    return 2 if metric in views.UNITS else 4 if metric == "mse" else 3
