"""Colorizations: one case of one or two runs as pictures, maps of CIEDE2000 and outlines of masks.

Arrays are (H, W) or (H, W, 3) uint8 with 255 for 1.0, row 0 at the top. `comparison` is the page of the dashboard as
one plain HoloViews layout for notebooks and HTML files.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import holoviews as hv
import holoviews.plotting.bokeh  # the options below are those of this backend
import numpy as np
from skimage import measure
from skimage.color import deltaE_ciede2000, rgb2lab

from workbench import views
from workbench.errors import unknown

if TYPE_CHECKING:
    from workbench.runs import Run

NEEDS = {"image": 3, "target": 4, "color": 4}
OUTLINES = {"foreground": "#56B4E9", "mask": "#F0E442"}  # truth and prediction
LIMIT = 30.0  # ΔE00; some 2.3 can just be seen, 30 is another colour


def read(run: "Run", case: tuple[str, str]) -> dict[str, np.ndarray]:
    """The arrays of one case, by name, copied out of the memory-mapped files; masks only where the run wrote them.

    Raises:
        InvalidParameter: the run was not tested on this case.
        InvalidRun: an array cannot be read.
    """
    keys = [views.key(entry) for entry in run.samples.cases]
    if case not in keys:
        raise unknown("case", " ".join(case).strip(), [" ".join(k).strip() for k in keys])
    present = [key for key in (*NEEDS, *OUTLINES) if key in run.samples.keys]
    return {key: np.array(run.samples.array(key)[keys.index(case)]) for key in present}


def colored(run: "Run") -> bool:
    """Whether channels are red, green and blue: three MR modalities of a slice come with label maps, colours do not."""
    return "label" not in run.samples.keys


def difference(target: np.ndarray, color: np.ndarray) -> np.ndarray:
    """CIEDE2000 of every pixel: (H, W) float32 in ΔE00, from two (H, W, 3) uint8.

    >>> float(difference(np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)).round()[0, 0])
    100.0
    """
    return deltaE_ciede2000(rgb2lab(target), rgb2lab(color)).astype(np.float32)


def outline(mask: np.ndarray) -> list[np.ndarray]:
    """The border of a mask (H, W) as paths (n, 2) of x, y in pixels, the top left corner of the image at 0, 0."""
    padded = np.pad(mask > 0, 1)  # so that an outline closes at the border of the image
    return [path[:, ::-1] - 0.5 for path in measure.find_contours(padded.astype(np.uint8), 0.5)]


def rgba(image: np.ndarray) -> np.ndarray:
    """Packed colours (H, W) uint32, little-endian RGBA, of an image (H, W) or (H, W, 3) uint8."""
    packed = np.full((*image.shape[:2], 4), 255, np.uint8)
    packed[..., :3] = image if image.ndim == 3 else image[..., None]
    return packed.view(np.uint32)[..., 0]


def numbers(table: Any, case: tuple[str, str]) -> dict[str, float]:
    """The metrics of one case out of `views.scores`; empty where it was not scored."""
    return table.loc[[case]].iloc[0].to_dict() if case in table.index else {}


def picture(image: np.ndarray, title: str = "") -> hv.Element:
    """One image, in grey (H, W) or colour (H, W, 3), as it is: square pixels, none blended with its neighbours."""
    height, width = image.shape[:2]
    shown = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    element = hv.RGB(shown, bounds=(0, 0, width, height), kdims=["x", "y"], label=title)
    return element.opts(**frame(height, width))


def frame(height: int, width: int) -> dict[str, Any]:
    """Options of one picture: no axes, aspect kept, 260 pixels on the longer side."""
    scale = 260 / max(height, width)
    size = {"frame_width": round(width * scale), "frame_height": round(height * scale)}
    return {"backend": "bokeh", "xaxis": None, "yaxis": None, "active_tools": [], **size}


def difference_map(target: np.ndarray, color: np.ndarray, title: str = "", limit: float = LIMIT) -> hv.Image:
    """`difference` as a picture with a colour bar from 0 to `limit` ΔE00."""
    values = difference(target, color)
    height, width = values.shape
    element = hv.Image(values, bounds=(0, 0, width, height), kdims=["x", "y"], vdims="ΔE00", label=title)
    bar = {"cmap": "inferno", "clim": (0, limit), "colorbar": True, "clabel": "ΔE00", "tools": ["hover"]}
    return element.opts(**frame(height, width), **bar)


def outlined(image: np.ndarray, masks: Mapping[str, np.ndarray], title: str = "") -> hv.Overlay:
    """A picture with the outlines of its `foreground` (truth, blue) and `mask` (prediction, yellow)."""
    layers = [picture(image, title)]
    for name, color in OUTLINES.items():
        if name in masks:  # y points up in HoloViews
            paths = [np.c_[p[:, 0], image.shape[0] - p[:, 1]] for p in outline(masks[name])]
            layers.append(hv.Path(paths, kdims=["x", "y"]).opts(color=color, line_width=2, backend="bokeh"))
    return hv.Overlay(layers).relabel(title).opts(show_legend=False, backend="bokeh")


def comparison(runs: Sequence["Run"], case: tuple[str, str], limit: float = LIMIT, masks: bool = False) -> hv.Layout:
    """Input, truth and the colours of some runs, with a difference map each: two rows, pan and zoom linked.

    Raises:
        InvalidParameter, InvalidRun: as `read`.
    """
    cases = [read(run, case) for run in runs]
    first, names = cases[0], [views.label(run) for run in runs]
    top = [picture(first["image"], "Input"), picture(first["target"], "Truth")]
    if masks:
        top[1] = outlined(first["target"], {k: v for k, v in first.items() if k == "foreground"}, "Truth")
    below = []
    for name, arrays in zip(names, cases, strict=True):
        top.append(outlined(arrays["color"], arrays, name) if masks else picture(arrays["color"], name))
        below.append(difference_map(arrays["target"], arrays["color"], f"ΔE00 {name}", limit))
    return hv.Layout([*top, hv.Empty(), hv.Empty(), *below]).cols(len(top))
