"""Points: where a spur is and where it was found, heat maps, and the errors of all cases about one origin.

Points are (x, y) in source pixels, x to the right and y down; pictures are (H, W) uint8 grids of `scale` source pixels.
`comparison` and `errors` are the page of the dashboard as plain HoloViews layouts for notebooks and HTML files.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import holoviews as hv
import holoviews.plotting.bokeh  # the options below are those of this backend
import numpy as np

from workbench import views
from workbench.errors import InvalidRun, unknown
from workbench.views import colors

if TYPE_CHECKING:
    from workbench.runs import Run

NEEDS = {"image": 3, "spur": 2, "point": 2, "known": 1, "scale": 1}
TRUTH, FOUND = "#56B4E9", "#F0E442"
RINGS = (5, 10, 20)  # radii about the truth, source pixels
CMAP = "inferno"


def check(run: "Run") -> None:
    """Raises InvalidRun where the points do not belong to the pictures."""
    image, samples = run.samples.array("image"), run.samples
    for name, axes in NEEDS.items():
        array = samples.array(name)
        expected = (len(image), 2)[:axes] if axes < 3 else image.shape
        if array.shape != expected:
            raise InvalidRun(samples.path / f"{name}.npy", f"shape {expected}", str(array.shape), views.REMEDY)
    scale = samples.array("scale")
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise InvalidRun(samples.path / "scale.npy", "source pixels above 0", "other values", views.REMEDY)


def read(run: "Run", case: tuple[str, str]) -> dict[str, np.ndarray | None]:
    """One case: `image` (H, W), `truth` and `found` (2,) in pixels of the image from its corner, `heat` (h, w) or None.

    `truth` is None where the point could not be determined.

    Raises:
        InvalidParameter: the run was not tested on this case.
        InvalidRun: an array cannot be read.
    """
    keys = [views.key(entry) for entry in run.samples.cases]
    if case not in keys:
        raise unknown("case", " ".join(case).strip(), [" ".join(key).strip() for key in keys])
    number, samples = keys.index(case), run.samples
    scale = float(samples.array("scale")[number])
    truth, found = ((np.array(samples.array(name)[number]) + 0.5) / scale for name in ("spur", "point"))
    heat = np.array(samples.array("feature")[number]).squeeze() if "feature" in samples.keys else None
    known = samples.array("known")[number] > 0
    return {
        "image": np.array(samples.array("image")[number]), "truth": truth if known else None, "found": found,
        "heat": heat if heat is not None and heat.ndim == 2 else None,
    }  # fmt: skip


def vectors(run: "Run") -> np.ndarray:
    """Found less true point of every case, (N, 2) in source pixels; NaN where the truth is unknown."""
    spur, point, known = (np.array(run.samples.array(name)) for name in ("spur", "point", "known"))
    return np.where(known[:, None] > 0, point - spur, np.nan)


def limit(found: Sequence[np.ndarray]) -> float:
    """Half the side of a plot that shows nearly all errors: their 95th percentile and the outer ring, in source pixels.

    >>> limit([np.full((3, 2), np.nan)])
    22.0
    """
    lengths = np.concatenate([np.abs(each[np.isfinite(each).all(1)]).max(1, initial=0) for each in found])
    return 1.1 * max(RINGS[-1], float(np.quantile(lengths, 0.95)) if lengths.size else 0.0)


def cross(point: np.ndarray | None, side: float) -> list[np.ndarray]:
    """A cross of arms `side` / 16 about a point, with a gap that leaves the point itself in sight, as paths."""
    if point is None:
        return []
    arm, gap = max(2.0, side / 16), max(0.7, side / 64)
    ways = np.array([(1, 0), (-1, 0), (0, 1), (0, -1)], float)
    return [point + way * np.array([[gap], [arm]]) for way in ways]


def picture(image: np.ndarray, points: dict[str, np.ndarray | None], title: str) -> hv.Overlay:
    """An image with crosses, each in the colour that is its key."""
    height, width = image.shape
    layers = [colors.picture(image, title)]
    for color, point in points.items():
        paths = [np.c_[path[:, 0], height - path[:, 1]] for path in cross(point, max(height, width))]
        layers.append(hv.Path(paths, kdims=["x", "y"]).opts(color=color, line_width=2, backend="bokeh"))
    return hv.Overlay(layers).relabel(title).opts(show_legend=False, backend="bokeh")


def heat_map(heat: np.ndarray, size: tuple[int, int], title: str) -> hv.Image:
    """A heat map (h, w) of values from 0 to 1 over the grid (H, W) of its image."""
    height, width = size
    element = hv.Image(heat, bounds=(0, 0, width, height), kdims=["x", "y"], vdims="response", label=title)
    bar = {"cmap": CMAP, "clim": (0, 1), "colorbar": True, "clabel": "response", "tools": ["hover"]}
    return element.opts(**colors.frame(height, width), **bar)


def comparison(runs: Sequence["Run"], case: tuple[str, str]) -> hv.Layout:
    """The true point and those that some runs found, the heat maps below: two rows, pan and zoom linked.

    Raises:
        InvalidParameter, InvalidRun: as `read`.
    """
    read_all, names = [read(run, case) for run in runs], [views.label(run) for run in runs]
    first = read_all[0]
    top = [picture(first["image"], {TRUTH: first["truth"]}, "Truth")]
    below: list[hv.Element] = [hv.Empty()]
    for name, each in zip(names, read_all, strict=True):
        top.append(picture(each["image"], {TRUTH: each["truth"], FOUND: each["found"]}, name))
        heat = each["heat"]
        below.append(hv.Empty() if heat is None else heat_map(heat, each["image"].shape, f"Heat map {name}"))
    return hv.Layout(top + below * any(each["heat"] is not None for each in read_all)).cols(len(top))


def errors(runs: Sequence["Run"]) -> hv.Overlay:
    """Where the points were found, the truth of all cases on one origin: a cloud a run, rings of 5, 10, 20 px."""
    found = {views.label(run): vectors(run) for run in runs}
    half = limit(list(found.values()))
    axes = ["right of the truth (px)", "below the truth (px)"]
    rings = hv.Overlay(
        [hv.Ellipse(0, 0, 2 * r).opts(color="#8a94a0", line_dash="dashed", backend="bokeh") for r in RINGS]
    )
    clouds = [
        hv.Points(each[np.isfinite(each).all(1)], axes, label=name).opts(
            color=tint, size=6, alpha=0.6, tools=["hover"], backend="bokeh"
        )
        for (name, each), tint in zip(found.items(), views.palette(found).values(), strict=True)
    ]
    look = {"xlim": (-half, half), "ylim": (-half, half), "invert_yaxis": True, "frame_width": 380, "frame_height": 380}
    named = {"xlabel": axes[0], "ylabel": axes[1], "legend_position": "right"}
    return (rings * hv.Overlay(clouds)).opts(**look, **named, backend="bokeh")
