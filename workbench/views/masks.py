"""Segmentations: one case of any runs as contours, filled overlays and maps of what is right, too much and missing.

Label maps are (H, W) or (X, Y, Z) uint8, 0 is background; `labels` names the classes, each with the values that belong
to it, which may overlap: {"cup": (2,), "disc": (1, 2)}. Spacing is in mm a pixel along the axes of the arrays.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

import holoviews as hv
import holoviews.plotting.bokeh  # the options below are those of this backend
import numpy as np

from workbench import views
from workbench.errors import InvalidParameter, InvalidRun, unknown
from workbench.views import colors, volumes
from workbench.views.volumes import IMAGE, Plane

if TYPE_CHECKING:
    from workbench.runs import Run

NEEDS = {"image": (3, 4), "label": (3, 4), "mask": (3, 4)}
CLASSES = ("#56B4E9", "#F0E442", "#E69F00", "#CC79A7", "#009E73", "#0072B2", "#D55E00")  # Okabe and Ito
ERRORS = {"true positive": "#009E73", "false positive": "#D55E00", "false negative": "#CC79A7"}
LABELS = range(1, 200)  # the values that a class may have
TRUTH, FOUND = (("#ffffff", 2.6, "solid"), "4 4"), (("#000000", 4.0, "solid"), "solid")  # what is below, and dashes
LEGEND = {
    "background_fill_color": "#b0b8c0", "border_line_alpha": 0, "label_text_font_size": "8pt", "spacing": 0,
    "padding": 2, "margin": 2,
}  # fmt: skip

Labels = Mapping[str, tuple[int, ...]]
Stroke = tuple[np.ndarray, str, float, str]  # a path (n, 2) of x and y, colour, width in pixels, dashes


# ---------------------------------------------------------------- what a run wrote


def labels(run: "Run") -> dict[str, tuple[int, ...]]:
    """The classes of a run and their values.

    Raises:
        InvalidRun: the index does not name them.
    """
    found = run.samples.index.get("labels")
    sound = isinstance(found, dict) and found and all(isinstance(v, list) and v for v in found.values())
    if not sound or not all(type(v) is int and v in LABELS for values in found.values() for v in values):
        expected = f"classes with values from {LABELS.start} to {LABELS.stop - 1} under labels"
        raise InvalidRun(run.samples.path / "index.json", expected, repr(found)[:80], views.REMEDY)
    return {name: tuple(values) for name, values in found.items()}


def check(run: "Run") -> None:
    """Raises InvalidRun where classes, spacing or the size of the predicted maps cannot be what they should."""
    labels(run)
    label, mask = run.samples.array("label"), run.samples.array("mask")
    if label.shape != mask.shape:
        path, expected = run.samples.path / "mask.npy", f"shape {label.shape}, that of the truth"
        raise InvalidRun(path, expected, str(mask.shape), views.REMEDY)
    spacing, expected = run.samples.array("spacing"), (len(label), label.ndim - 1)
    sound = spacing.shape == expected and spacing.dtype.kind == "f"
    if not sound or not (np.isfinite(spacing).all() and (spacing > 0).all()):
        found = f"{spacing.shape} of {spacing.dtype}, or values that are not above 0"
        raise InvalidRun(run.samples.path / "spacing.npy", f"{expected} of mm", found, views.REMEDY)


def number(run: "Run", case: tuple[str, str]) -> int:
    """Where a case stands in the arrays of a run.

    Raises:
        InvalidParameter: the run was not tested on this case.
    """
    path = run.samples.path / "index.json"
    places = _places(run, path.stat().st_mtime_ns if path.is_file() else 0)
    if case not in places:
        raise unknown("case", " ".join(case).strip(), [" ".join(key).strip() for key in places])
    return places[case]


@lru_cache(maxsize=64)
def _places(run: "Run", stamp: int) -> dict[tuple[str, str], int]:
    """Where each case stands; the first of those that bear the same key."""
    return {views.key(entry): place for place, entry in reversed(list(enumerate(run.samples.cases)))}


def shape(run: "Run") -> tuple[int, ...]:
    """The size of one case: (H, W) or (X, Y, Z)."""
    return run.samples.array("label").shape[1:]


def read(
    run: "Run", case: tuple[str, str], plane: Plane = IMAGE, index: int = 0, names: Iterable[str] = tuple(NEEDS)
) -> dict[str, np.ndarray]:
    """`image`, `label` and `mask` of one slice, row 0 at the top, and `spacing` (2,): mm a row and a column.

    Only the slice leaves the memory-mapped files.

    Raises:
        InvalidParameter: the run was not tested on this case.
        InvalidRun: an array cannot be read.
    """
    place = number(run, case)
    arrays = {name: volumes.cut(run.samples.array(name), place, plane, index) for name in names}
    return arrays | {"spacing": np.array(run.samples.array("spacing")[place])[[plane.up, plane.across]]}


def center(run: "Run", case: tuple[str, str]) -> tuple[int, ...]:
    """The voxel in the middle of the truth of one case of volumes; it reads the case's whole label map."""
    return volumes.middle(np.array(run.samples.array("label")[number(run, case)]))


def alike(runs: Sequence["Run"]) -> None:
    """Raises InvalidRun where runs hold cases of unlike size or classes, so that they cannot be laid side by side."""
    for what, of in (("label maps of one size", shape), ("the same classes", labels)):
        found = {views.label(run): of(run) for run in runs}
        if len({str(value) for value in found.values()}) > 1:
            told = ", ".join(f"{value} in {name}" for name, value in found.items())
            raise InvalidRun("runs", what, told, "compare runs that were tested on the same data")


def strangers(label: np.ndarray, names: Labels) -> dict[int, int]:
    """The values of a label map that belong to no class, each with its number of pixels.

    >>> strangers(np.array([[0, 1], [7, 7]]), {"organ": (1,)})
    {7: 2}
    """
    values, counts = np.unique(label, return_counts=True)
    known = {0, *(v for values in names.values() for v in values)}
    return {int(value): int(count) for value, count in zip(values, counts) if value not in known}


# ---------------------------------------------------------------- what is drawn


def palette(names: Iterable[str]) -> dict[str, str]:
    """A colour a class, told apart by colour-blind readers too."""
    return {name: CLASSES[place % len(CLASSES)] for place, name in enumerate(names)}


def inside(label: np.ndarray, values: Iterable[int]) -> np.ndarray:
    """Where a label map has one of the values: boolean, of its shape."""
    table = np.zeros(256, bool)
    table[list(values)] = True
    return table[label]


def codes(label: np.ndarray, names: Labels, shown: Iterable[str]) -> np.ndarray:
    """The class to be seen at every pixel, uint8: 1 for the first of `names` and so on, 0 for none of the shown.

    Of classes that overlap the one with the fewest values is seen, the cup on its disc.

    >>> codes(np.array([0, 1, 2]), {"cup": (2,), "disc": (1, 2)}, ["cup", "disc"]).tolist()
    [0, 2, 1]
    """
    table, order = np.zeros(256, np.uint8), list(names)
    for name in sorted(shown, key=lambda name: -len(names[name])):
        table[list(names[name])] = 1 + order.index(name)
    return table[label]


def errors(label: np.ndarray, mask: np.ndarray, values: Iterable[int]) -> np.ndarray:
    """True positives as 1, false positives as 2, false negatives as 3, else 0: uint8, of the shape of both maps."""
    truth, found = inside(label, values), inside(mask, values)
    return (truth & found) + np.uint8(2) * (found & ~truth) + np.uint8(3) * (truth & ~found)


def counts(found: np.ndarray) -> dict[str, int]:
    """How many pixels of `errors` are of each kind.

    >>> counts(np.array([0, 1, 1, 3]))
    {'true positive': 2, 'false positive': 0, 'false negative': 1}
    """
    return dict(zip(ERRORS, np.bincount(found.ravel(), minlength=4)[1:].tolist()))


def contours(label: np.ndarray, values: Iterable[int], spacing: Sequence[float]) -> list[np.ndarray]:
    """The borders of a class as paths (n, 2) of x, y in mm from the top left corner of the slice."""
    return [path * np.asarray(spacing)[::-1] for path in colors.outline(inside(label, values))]


def painted(image: np.ndarray, seen: np.ndarray, tints: Sequence[str], opacity: float = 1.0) -> np.ndarray:
    """An image (H, W) or (H, W, 3) with tints laid over it, (H, W, 3) uint8.

    Args:
        seen: (H, W), 0 for none of the tints, 1 for the first.
        opacity: from 0, nothing to be seen of the tints, to 1, nothing of the image below.
    """
    base = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    table = np.array([[0, 0, 0], *(tuple(bytes.fromhex(tint[1:])) for tint in tints)])
    weight = opacity * (seen > 0)[..., None]
    return (base * (1 - weight) + table[seen] * weight).round().astype(np.uint8)


def grey(image: np.ndarray) -> np.ndarray:
    """The luma (H, W) uint8 of a colour image; a grey one as it is."""
    return image if image.ndim == 2 else (image @ [0.299, 0.587, 0.114]).round().astype(np.uint8)


def strokes(
    label: np.ndarray, names: Labels, shown: Iterable[str], spacing: Sequence[float], truth: bool
) -> list[Stroke]:
    """How the contours of some classes are drawn: of the truth white under dashes in their colours, else on dark.

    Where classes touch, the smaller one is on top.
    """
    (below, dash), tints, areas = TRUTH if truth else FOUND, palette(names), np.bincount(label.ravel(), minlength=256)
    order = sorted(shown, key=lambda name: -areas[list(names[name])].sum())
    paths = {name: contours(label, names[name], spacing) for name in order}
    casing = [(path, *below) for found in paths.values() for path in found]
    return casing + [(path, tints[name], 2.2, dash) for name, found in paths.items() for path in found]


@dataclass(frozen=True)
class Panel:
    """One picture of a comparison: (H, W, 3) uint8, strokes in mm from its upper left corner, its sides in mm."""

    title: str
    image: np.ndarray
    lines: list[Stroke]
    sides: tuple[float, ...]
    plane: str = ""
    letters: str = ""
    legend: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Look:
    """What a comparison shows: the class whose errors are drawn, fillings, and which way round a volume is."""

    names: Labels
    focus: str
    opacity: float = 0.0
    convention: str = "radiological"

    def rows(
        self, runs: Sequence["Run"], case: tuple[str, str], plane: Plane, index: int, first: bool
    ) -> list[list[Panel]]:
        """The two rows of one plane: truth and predictions, image and errors; legends in those of the first plane."""
        found = [read(run, case, plane, index) for run in runs]
        if plane.mirrored(self.convention):
            found = [{k: v if k == "spacing" else v[:, ::-1] for k, v in arrays.items()} for arrays in found]
        sides, blank = volumes.lengths(found[0]["label"].shape, found[0]["spacing"]), np.zeros_like(found[0]["label"])
        letters = plane.letters(self.convention)
        where = f" · {plane.name} {index + 1} · {letters[0]}–{letters[1]}" if letters else ""
        top = [("Truth" + where, *self.outlined(found[0], truth=True))]
        top += [(views.label(run), *self.outlined(arrays)) for run, arrays in zip(runs, found)]
        below = [("Image", painted(found[0]["image"], blank, []), [])]
        below += [(f"Errors of {self.focus}", self.wrong(arrays), []) for arrays in found]
        legends = ({"truth, dashed": "#ffffff"} | palette(self.names), ERRORS) if first else ({}, {})
        return [
            [Panel(*told, sides, plane.name, letters, {} if place else legend) for place, told in enumerate(row)]
            for row, legend in zip((top, below), legends)
        ]

    def outlined(self, arrays: Mapping[str, np.ndarray], truth: bool = False) -> tuple[np.ndarray, list[Stroke]]:
        """The image and the contours of the truth, and of the prediction if it is asked for."""
        tints, lines = palette(self.names), []
        for which in ("label",) if truth else ("mask", "label"):
            lines += strokes(arrays[which], self.names, self.names, arrays["spacing"], which == "label")
        seen = codes(arrays["label" if truth else "mask"], self.names, self.names)
        return painted(arrays["image"], seen, list(tints.values()), self.opacity), lines

    def wrong(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """The errors of one class over the image in grey."""
        seen = errors(arrays["label"], arrays["mask"], self.names[self.focus])
        return painted(grey(arrays["image"]), seen, list(ERRORS.values()), 0.65)


def panels(
    runs: Sequence["Run"],
    case: tuple[str, str],
    focus: str | None = None,
    opacity: float = 0.0,
    at: Sequence[int] | None = None,
    convention: str = "radiological",
) -> list[list[Panel]]:
    """The rows of `comparison`, which see."""
    alike(runs)
    names, sides = labels(runs[0]), shape(runs[0])
    focus = list(names)[-1] if focus is None else focus
    for what, name, known in (("class", focus, names), ("convention", convention, volumes.CONVENTIONS)):
        if name not in known:
            raise unknown(what, name, known)
    at = tuple(at) if at is not None else center(runs[0], case) if len(sides) == 3 else (0,) * len(sides)
    if len(at) != len(sides) or not all(0 <= index < side for index, side in zip(at, sides)):
        raise InvalidParameter("at", f"a voxel of {sides}, counted from 0", str(at), "leave it out for the middle")
    look, rows = Look(names, focus, opacity, convention), []
    for plane in volumes.planes(len(sides)):
        rows += look.rows(runs, case, plane, at[plane.axis] if plane.axis is not None else 0, first=not rows)
    return rows


# ---------------------------------------------------------------- plain HoloViews


def picture(panel: Panel) -> hv.Overlay:
    """A panel in true proportion: 260 pixels on the longer side, no pixel blended with its neighbours."""
    height, width = panel.sides
    axes = [f"{axis} {panel.plane}".strip() for axis in "xy"]  # what bears the same names pans and zooms together
    base = hv.RGB(panel.image, bounds=(0, 0, width, height), kdims=axes)
    layers = [base.opts(**colors.frame(height, width))]
    for (color, thick, dash), lines in groupby(panel.lines, key=lambda line: line[1:]):
        paths = [np.c_[path[:, 0], height - path[:, 1]] for path, *_ in lines]  # y points up in HoloViews
        drawn = hv.Path(paths, kdims=axes)
        layers.append(drawn.opts(color=color, line_width=thick, line_dash=dash, backend="bokeh"))
    for name, tint in panel.legend.items():
        mark = hv.Points([(-width, -height)], axes, label=name)  # out of sight: only the legend shows it
        layers.append(mark.opts(color=tint, marker="square", size=8, apply_ranges=False, backend="bokeh"))
    legend = {"show_legend": bool(panel.legend), "legend_position": "bottom", "legend_cols": 2, "legend_opts": LEGEND}
    return hv.Overlay(layers).opts(title=panel.title, fontsize={"title": "8pt"}, **legend, backend="bokeh")


def comparison(
    runs: Sequence["Run"],
    case: tuple[str, str],
    focus: str | None = None,
    opacity: float = 0.0,
    at: Sequence[int] | None = None,
    convention: str = "radiological",
) -> hv.Layout:
    """Truth and predictions of some runs, and the errors of one class below: linked pan and zoom; planes of a volume.

    Args:
        focus: the class whose errors are drawn; the last one if not given.
        opacity: of the classes filled in, from 0 to 1, beside their contours.
        at: the voxel that the slices of a volume cut; the middle of the truth if not given.
        convention: `radiological` or `neurological`.

    Raises:
        InvalidParameter: unknown case, class or convention, or a voxel outside the volume.
        InvalidRun: an array cannot be read, or the runs hold cases of unlike size or classes.
    """
    rows = panels(runs, case, focus, opacity, at, convention)
    return hv.Layout([picture(panel) for row in rows for panel in row]).cols(1 + len(runs))
