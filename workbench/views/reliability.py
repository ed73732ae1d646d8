"""Reliability: how often a run is right by how sure it is, in bins, with the expected calibration error."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import holoviews as hv
import holoviews.plotting.bokeh  # the options below are those of this backend
import numpy as np
import pandas as pd
from scipy import stats

from workbench import views
from workbench.errors import InvalidParameter
from workbench.views.classes import FONTS, SQUARE, Outcome, read, sure
from workbench.views.curves import FRAME, LEGEND

if TYPE_CHECKING:
    from workbench.runs import Run

BINS = 15  # of equal width, those of the metric `ece`


def binned(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """A row a bin of equal width: `low`, `high`, `cases`, the mean `confidence` in [0, 1], the share `right`, and the
    ends `from` and `to` of Wilson's 95 % interval of that share; NaN where there is no case.

    >>> binned(np.array([0.2, 0.4, 0.9]), np.array([0, 1, 1]), 2)[["cases", "confidence", "right"]].values.tolist()
    [[2.0, 0.30000000000000004, 0.5], [1.0, 0.9, 1.0]]
    """
    edges = np.linspace(0, 1, bins + 1)
    place = np.digitize(confidence, edges[1:-1], right=True)
    cases = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, values, bins) for values in (confidence, right)]
    mean, share = (np.where(cases > 0, total / np.maximum(cases, 1), np.nan) for total in sums)
    z, count = stats.norm.ppf(0.975), np.maximum(cases, 1)
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    parts = {"low": edges[:-1], "high": edges[1:], "cases": cases, "confidence": mean, "right": share}
    return pd.DataFrame(parts | {"from": middle - half, "to": middle + half})


def ece(table: pd.DataFrame) -> float:
    """The expected calibration error of bins as of `binned`: the mean gap over the cases, in [0, 1]."""
    gaps = (table["confidence"] - table["right"]).abs() * table["cases"]
    return float(gaps.sum() / table["cases"].sum()) if table["cases"].sum() else float("nan")


def diagram(
    tables: Mapping[str, pd.DataFrame], axes: Sequence[str], look: Mapping[str, Any] = SQUARE, title: str = ""
) -> hv.Overlay:
    """Confidence against the share that is right, a line each of some tables as of `binned`, with their intervals."""
    layers = [hv.Curve([(0, 0), (1, 1)]).opts(color="#8a94a0", line_dash="dashed", line_width=1, backend="bokeh")]
    for (name, table), tint in zip(tables.items(), views.palette(tables).values(), strict=True):
        seen = table[table["cases"] > 0].rename(columns={"right": "share"})
        bars = seen.assign(below=seen["share"] - seen["from"], above=seen["to"] - seen["share"])
        error = hv.ErrorBars(bars, "confidence", ["share", "below", "above"])
        layers.append(
            error.opts(color=tint, line_width=1, alpha=0.5, upper_head=None, lower_head=None, backend="bokeh")
        )
        told = f"{name} · ECE {ece(table):.3f}"
        line = hv.Curve(seen, "confidence", ["share", "cases"], label=told)
        layers.append(line.opts(color=tint, line_width=1.8, backend="bokeh"))
        dots = hv.Scatter(seen, "confidence", ["share", "cases"], label=told)
        layers.append(dots.opts(color=tint, size=6, tools=["hover"], backend="bokeh"))
    words = {"xlabel": axes[0], "ylabel": axes[1], "title": title}
    limits = {
        "xlim": (-0.02, 1.02),
        "ylim": (-0.03, 1.03),
        "legend_position": "top",
        "legend_cols": 2,
        "legend_opts": LEGEND,
    }
    grid_lines = {"show_grid": True, "gridstyle": FRAME["gridstyle"]}
    return hv.Overlay(layers).opts(**words | limits | grid_lines | {"fontsize": FONTS} | dict(look))


def tallies(tables: Mapping[str, pd.DataFrame], axis: str, look: Mapping[str, Any] = SQUARE) -> hv.Overlay:
    """How many cases fall into each bin of some tables as of `binned`."""
    layers = []
    for table, tint in zip(tables.values(), views.palette(tables).values(), strict=True):
        edges = np.append(table["low"], table["high"].iloc[-1])
        steps = hv.Histogram((edges, table["cases"].to_numpy()), kdims="confidence", vdims="cases")
        layers.append(steps.opts(fill_color=tint, fill_alpha=0.25, line_color=tint, tools=["hover"], backend="bokeh"))
    words = {
        "xlabel": axis,
        "ylabel": "Cases",
        "xlim": (-0.02, 1.02),
        "ylim": (0, None),
        "yticks": 3,
        "show_legend": False,
        "title": "",
    }
    size = {"height": 150} if "height" in look else {}
    return hv.Overlay(layers).opts(**words | {"fontsize": FONTS} | dict(look) | size)


def binnings(runs: Iterable["Run"], finding: str | None = None, bins: int = BINS) -> dict[str, pd.DataFrame]:
    """`binned` of every run by its label."""
    return {views.label(run): binned(*sure(read(run), finding), bins) for run in runs}


def words(outcome: Outcome, finding: str | None) -> tuple[str, str]:
    """What the axes of a reliability diagram say."""
    if outcome.exclusive:
        return "Confidence in the class called", "Share that is right"
    name = finding or outcome.names[0]
    return f"Probability given to {name}", f"Share in which {name} is there"


def reliability(runs: Sequence["Run"], finding: str | None = None, bins: int = BINS) -> hv.Layout:
    """How often some runs are right by how sure they are, in bins of equal width, with the cases in each bin below.

    Of findings one is chosen by its name, else each has a diagram of its own. The legend tells the expected
    calibration error, the mean gap over the cases.

    Raises:
        InvalidParameter: no runs, or runs with other classes; InvalidRun: as `read`.
    """
    outcomes = [read(run) for run in runs]
    if not outcomes or any(one.names != outcomes[0].names for one in outcomes):
        raise InvalidParameter("runs", "one or more with the same classes", "none or unlike ones", "choose others")
    names = [finding] if finding or outcomes[0].exclusive else outcomes[0].names
    wide, parts = min(len(names), 4), []
    for start in range(0, len(names), wide):
        group = names[start : start + wide]
        tables = [binnings(runs, name, bins) for name in group]
        axes = [words(outcomes[0], name) for name in group]
        blank = [hv.Empty()] * (wide - len(group))
        parts += [diagram(table, each) for table, each in zip(tables, axes)] + blank
        parts += [tallies(table, each[0]) for table, each in zip(tables, axes)] + blank
    return hv.Layout(parts).cols(wide).opts(shared_axes=False)
