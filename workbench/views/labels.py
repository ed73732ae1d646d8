"""Label curves: a metric against the number of labels that were learnt from, and what an arm gains over another."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import holoviews as hv
import holoviews.plotting.bokeh  # the options below are those of this backend
import numpy as np
import pandas as pd

from workbench import compare, views
from workbench.errors import InvalidParameter, unknown
from workbench.views.classes import FONTS
from workbench.views.curves import FRAME, LEGEND, around_zero, plain, ylabel

if TYPE_CHECKING:
    from workbench.runs import Run

APART = 0.012  # of the width of the axis, between the points of two arms at one number of labels
WIDE = {
    "backend": "bokeh", "width": 520, "height": 360, "show_grid": True, "gridstyle": FRAME["gridstyle"],
    "default_tools": ["save"], "active_tools": [], "hooks": [plain],
}  # fmt: skip


def number(run: "Run") -> int:
    """How many training images a run was given the labels of; where the run does not tell, as many as it asked for."""
    told = run.samples.index.get("train")
    asked = run.config.get("data", {})
    return int(told or asked.get("labelled") or asked.get("train") or 0)


def plainer(arm: str, count: int) -> str:
    """The name of an arm without its own number of labels at the end, so that arms of one kind share a line.

    >>> plainer("c2l-60", 60), plainer("scratch_labels300", 300), plainer("resnet18", 60)
    ('c2l', 'scratch', 'resnet18')
    """
    return re.sub(rf"[-_ ](?:labels?|labelled|n)?[-_ =]?{count}$", "", arm) or arm


def counted(runs: Iterable["Run"]) -> pd.DataFrame:
    """The scores of many runs as of `compare.gather`, with `labels`, and arms of one kind under one name.

    Left out are runs that are a stage of another one and no arm of their own; of runs alike in arm, labels and seed the
    last one counts.
    """
    named = [(run, plainer(run.arm, number(run))) for run in runs]
    stages = {(run.config.get("before"), arm) for run, arm in named}
    ends = [(run, arm) for run, arm in named if (run.id, arm) not in stages]
    last = {(arm, number(run), run.seed): run for run, arm in ends}
    tables = [
        run.scores().assign(arm=arm, seed=seed, run=f"{run.name}/{run.id}", labels=count)
        for (arm, count, seed), run in last.items()
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["arm", "seed", "labels"])


def checked(scores: pd.DataFrame, metric: str, reference: str | None) -> None:
    """Raises InvalidParameter for a table without `labels`, an unknown metric or an unknown reference arm."""
    if "labels" not in scores or not (scores["labels"] > 0).all() or not len(scores):
        raise InvalidParameter("scores", "a row a case with labels above 0", "none", "gather runs with labels.counted")
    known = [name for name in compare.metrics(scores) if name != "labels"]
    for what, name, choice in (("metric", metric, known), ("arm", reference, list(scores["arm"].unique()))):
        if name is not None and name not in choice:
            raise unknown(what, name, choice)


def means(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A row an arm and number of labels: `mean` of the metric over seeds of the mean over cases, the 95 % interval
    `low` to `high` of that mean over seeds (Student's t; NaN for one seed), and the number of `seeds`.

    Raises:
        InvalidParameter: as `checked`.
    """
    checked(scores, metric, None)
    rows = []
    for (arm, count), part in scores.dropna(subset=[metric]).groupby(["arm", "labels"], sort=False):
        values = part.groupby("seed")[metric].mean().to_numpy(float)
        low, high = compare.interval(values[:, None])
        rows.append(
            {"arm": arm, "labels": count, "mean": values.mean(), "low": low, "high": high, "seeds": len(values)}
        )
    return pd.DataFrame(rows, columns=["arm", "labels", "mean", "low", "high", "seeds"])


def gains(scores: pd.DataFrame, metric: str, reference: str) -> pd.DataFrame:
    """A row an arm and number of labels: `compare.paired` against the reference arm with as many labels.

    Raises:
        InvalidParameter: as `checked`.
    """
    checked(scores, metric, reference)
    rows = []
    for count, part in scores.groupby("labels"):
        for arm in scores["arm"].unique():
            if arm != reference:
                rows.append({"arm": arm, "labels": count, **vars(compare.paired(part, arm, reference, metric))})
    columns = ["arm", "labels", "mean", "low", "high", "p", "groups", "seeds"]
    return pd.DataFrame(rows, columns=columns).dropna(subset=["mean"])


# ---------------------------------------------------------------- pictures


def lines(
    table: pd.DataFrame, colors: Mapping[str, str], told: str, look: Mapping[str, Any], under: Sequence[hv.Element] = ()
) -> hv.Overlay:
    """A line an arm of `means` or `gains`, with intervals, over other elements; the axis of labels is logarithmic."""
    counts = sorted(table["labels"].unique())
    reach = max(np.log(counts[-1] / counts[0]), np.log(2)) if counts else 1.0
    arms, layers = list(dict.fromkeys(table["arm"])), list(under)
    for place, arm in enumerate(arms):
        rows = table[table["arm"] == arm].sort_values("labels")
        aside = np.exp(APART * reach * (place - (len(arms) - 1) / 2))  # so that no interval hides another
        rows = rows.assign(
            x=rows["labels"] * aside, below=rows["mean"] - rows["low"], above=rows["high"] - rows["mean"]
        )
        known = rows.dropna(subset=["below"])
        error = hv.ErrorBars(known, "x", ["mean", "below", "above"])
        layers.append(error.opts(color=colors[arm], line_width=1.5, upper_head=None, lower_head=None, backend="bokeh"))
        values = ["mean", "labels", "low", "high", "seeds"]
        curve = hv.Curve(rows, "x", values, label=arm).opts(color=colors[arm], line_width=1.8, backend="bokeh")
        dots = hv.Scatter(rows, "x", values, label=arm)
        seen = [("", arm), ("labels", "@labels"), ("mean", "@mean{0.0000}"), ("from", "@low{0.0000}")]
        seen += [("to", "@high{0.0000}"), ("seeds", "@seeds")]
        hover = {"tools": ["hover"], "hover_tooltips": seen}
        layers += [curve, dots.opts(color=colors[arm], size=7, **hover, backend="bokeh")]
    edge = np.exp(0.06 * reach)
    limits = {"xlim": (counts[0] / edge, counts[-1] * edge)} if counts else {}
    words = {"xlabel": "Labelled training images", "ylabel": told, "xticks": [(n, f"{n:g}") for n in counts]}
    if under:
        limits["ylim"] = around_zero(table.assign(**{end: table[end].fillna(table["mean"]) for end in ("low", "high")}))
    style = {"show_legend": not under, "legend_position": "top", "legend_cols": 4, "legend_opts": LEGEND}
    return hv.Overlay(layers).opts(
        **words | limits | style | {"logx": True, "show_title": False, "fontsize": FONTS} | dict(look)
    )


def curve(
    scores: pd.DataFrame, metric: str, colors: Mapping[str, str], length: str = "mm", look: Mapping[str, Any] = WIDE
) -> hv.Overlay:
    """The metric against the number of labels, a line an arm."""
    arrow = "↑ better" if compare.better(metric) > 0 else "↓ better"
    return lines(means(scores, metric), colors, f"{ylabel(metric, length)}   {arrow}", look)


def gain(
    scores: pd.DataFrame, metric: str, reference: str, colors: Mapping[str, str], length: str = "mm",
    look: Mapping[str, Any] = WIDE,
) -> hv.Overlay:  # fmt: skip
    """What the arms gain over the reference arm with as many labels, paired over seeds and cases; above 0 is better."""
    table = gains(scores, metric, reference)
    sign = compare.better(metric)
    ends = {"mean": sign * table["mean"], "low": sign * table["low"], "high": sign * table["high"]}
    table = table.assign(**ends if sign > 0 else ends | {"low": ends["high"], "high": ends["low"]})
    unit = views.unit(metric, length)
    told = f"Gain in {views.title(metric)} over {reference}" + (f" ({unit})" if unit else "")
    zero = hv.HLine(0).opts(color="#444444", line_width=1, line_dash="dashed", backend="bokeh")
    return lines(table, colors, told, look, [zero])


def label_curve(
    runs: "Sequence[Run] | pd.DataFrame", metric: str, reference: str | None = None,
    colors: Mapping[str, str] | None = None,
) -> hv.Layout:  # fmt: skip
    """A metric against the number of labels, with 95 % intervals over seeds; beside it the gain over a reference arm.

    Args:
        runs: finished runs, or their scores as of `counted`.
        colors: a colour an arm.

    Raises:
        InvalidParameter: no runs, an unknown metric or reference arm.
    """
    scores = runs if isinstance(runs, pd.DataFrame) else counted(runs)
    checked(scores, metric, reference)
    length = "mm" if isinstance(runs, pd.DataFrame) else views.length(runs)
    colors = colors or views.palette(scores["arm"])
    parts = [curve(scores, metric, colors, length)]
    if reference is not None:
        parts.append(gain(scores, metric, reference, colors, length))
    return hv.Layout(parts).opts(shared_axes=False)
