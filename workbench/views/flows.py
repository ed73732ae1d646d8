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

from workbench.views import masks
from workbench.views.colors import frame
from workbench.views.volumes import Plane, lengths

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
    """(2, H, W): the part of a volume's field (3, X, Y, Z) that lies in one of its slices, rows counted downwards."""
    cut = flow.take(index, 1 + plane.axis)
    across, up = cut[plane.across].T[::-1], cut[plane.up].T[::-1]
    return np.stack([-up, across])


# ---------------------------------------------------------------- what is drawn


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
    layers = [masks.picture(image, spacing, title), grid(flow, title, every, spacing)]
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


def jacobian_map(flow: np.ndarray, title: str = "", spacing: Sequence[float] = SQUARE) -> hv.Image:
    """The determinants of a field (2, H, W): 1 white, growth blue, shrinking red; folds yellow, their share told."""
    values = jacobian(flow)
    height, width = lengths(values.shape, spacing)
    folded = values <= 0
    told = f"{title}: {100 * folded.mean():.2g} % folded" if title else f"{100 * folded.mean():.2g} % folded"
    shown = np.where(folded, -1, values)  # below the scale, where the clipping colour is
    element = hv.Image(shown, bounds=(0, 0, width, height), kdims=["x", "y"], vdims="Jacobian determinant")
    bar = {"cmap": "RdBu", "clim": (0, 2), "colorbar": True, "clabel": "determinant", "tools": ["hover"]}
    return element.relabel(told).opts(**frame(height, width), **bar, clipping_colors={"min": FOLD})


def there_and_back(
    arrays: Mapping[str, np.ndarray], forth: np.ndarray, back: np.ndarray, names: masks.Labels, limit: float = 2.0
) -> hv.Layout:
    """The atlas carried to the subject and home again, in two rows with linked pan and zoom.

    Above the atlas under the grid of the way there, what that makes of it with the labels that it carries (solid) and
    the true ones (dashed), and the subject; below the warped atlas under the grid of the way back, what comes home with
    the atlas's own labels (dashed), and the cycle error.

    Args:
        arrays: `atlas`, `image` (H, W) uint8, their `atlas_label`, `label`, and perhaps `spacing` (2,).
        forth, back: fields (2, H, W) in pixels.
        names: the classes and their values.
        limit: of the map of the cycle error, in mm (pixels without spacing).
    """
    spacing = tuple(arrays.get("spacing", SQUARE))
    unit = "mm" if "spacing" in arrays else "px"
    warped, home = (pixels(warp(arrays["atlas"].astype(float), f)) for f in (forth, compose(forth, back)))
    carried = carry(arrays["atlas_label"], forth)
    returned = carry(arrays["atlas_label"], compose(forth, back))
    error = cycle(forth, back, spacing)
    picture, outlined = masks.picture, masks.outlined
    shown = [
        on_grid(arrays["atlas"], forth, "Atlas, grid of the way there", spacing=spacing),
        outlined(picture(warped, spacing, "Warped atlas"), spacing, arrays["label"], carried, names),
        outlined(picture(arrays["image"], spacing, "Subject"), spacing, arrays["label"], None, names),
        on_grid(warped, back, "Warped atlas, grid of the way back", spacing=spacing),
        outlined(picture(home, spacing, "Warped back"), spacing, arrays["atlas_label"], returned, names),
        length_map(error, f"Cycle error, mean {error.mean():.2f} {unit}", unit, limit, spacing),
    ]
    return hv.Layout(shown).cols(3)


def carry(label: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """A label map through a field: each value's mask warped linearly, the largest wins; uint8."""
    values = np.unique(label)
    shares = [warp((label == value).astype(float), flow) for value in values]
    return values[np.argmax(shares, axis=0)].astype(np.uint8)


def pixels(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)
