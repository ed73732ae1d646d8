"""Embeddings: the vectors that a network makes of the test cases, in their two main directions, and who is near whom.

Vectors `feature` (N, D) are compared within one run only: the directions of two networks have nothing in common.
Cosines are those of the vectors as they are, without their mean taken off. Cases of one group, such as two images of
one lesion or patient, are no neighbours of each other: they are alike whatever has been learnt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import holoviews as hv
import holoviews.plotting.bokeh  # the options below are those of this backend
import numpy as np
import pandas as pd
from bokeh.palettes import Category20_20

from workbench import views
from workbench.errors import InvalidParameter, InvalidRun, unknown
from workbench.views import classes, colors, volumes
from workbench.views.classes import FONTS, SQUARE

if TYPE_CHECKING:
    from workbench.runs import Run

NEEDS = {"feature": 2}
K = 8  # neighbours that are looked at
ASKED = 2000  # cases at most whose neighbours are looked for to judge all: enough for the third decimal
CROWD = 5000  # points at most that are drawn
MARKERS = ("circle", "square", "triangle", "diamond", "inverted_triangle", "hex", "star", "plus")
SIZES = {"star": 11, "diamond": 10, "plus": 9, "circle": 7, "square": 6}  # pixels, so that all look as large
GREY = "#8a94a0"
FOUND = {"there": views.OKABE_ITO[1], "not there": views.OKABE_ITO[0], "unknown": GREY}


def vectors(run: "Run") -> bool:
    """Whether a run wrote one vector a case, and tells what is true of them."""
    return run.samples.array("feature").ndim == 2 and bool(run.samples.index.get("truth"))


def check(run: "Run") -> None:
    """Raises InvalidRun where vectors are not finite, or the truth is not that of as many cases."""
    classes.truth(run)
    if not np.isfinite(run.samples.array("feature")).all():
        raise InvalidRun(run.samples.path / "feature.npy", "finite numbers", "others", views.REMEDY)


# ---------------------------------------------------------------- main directions


@dataclass(frozen=True)
class Projection:
    """The cases in their main directions: `points` (N, 2), and the share of the variance (2,) that each explains."""

    points: np.ndarray
    explained: np.ndarray


def pca(feature: np.ndarray) -> Projection:
    """The first two principal components of vectors (N, D), fitted on these very vectors, centred and not scaled.

    Signs are fixed: the largest component of a direction is positive.

    >>> pca(np.array([[0.0, 3.0], [0.0, -3.0], [1.0, 0.0], [-1.0, 0.0]])).explained
    array([0.9, 0.1])
    """
    centred = np.asarray(feature, float) - np.mean(feature, 0, dtype=float)
    values, ways = np.linalg.eigh(centred.T @ centred)
    values, ways = values[::-1].clip(0), ways[:, ::-1]
    ways = ways * np.sign(ways[np.abs(ways).argmax(0), range(ways.shape[1])])
    points, total = centred @ ways[:, :2], values.sum()
    missing = 2 - points.shape[1]
    share = values[:2] / total if total > 0 else np.zeros(min(2, len(values)))
    return Projection(np.pad(points, ((0, 0), (0, missing))), np.pad(share, (0, missing)))


def named(run: "Run", finding: str | None = None) -> tuple[np.ndarray, dict[str, str]]:
    """What every case is coloured by, (N,) of str, and the colour of each: its class, or whether it has a finding.

    Raises:
        InvalidParameter: no such finding.
    """
    names, true = classes.truth(run)
    if true.ndim == 1:
        return np.array(names, object)[true], palette(names)
    finding = names[0] if finding is None else finding
    if finding not in names:
        raise unknown("finding", finding, names)
    value = true[:, names.index(finding)]
    return np.where(np.isnan(value), "unknown", np.where(value > 0.5, "there", "not there")).astype(object), dict(FOUND)


def palette(names: Sequence[str]) -> dict[str, str]:
    """A colour a class; more than 8 have paler ones too, more than 20 share them and differ in their markers."""
    tints = views.OKABE_ITO if len(names) <= len(views.OKABE_ITO) else Category20_20
    return {name: tints[i % len(tints)] for i, name in enumerate(names)}


def markers(names: Sequence[str]) -> dict[str, str]:
    """A marker a class."""
    return {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(names)}


def some(count: int, most: int) -> np.ndarray:
    """The numbers of at most so many of `count` cases, evenly spread."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(int)


def axes(found: Projection) -> tuple[str, str]:
    """What the axes of a projection say.

    >>> axes(Projection(np.zeros((1, 2)), np.array([0.9, 0.1])))
    ('PC 1 (90.0 % of the variance)', 'PC 2 (10.0 % of the variance)')
    """
    first, second = (f"PC {i} ({100 * share:.1f} % of the variance)" for i, share in enumerate(found.explained, 1))
    return first, second


def scatter(run: "Run", finding: str | None = None, look: Mapping[str, Any] = SQUARE) -> hv.Overlay:
    """The cases of one run in the two main directions of their vectors, coloured by class or finding."""
    found, (names, tints) = pca(run.samples.array("feature")), named(run, finding)
    cases = np.array([case["case"] for case in run.samples.cases], object)
    kept, (first, second) = some(len(cases), CROWD), axes(found)
    layers = []
    for name, marker in markers(list(tints)).items():
        own = kept[names[kept] == name]
        table = {"x": found.points[own, 0], "y": found.points[own, 1], "case": cases[own], "class": names[own]}
        points = hv.Points(table, ["x", "y"], ["case", "class"], label=name)
        tell = {"tools": ["hover"], "hover_tooltips": [("", "@case"), ("", "@class")]}
        dots = {
            "size": SIZES.get(marker, 8),
            "marker": marker,
            "color": tints[name],
            "alpha": 0.7,
            "line_color": "white",
        }
        if len(own):
            layers.append(points.opts(**dots, **tell, line_width=0.5, backend="bokeh"))
    words = {"xlabel": first, "ylabel": second, "title": views.label(run) + (f" · {finding}" if finding else "")}
    legend = {
        "legend_position": "right",
        "legend_opts": {"border_line_alpha": 0, "background_fill_alpha": 0, "spacing": 0, "padding": 4},
    }
    look = {**look, "width": look["width"] + 120} if "width" in look else look  # room for the legend
    return hv.Overlay(layers).opts(**words | legend | {"fontsize": FONTS} | dict(look))


def embedding(runs: Sequence["Run"], finding: str | None = None) -> hv.Layout:
    """The cases of some runs in two dimensions, a picture a run: the principal components of its own vectors.

    Fitted on all test cases of the run itself, so that axes of two pictures have nothing in common but the share of
    the variance that each tells. Of findings, one is chosen by its name, else the first.

    Raises:
        InvalidParameter: no runs, or no such finding; InvalidRun: as `check`.
    """
    if not runs:
        raise InvalidParameter("runs", "one or more", "none", "train some")
    for run in runs:
        check(run)
    return hv.Layout([scatter(run, finding) for run in runs]).opts(shared_axes=False).cols(3)


# ---------------------------------------------------------------- neighbours


def directions(feature: np.ndarray) -> np.ndarray:
    """Vectors (N, D) of length 1, float32; 0 stays 0."""
    values = np.asarray(feature, np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def nearest(feature: np.ndarray, groups: np.ndarray, asked: np.ndarray, k: int = K) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of each of the cases `asked` (M,) by cosine: their numbers (M, k) and their cosines (M, k).

    Left out are the cases of its own group (N,); where too few are left, -1 and NaN stand in their place.

    Raises:
        InvalidParameter: k is not above 0.
    """
    if k < 1:
        raise InvalidParameter("k", "1 or more", str(k), "ask for some neighbours")
    along, k_own = directions(feature), min(k, len(feature))
    numbers, cosines = np.full((len(asked), k), -1), np.full((len(asked), k), np.nan)
    for start in range(0, len(asked), 256):  # a part at a time: all cosines at once may not fit in memory
        part = np.asarray(asked[start : start + 256])
        found = along[part] @ along.T
        found[groups[part][:, None] == groups[None]] = -np.inf
        best = np.argsort(-found, axis=1, kind="stable")[:, :k_own]
        value = np.take_along_axis(found, best, 1)
        rows = slice(start, start + len(part))
        numbers[rows, :k_own] = np.where(np.isfinite(value), best, -1)
        cosines[rows, :k_own] = np.where(np.isfinite(value), value, np.nan)
    return numbers, cosines


def alike(true: np.ndarray, one: np.ndarray | int, other: np.ndarray) -> np.ndarray:
    """Whether pairs of cases agree in class (N,), or in all findings (N, L) that are known of both; NaN if none is."""
    first, second = true[one], true[other]
    if true.ndim == 1:
        return (first == second).astype(float)
    known = np.isfinite(first) & np.isfinite(second)
    return np.where(known.any(-1), ((first == second) | ~known).all(-1), np.nan)


def grouped(run: "Run") -> np.ndarray:
    """The number of the group of every case, (N,); itself where none is told."""
    return np.unique([str(case.get("group") or case["case"]) for case in run.samples.cases], return_inverse=True)[1]


def asked(run: "Run", finding: str | None) -> np.ndarray:
    """The truth by which cases are alike: all of it, or one finding (N, 1).

    Raises:
        InvalidParameter: no such finding.
    """
    names, true = classes.truth(run)
    if finding is None or true.ndim == 1:
        return true
    if finding not in names:
        raise unknown("finding", finding, names)
    return true[:, [names.index(finding)]]


def neighbours(run: "Run", case: tuple[str, str], k: int = K, finding: str | None = None) -> pd.DataFrame:
    """The k nearest cases of one by cosine, the nearest first, cases of its own group left out.

    Columns: `number` in the order of the arrays, `case`, `class` or the findings that are there, `cosine`, and `same`:
    whether it has the class of the chosen one, or of several findings the chosen one, else all; NaN where unknown.

    Raises:
        InvalidParameter: the run was not tested on this case, or there is no such finding.
    """
    keys = [views.key(entry) for entry in run.samples.cases]
    if case not in keys:
        raise unknown("case", " ".join(case).strip(), [" ".join(key).strip() for key in keys])
    number, true = keys.index(case), asked(run, finding)
    numbers, cosines = nearest(run.samples.array("feature"), grouped(run), np.array([number]), k)
    there = numbers[0] >= 0
    others = numbers[0][there]
    told = described(run)
    return pd.DataFrame(
        {
            "number": others, "case": [keys[i][0] for i in others], "class": [told[i] for i in others],
            "cosine": cosines[0][there], "same": alike(true, number, others),
        }
    )  # fmt: skip


def described(run: "Run") -> list[str]:
    """The class of every case in words, or the findings that are there."""
    names, true = classes.truth(run)
    if true.ndim == 1:
        return [names[i] for i in true]
    return [told([names[i] for i in np.flatnonzero(row == 1)], np.isnan(row).all()) for row in true]


def told(there: Sequence[str], unknown: bool) -> str:
    """Findings in words.

    >>> told(["nodule", "mass"], False), told([], False), told([], True)
    ('nodule, mass', 'no finding', 'unknown')
    """
    return "unknown" if unknown else ", ".join(there) or "no finding"


def purity(run: "Run", k: int = K, finding: str | None = None) -> tuple[float, float]:
    """The share of the k nearest neighbours that are like the case itself, and the share of all other cases that are.

    The mean over at most 2000 cases. The second is what vectors that tell nothing would have.

    Raises:
        InvalidParameter: no such finding.
    """
    true, groups = asked(run, finding), grouped(run)
    everyone = np.arange(len(groups))
    cases, fewer = some(len(groups), ASKED), some(len(groups), ASKED // 4)
    numbers, _ = nearest(run.samples.array("feature"), groups, cases, k)
    same = np.where(numbers >= 0, alike(true, cases[:, None], numbers), np.nan)
    rest = [np.where(groups == groups[i], np.nan, alike(true, i, everyone)) for i in fewer]
    return mean(same), mean(np.stack(rest))


def mean(values: np.ndarray) -> float:
    """The mean of those that are known; NaN for none."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


# ---------------------------------------------------------------- pictures


def picture(run: "Run", number: int) -> np.ndarray | None:
    """The image (H, W) or (H, W, 3) uint8 of a case, of a volume its middle axial slice; None where none was kept."""
    if "image" not in run.samples.keys:
        return None
    array = run.samples.array("image")
    if array.ndim == 5:
        array = array[..., 0]
    plane = volumes.planes(3)[-1] if array.ndim == 4 and array.shape[-1] != 3 else volumes.IMAGE
    image = volumes.cut(array, number, plane, array.shape[-1] // 2)
    return image if image.ndim in (2, 3) else None


def neighbourhood(run: "Run", case: tuple[str, str], k: int = K, finding: str | None = None) -> hv.Layout:
    """A case and its neighbours as pictures, with cosine and class.

    Raises:
        InvalidParameter: as `neighbours`; InvalidRun: the run kept no images.
    """
    found = neighbours(run, case, k, finding)
    number = [views.key(entry) for entry in run.samples.cases].index(case)
    if picture(run, number) is None:
        raise InvalidRun(run.samples.path, "images", "none", "choose a run that kept images")
    parts = [colors.picture(picture(run, number), f"{case[0]} · {described(run)[number]}")]
    for row in found.itertuples(index=False):
        parts.append(colors.picture(picture(run, row[0]), f"{row[3]:.3f} · {row[2]}"))
    small = {"frame_width": 130, "frame_height": 130, "fontsize": {"title": "8pt"}, "toolbar": None}
    return hv.Layout([part.opts(**small, backend="bokeh") for part in parts]).cols(5).opts(shared_axes=False)
