"""Matrices between classes: which are taken for which, and how alike a run takes them to be beside what is known."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import holoviews as hv
import holoviews.plotting.bokeh  # the options below are those of this backend
import numpy as np
from scipy import stats

from workbench import views
from workbench.errors import InvalidRun
from workbench.views.classes import FONTS, SQUARE, Outcome, read, shorter, truth

if TYPE_CHECKING:
    from workbench.runs import Run

LEGIBLE = 12  # more classes than this leave no room for numbers in the cells
OUTCOMES = ("not there,\nnot found", "not there,\nfound", "there,\nnot found", "there,\nfound")
DIVERGING, INK = "RdBu_r", "#1f2933"
KEPT = ("correlation", "similarity")

# ---------------------------------------------------------------- which classes are taken for which


def counts(outcome: Outcome) -> np.ndarray:
    """How many cases of every class (row) are called each (column), (K, K); of findings (L, 4) as of `OUTCOMES`."""
    if outcome.exclusive:
        found = np.zeros((len(outcome.names),) * 2, int)
        np.add.at(found, (outcome.truth, outcome.called), 1)
        return found
    kinds = [(outcome.truth == there) & (outcome.called == found) for there in (0, 1) for found in (0, 1)]
    return np.stack([kind.sum(0) for kind in kinds], 1)


def shares(found: np.ndarray, exclusive: bool = True) -> np.ndarray:
    """Counts as shares of their row, of findings of those that are there and of those that are not; NaN for none.

    >>> shares(np.array([[3, 1], [0, 0]]))
    array([[0.75, 0.25],
           [ nan,  nan]])
    """
    parts = found[:, None] if exclusive else found.reshape(len(found), 2, 2)
    total = parts.sum(2, keepdims=True)
    return np.where(total > 0, parts / np.maximum(total, 1), np.nan).reshape(found.shape)


def confusion(run: "Run", look: Mapping[str, Any] = SQUARE) -> hv.Overlay:
    """The shares of every true class (row) that are called each class, with the numbers of cases.

    Of findings, called from a probability of 1/2 on, a row each: of the cases without it, and of those with it, the
    shares in which it was found and not found; the unknown ones are left out.

    Raises:
        InvalidRun: as `read`.
    """
    outcome = read(run)
    found = counts(outcome)
    part = shares(found, outcome.exclusive)
    columns = outcome.names if outcome.exclusive else OUTCOMES
    cells = [f"{share:.2f}\n{count}" if count else "" for share, count in zip(part.flat, found.flat)]
    dark = np.nan_to_num(part) > 0.55
    colour = {"cmap": "Blues", "clim": (0, 1), "clabel": "Share of the row" if outcome.exclusive else "Share"}
    drawn = grid({"share": part, "cases": found}, outcome.names, columns, cells, dark, colour)
    axes = ("Called", "True class") if outcome.exclusive else ("Truth and call", "Finding")
    return framed(drawn, axes, outcome.names, columns, views.label(run), look)


def grid(
    values: Mapping[str, np.ndarray], rows: Sequence[str], columns: Sequence[str], cells: Sequence[str],
    dark: np.ndarray, colour: Mapping[str, Any],
) -> hv.Overlay:  # fmt: skip
    """Cells coloured by the first of some values (R, C), the first row at the top, all of them told under the pointer.

    Args:
        cells: words in the cells, left out where there is no room.
        dark: (R, C), which cells are so dark that their words are white.
    """
    what, shape = next(iter(values)), dark.shape
    y, x = (axis.ravel() for axis in np.indices(shape))
    table = {"x0": x - 0.5, "y0": y - 0.5, "x1": x + 0.5, "y1": y + 0.5} | {k: v.ravel() for k, v in values.items()}
    table["row"] = np.array(rows, object)[y]
    table["column"] = np.array([name.replace("\n", " ") for name in columns], object)[x]
    told = [(name, f"@{name}{{0.000}}" if name == what else f"@{name}") for name in ("row", "column", *values)]
    bar = {"colorbar": True, "colorbar_opts": {"width": 10, "padding": 4, "border_line_alpha": 0}, **colour}
    boxes = hv.Rectangles(table, ["x0", "y0", "x1", "y1"], list(table)[4:]).opts(
        color=what, line_color="white", line_width=1, tools=["hover"], hover_tooltips=told, backend="bokeh", **bar
    )
    crowd = max(shape)
    words = np.array(cells if crowd <= LEGIBLE or shape[1] <= 4 else [""] * dark.size, object)
    texts = {"x": x, "y": y, "text": words, "tint": np.where(dark, "white", INK).ravel().astype(object)}
    size = "8.5pt" if crowd <= 8 else "7pt"
    labels = hv.Labels(texts, ["x", "y"], ["text", "tint"])
    return boxes * labels.opts(text_color=hv.dim("tint"), text_font_size=size, backend="bokeh")


def framed(
    drawn: hv.Overlay, axes: Sequence[str], rows: Sequence[str], columns: Sequence[str], title: str,
    look: Mapping[str, Any],
) -> hv.Overlay:  # fmt: skip
    """Cells with axes that name rows and columns; names that do not fit side by side are slanted."""
    level = columns is OUTCOMES or sum(map(len, columns)) <= 20
    ticks = {"xticks": [(i, name if columns is OUTCOMES else shorter(name)) for i, name in enumerate(columns)]}
    ticks |= {"yticks": [(i, shorter(name)) for i, name in enumerate(rows)], "xrotation": 0 if level else 50}
    limits = {"xlim": (-0.5, len(columns) - 0.5), "ylim": (-0.5, len(rows) - 0.5), "invert_yaxis": True}
    words = {"xlabel": axes[0], "ylabel": axes[1], "title": title}
    return drawn.opts(**words | ticks | limits | {"fontsize": FONTS, "show_grid": False} | dict(look))


# ---------------------------------------------------------------- how alike classes are


def matrix(values: np.ndarray, names: Sequence[str], title: str, look: Mapping[str, Any] = SQUARE) -> hv.Overlay:
    """A matrix (K, K) between classes in [-1, 1], 0 in the middle of its colours."""
    cells = [f"{round(v, 2) + 0:.2f}" for v in values.ravel().tolist()]  # + 0: no -0.00
    colour = {"cmap": DIVERGING, "clim": (-1, 1), "clabel": "Correlation"}
    drawn = grid({"correlation": values}, names, names, cells, np.abs(values) > 0.65, colour)
    return framed(drawn, ("", ""), names, names, title, look)


def matrices(run: "Run") -> dict[str, np.ndarray]:
    """What a run learned of how alike classes are, `correlation` (K, K) in [-1, 1], and what is known, `similarity`.

    Raises:
        InvalidRun: a matrix is missing or not as large as there are classes.
    """
    names, _ = truth(run)
    found = {key: np.array(run.samples.whole(key)) for key in KEPT if key in run.samples.wholes}
    for key, values in found.items():
        if values.shape != (len(names),) * 2:
            expected = f"{len(names)} x {len(names)} values"
            raise InvalidRun(run.samples.path / f"{key}.npy", expected, f"shape {values.shape}", views.REMEDY)
    return found


def ranks(found: np.ndarray, known: np.ndarray) -> float:
    """Spearman's rank correlation of two symmetric matrices (K, K) above their diagonals; NaN where one is constant."""
    above = np.triu_indices(len(found), 1)
    if len(above[0]) < 2 or any(np.ptp(each[above]) == 0 for each in (found, known)):
        return float("nan")
    return float(stats.spearmanr(found[above], known[above]).statistic)


def correlation(run: "Run") -> hv.Layout:
    """How alike a run takes the classes to be, beside how alike they are known to be, where they are.

    Raises:
        InvalidRun: the run learned no such matrix, or as `matrices`.
    """
    names, _ = truth(run)
    found = matrices(run)
    if "correlation" not in found:
        raise InvalidRun(run.samples.path, "a learned correlation", "none", "choose a run of a method that learns one")
    parts = [matrix(found["correlation"], names, learned(run, found))]
    parts += [matrix(found["similarity"], names, "Known similarity")] if "similarity" in found else []
    return hv.Layout(parts).opts(shared_axes=False)


def learned(run: "Run", found: Mapping[str, np.ndarray]) -> str:
    """The title of a learned matrix: the run, and how its ranks agree with what is known."""
    if "similarity" not in found:
        return f"Learned · {views.label(run)}"
    return f"Learned · {views.label(run)} · Spearman {ranks(found['correlation'], found['similarity']):.2f}"
