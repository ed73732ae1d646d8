"""Displacement fields: deformation grids, cycle errors and Jacobian determinants as maps, the way there and back.

A field is (2, H, W) or (3, X, Y, Z), in voxels, its parts in the order of the axes: (m o D)(x) = m(x + D(x)). What is
drawn is a slice, row 0 at the top; spacing is in mm a pixel, down a column and along a row. Where no spacing is known
it is 1 and lengths are in pixels.
"""

from collections.abc import Mapping, Sequence

import holoviews as hv
import holoviews.plotting.bokeh  # the options below are those of this backend
import numpy as np
from scipy import ndimage

from workbench.views import masks, volumes
from workbench.views.colors import frame
from workbench.views.volumes import IMAGE, Plane, lengths

SQUARE = (1.0, 1.0)  # spacing where none is known
FOLD = "#F0E442"  # of voxels where a map folds; around them it shrinks, which is dark red
GRID = "#56B4E9"


# ---------------------------------------------------------------- numbers


def warp(image: np.ndarray, flow: np.ndarray, order: int = 1) -> np.ndarray:
    """image o D, (*S), read linearly (order 0: the nearest voxel) at x + D(x), continued from its border.

    >>> warp(np.array([[1.0, 2.0], [3.0, 5.0]]), np.stack([np.ones((2, 2)), np.zeros((2, 2))])).tolist()
    [[3.0, 5.0], [3.0, 5.0]]
    """
    return ndimage.map_coordinates(image, places(flow), order=order, mode="nearest")


def places(flow: np.ndarray) -> np.ndarray:
    """x + D(x), (D, *S), in voxels."""
    return np.indices(flow.shape[1:]) + flow


def compose(first: np.ndarray, then: np.ndarray) -> np.ndarray:
    """The field of m o first o then: then + first o (id + then)."""
    return then + np.stack([warp(part, then) for part in first])


def cycle(forth: np.ndarray, back: np.ndarray, spacing: Sequence[float] | None = None) -> np.ndarray:
    """(*S) the length of back + forth o (id + back), in mm of the spacing: 0 where back undoes forth."""
    scale = np.ones(len(forth)) if spacing is None else np.asarray(spacing, float)
    return np.linalg.norm(np.moveaxis(compose(forth, back), 0, -1) * scale, axis=-1)


def jacobian(flow: np.ndarray) -> np.ndarray:
    """(*S) the determinant of the gradient of x + D(x): 1 keeps volumes, 2 doubles them, at most 0 where the map folds.

    >>> jacobian(np.stack([np.indices((3, 3))[0] * 0.5, np.zeros((3, 3))])).tolist()[0]
    [1.5, 1.5, 1.5]
    """
    rows = np.stack([np.stack(np.gradient(part)) for part in places(flow)])
    return np.linalg.det(np.moveaxis(rows, (0, 1), (-2, -1)))


def section(flow: np.ndarray, plane: Plane, index: int) -> np.ndarray:
    """(2, H, W): the part of a volume's field (3, X, Y, Z) in one of its slices, rows counted downwards.

    The field of an image as it is.
    """
    if plane.axis is None:
        return flow
    cut = flow.take(index, 1 + plane.axis)
    across, up = cut[plane.across].T[::-1], cut[plane.up].T[::-1]
    return np.stack([-up, across])


# ---------------------------------------------------------------- what is drawn


def picture(image: np.ndarray, title: str = "", spacing: Sequence[float] = SQUARE) -> hv.RGB:
    """One grey slice (H, W) uint8 in true proportion, none of its pixels blended with its neighbours."""
    height, width = lengths(image.shape, spacing)
    element = hv.RGB(np.repeat(image[..., None], 3, 2), bounds=(0, 0, width, height), kdims=["x", "y"], label=title)
    return element.opts(**frame(height, width))


def outlined(
    image: np.ndarray,
    title: str,
    names: masks.Labels,
    truth: np.ndarray,
    carried: np.ndarray | None = None,
    spacing: Sequence[float] = SQUARE,
) -> hv.Overlay:
    """A slice with the borders of the carried label map in the colours of the classes, and of the true one in white.

    The true ones are dashed where carried ones are drawn too.
    """
    layers, height = [picture(image, title, spacing)], lengths(image.shape, spacing)[0]
    for name, tint in masks.palette(names).items() if carried is not None else ():
        layers.append(border(carried, names[name], spacing, height).opts(color=tint, line_width=2, backend="bokeh"))
    dash = "solid" if carried is None else "dashed"
    for values in names.values():
        look = {"color": "white", "line_width": 1.2, "line_dash": dash, "backend": "bokeh"}
        layers.append(border(truth, values, spacing, height).opts(**look))
    return hv.Overlay(layers).relabel(title).opts(show_legend=False, backend="bokeh")


def border(label: np.ndarray, values: Sequence[int], spacing: Sequence[float], height: float) -> hv.Path:
    paths = masks.contours(label, values, spacing)
    return hv.Path([np.c_[p[:, 0], height - p[:, 1]] for p in paths], kdims=["x", "y"])  # y points up in HoloViews


def grid(
    flow: np.ndarray, title: str = "", every: int = 4, spacing: Sequence[float] = SQUARE, color: str = GRID
) -> hv.Path:
    """The lines of a square grid where a field (2, H, W) leads them: x + D(x) of every so many rows and columns.

    Laid over the image that is read, it shows what lands on the straight lines of the image that is made.
    """
    height, width = lengths(flow.shape[1:], spacing)
    rows, columns = (part + 0.5 for part in places(flow))
    points = np.stack([columns * spacing[1], height - rows * spacing[0]], -1)
    lines = [*points[every // 2 :: every], *points.swapaxes(0, 1)[every // 2 :: every]]
    path = hv.Path(lines, kdims=["x", "y"], label=title)
    limits = {"xlim": (0, width), "ylim": (0, height)}  # of the image, should lines lead out of it
    return path.opts(**frame(height, width), **limits, color=color, line_width=1)


def on_grid(
    image: np.ndarray, flow: np.ndarray, title: str = "", every: int = 4, spacing: Sequence[float] = SQUARE
) -> hv.Overlay:
    """An image (H, W) uint8 under the grid of a field that reads it."""
    layers = [picture(image, title, spacing), grid(flow, title, every, spacing)]
    return hv.Overlay(layers).relabel(title).opts(show_legend=False, backend="bokeh")


def length_map(
    values: np.ndarray, title: str = "", unit: str = "px", limit: float | None = None, spacing: Sequence[float] = SQUARE
) -> hv.Image:
    """Lengths (H, W), of a cycle error or an endpoint error, from 0 to `limit` (their 99th percentile if not given)."""
    height, width = lengths(values.shape, spacing)
    limit = float(np.percentile(values, 99)) or 1.0 if limit is None else limit
    element = hv.Image(values, bounds=(0, 0, width, height), kdims=["x", "y"], vdims=hv.Dimension("error", unit=unit))
    bar = {"cmap": "inferno", "clim": (0, limit), "colorbar": True, "clabel": unit, "tools": ["hover"]}
    return element.relabel(title).opts(**frame(height, width), **bar)


def jacobian_map(values: np.ndarray, title: str = "", spacing: Sequence[float] = SQUARE) -> hv.Image:
    """Determinants (H, W) out of `jacobian`: 1 white, growth blue, shrinking red; folds yellow, their share told."""
    height, width = lengths(values.shape, spacing)
    folded = values <= 0
    told = f"{title}: {100 * folded.mean():.2g} % folded" if title else f"{100 * folded.mean():.2g} % folded"
    shown = np.where(folded, -1, values)  # below the scale, where the clipping colour is
    element = hv.Image(shown, bounds=(0, 0, width, height), kdims=["x", "y"], vdims="Jacobian determinant")
    bar = {"cmap": "RdBu", "clim": (0, 2), "colorbar": True, "clabel": "determinant", "tools": ["hover"]}
    return element.relabel(told).opts(**frame(height, width), **bar, clipping_colors={"min": FOLD})


def there_and_back(
    arrays: Mapping[str, np.ndarray],
    forth: np.ndarray,
    back: np.ndarray,
    names: masks.Labels,
    limit: float = 2.0,
    plane: Plane = IMAGE,
    index: int = 0,
) -> hv.Layout:
    """The atlas carried to the subject and home again, in two rows with linked pan and zoom.

    Above the atlas under the grid of the way there, what that makes of it with the labels that it carries (solid) and
    the true ones (dashed), and the subject; below the warped atlas under the grid of the way back, what comes home with
    the atlas's own labels (dashed), and the cycle error.

    Args:
        arrays: `atlas`, `image` (*S) uint8, their `atlas_label`, `label`, and perhaps `spacing` (D,).
        forth, back: fields (D, *S) in voxels.
        names: the classes and their values.
        limit: of the map of the cycle error, in mm (voxels without spacing).
        plane, index: which slice of a volume is shown; all is computed in the volume.
    """
    spacing, unit = arrays.get("spacing", np.ones(len(forth))), "mm" if "spacing" in arrays else "px"
    error = cycle(forth, back, spacing)
    shown = journey(arrays, forth, back) | {"error": error}
    cut = {name: volumes.cut(values[None], 0, plane, index) for name, values in shown.items()}
    flat = tuple(np.asarray(spacing, float)[[plane.up, plane.across]])
    there, home = (section(flow, plane, index) for flow in (forth, back))
    panels = [
        on_grid(cut["atlas"], there, "The way there", spacing=flat),
        outlined(cut["warped"], "Warped atlas", names, cut["label"], cut["carried"], flat),
        outlined(cut["image"], "Subject", names, cut["label"], spacing=flat),
        on_grid(cut["warped"], home, "The way back", spacing=flat),
        outlined(cut["home"], "Warped back", names, cut["atlas_label"], cut["returned"], flat),
        length_map(cut["error"], f"Cycle error {error.mean():.2f} {unit}", unit, limit, flat),
    ]
    return hv.Layout(panels).cols(3)


def journey(arrays: Mapping[str, np.ndarray], forth: np.ndarray, back: np.ndarray) -> dict[str, np.ndarray]:
    """What the fields make of the atlas: `warped`, `home` and its labels `carried`, `returned`, beside the inputs."""
    both, atlas = compose(forth, back), arrays["atlas"].astype(float)
    made = {"warped": pixels(warp(atlas, forth)), "home": pixels(warp(atlas, both))}
    made |= {"carried": carry(arrays["atlas_label"], forth), "returned": carry(arrays["atlas_label"], both)}
    return made | {name: arrays[name] for name in ("atlas", "image", "atlas_label", "label")}


def carry(label: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """A label map through a field: each value's mask warped linearly, the largest wins; uint8."""
    values = np.unique(label)
    shares = [warp((label == value).astype(float), flow) for value in values]
    return values[np.argmax(shares, axis=0)].astype(np.uint8)


def pixels(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)
