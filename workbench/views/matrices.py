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
DIVERGING = "RdBu_r"

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
    drawn = grid(part, found, outcome.names, columns, cells, np.where(dark, "white", "#1f2933"), "share")
    axes = ("Called", "True class") if outcome.exclusive else ("Truth and call", "Finding")
    upright = not outcome.exclusive
    colour = {"cmap": "Blues", "clim": (0, 1), "clabel": "Share of the row" if outcome.exclusive else "Share"}
    return framed(drawn, look, axes, outcome.names, columns, colour, views.label(run), upright)


def grid(
    values: np.ndarray, numbers: np.ndarray | None, rows: Sequence[str], columns: Sequence[str], cells: Sequence[str],
    tints: np.ndarray, what: str,
) -> hv.Overlay:  # fmt: skip
    """Values (R, C) as coloured cells, the first row at the top, with words in them where there is room."""
    y, x = (axis.ravel() for axis in np.indices(values.shape))
    table = {"x0": x - 0.5, "y0": y - 0.5, "x1": x + 0.5, "y1": y + 0.5, what: values.ravel()}
    table["row"] = np.array(rows, object)[y]
    table["column"] = np.array([name.replace("\n", " ") for name in columns], object)[x]
    if numbers is not None:
        table["cases"] = numbers.ravel()
    told = [("row", "@row"), ("column", "@column"), (what, f"@{what}{{0.000}}")]
    told += [("cases", "@cases")] if numbers is not None else []
    boxes = hv.Rectangles(table, ["x0", "y0", "x1", "y1"], list(table)[4:])
    look = {"color": what, "line_color": "white", "line_width": 1}
    boxes = boxes.opts(tools=["hover"], hover_tooltips=told, **look, backend="bokeh")
    crowd = max(values.shape[0], values.shape[1] if len(columns) > 4 else 0)
    words = cells if crowd <= LEGIBLE else [""] * values.size
    texts = {"x": x, "y": y, "text": np.array(words, object), "tint": np.ravel(tints).astype(object)}
    size = "8.5pt" if crowd <= 8 else "7pt"
    labels = hv.Labels(texts, ["x", "y"], ["text", "tint"])
    return boxes * labels.opts(text_color=hv.dim("tint"), text_font_size=size, backend="bokeh")


def framed(
    drawn: hv.Overlay, look: Mapping[str, Any], axes: Sequence[str], rows: Sequence[str], columns: Sequence[str],
    colour: Mapping[str, Any], title: str, upright: bool = False,
) -> hv.Overlay:  # fmt: skip
    """Cells with axes that name rows and columns, and a bar that tells their colours."""
    bar = {"colorbar": True, "colorbar_opts": {"width": 10, "padding": 4, "border_line_alpha": 0}, **colour}
    drawn = drawn.opts(hv.opts.Rectangles(**bar, backend="bokeh"))
    ticks = {"xticks": [(i, shorter(name) if not upright else name) for i, name in enumerate(columns)]}
    ticks["yticks"] = [(i, shorter(name)) for i, name in enumerate(rows)]
    limits = {"xlim": (-0.5, len(columns) - 0.5), "ylim": (-0.5, len(rows) - 0.5), "invert_yaxis": True}
    turned = 0 if upright or sum(map(len, columns)) <= 20 else 50
    words = {"xlabel": axes[0], "ylabel": axes[1], "title": title, "xrotation": turned}
    return drawn.opts(**{**look, "show_grid": False} | ticks | limits | words, fontsize=FONTS)


# ---------------------------------------------------------------- how alike classes are


def matrix(values: np.ndarray, names: Sequence[str], title: str, look: Mapping[str, Any] = SQUARE) -> hv.Overlay:
    """A matrix (K, K) between classes in [-1, 1], 0 in the middle of its colours."""
    tints = np.where(np.abs(values) > 0.65, "white", "#1f2933")
    drawn = grid(
        values, None, names, names, [f"{round(v, 2) + 0:.2f}" for v in values.ravel().tolist()], tints, "correlation"
    )
    colour = {"cmap": DIVERGING, "clim": (-1, 1), "clabel": "Correlation"}
    return framed(drawn, look, ("", ""), names, names, colour, title)


def matrices(run: "Run") -> dict[str, np.ndarray]:
    """What a run learned of how alike classes are, `correlation` (K, K) in [-1, 1], and what is known, `similarity`.

    Raises:
        InvalidRun: a matrix is missing or not as large as there are classes.
    """
    names, _ = truth(run)
    found = {key: np.array(run.samples.whole(key)) for key in ("correlation", *SIMILAR) if key in run.samples.wholes}
    for key, values in found.items():
        if values.shape != (len(names),) * 2:
            expected = f"{len(names)} x {len(names)} values"
            raise InvalidRun(run.samples.path / f"{key}.npy", expected, f"shape {values.shape}", views.REMEDY)
    return found


SIMILAR = ("similarity",)


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
