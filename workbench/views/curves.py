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


def plain(plot: Any, element: Any) -> None:
    """Leaves out the logo, and shows the tools only under the pointer."""
    plot.state.toolbar.logo, plot.state.toolbar.autohide = None, True


FRAME = {
    "backend": "bokeh",
    "responsive": True,
    "min_height": 190,
    "show_grid": True,
    "gridstyle": {"grid_line_color": "#e9ecf0"},
    "default_tools": ["pan", "box_zoom", "wheel_zoom", "save", "reset"],
    "active_tools": [],  # so that the wheel still scrolls the page
    "fontsize": {"labels": "9pt", "ticks": "8.5pt", "legend": "8.5pt"},
    "hooks": [plain],
}


CROWD = 8  # more arms than this have no room for names of full size, nor more colours
LEGEND = {
    "border_line_alpha": 0, "background_fill_alpha": 0, "padding": 4, "spacing": 12, "glyph_width": 16, "margin": 0,
}  # fmt: skip


def logs(runs: Iterable["Run"], arms: Iterable[str] | None = None) -> pd.DataFrame:
    """The learning curves of many runs in one long table, with `arm`, `seed` and `run` added, as `compare.gather`."""
    runs, tables = list(runs), []
    for run, arm in zip(runs, [run.arm for run in runs] if arms is None else arms, strict=True):
        table = run.metrics()
        if len(table) and "step" in table:
            table = table.map(lambda value: value if isinstance(value, (int, float)) else np.nan).astype(float)
            tables.append(table.assign(arm=arm, seed=run.seed, run=run.id))
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
    return overlay.opts(
        **FRAME,
        logy=log,
        xlabel=AXES[axis],
        ylabel=quantity,
        legend_position="top",
        legend_cols=6,
        legend_opts=LEGEND,
        show_legend=len(layers) <= CROWD,  # many leave the curves no room; the table of runs has the colours
        show_title=False,
    )


def broken(rows: pd.DataFrame, axis: str, quantity: str) -> pd.DataFrame:
    """The curves of several runs in one table, an empty row between them, so that one line draws them apart."""
    parts = []
    for _, run in rows.groupby("run", sort=False):
        parts += [run[[axis, quantity, "seed"]].sort_values(axis), pd.DataFrame({axis: [np.nan]})]
    return pd.concat(parts[:-1], ignore_index=True) if parts else rows[[axis, quantity, "seed"]]


def ylabel(metric: str, length: str = "mm") -> str:
    """Name and unit of a metric.

    >>> ylabel("fg_psnr")
    'Foreground PSNR (dB)'
    """
    unit = views.unit(metric, length)
    return views.title(metric) + (f" ({unit})" if unit else "")


def distribution(
    scores: pd.DataFrame,
    metric: str,
    kind: str = "box",
    colors: Mapping[str, str] | None = None,
    length: str = "mm",
) -> hv.Element:
    """How one metric spreads over the cases of each arm, all seeds together.

    Args:
        scores: from `compare.gather`.
        kind: `box`, `violin` or `strip` (every case a point).
        length: the unit of distances.

    Raises:
        InvalidParameter: unknown metric or kind.
    """
    for what, name, known in (("metric", metric, compare.metrics(scores)), ("kind", kind, KINDS)):
        if name not in known:
            raise unknown(what, name, known)
    table = scores.dropna(subset=[metric])[["arm", metric]]
    colors = colors or views.palette(scores["arm"])
    slanted = 35 if table["arm"].nunique() > 5 else 0  # many names do not fit side by side
    shared = {**FRAME, "xlabel": "", "ylabel": ylabel(metric, length), "show_legend": False, "xrotation": slanted}
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


def forest(
    table: pd.DataFrame, reference: str, metric: str, colors: Mapping[str, str], length: str = "mm"
) -> hv.Overlay:
    """A forest plot of `differences`: mean and 95 % interval of each arm minus the reference, a line at zero.

    An arrow in the label of the axis points to where the arm is better than the reference.
    """
    rows = table[::-1]  # the first arm at the top
    low, high = (rows[name].fillna(rows["mean"]) for name in ("low", "high"))  # of a single group no interval is known
    interval = {"left": rows["mean"] - low, "right": high - rows["mean"]}
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
    unit = views.unit(metric, length)
    text = f"{views.title(metric)}: arm − {reference}" + (f" ({unit})" if unit else "")
    axes = {"invert_axes": True, "xlabel": "", "ylabel": f"{text}    {arrow}", "show_legend": False}
    if len(table) > CROWD:
        axes["fontsize"] = FRAME["fontsize"] | {"yticks": "7pt"}
    return hv.Overlay(layers).opts(**FRAME | axes, show_title=False, ylim=around_zero(table))


def around_zero(table: pd.DataFrame) -> tuple[float, float]:
    """Limits that hold all means and intervals of `differences` and zero, with a margin."""
    known = table[["mean", "low", "high"]]
    low, high = min(0.0, known.min().min()), max(0.0, known.max().max())
    margin = 0.08 * (high - low) or 1.0
    return low - margin, high + margin


def summary(scores: pd.DataFrame, metrics: Sequence[str] | None = None) -> pd.DataFrame:
    """Mean ± standard deviation over seeds of the mean over cases: text, one row an arm, one column a metric."""
    chosen = metrics or [m for m in compare.metrics(scores) if scores[m].notna().any()]
    table = {m: compare.per_seed(scores, m).apply(mean_and_sd, axis=1, digits=digits(m)) for m in chosen}
    return pd.DataFrame(table).reindex(list(dict.fromkeys(scores["arm"]))).fillna("–")


def mean_and_sd(seeds: pd.Series, digits: int) -> str:
    """A mean over seeds, with the standard deviation where there are two or more.

    >>> mean_and_sd(pd.Series([1.0, 3.0]), 1), mean_and_sd(pd.Series([1.0]), 1)
    ('2.0 ± 1.4', '1.0')
    """
    if not seeds.count():
        return "–"
    spread = f" ± {seeds.std():.{digits}f}" if seeds.count() > 1 else ""
    return f"{seeds.mean():.{digits}f}{spread}"


def digits(metric: str) -> int:
    """Decimals worth printing: two for dB, mm and ΔE00, three for metrics up to 1, four for the smallest of them."""
    return 2 if views.unit(metric) in ("dB", "mm", "ΔE00") else 4 if metric in ("mse", "flicker", "motion") else 3
