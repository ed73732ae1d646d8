"""One volume from its files: channels and label map on the same voxels, cut to what is there, resampled, scaled."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from workbench.data.anatomy3d.subjects import scaled
from workbench.data.anatomy3d.volumes import check_values, read, read_label, shown, whole
from workbench.data.brain.volumes import check_same
from workbench.data.headct.cases import FACTOR, Head, Options
from workbench.data.headct.layouts import Entry
from workbench.data.io.kind import hashed
from workbench.errors import InvalidImage


def head(entry: Entry, kind: int, options: Options) -> Head:
    """The volume of a case with the sides asked for, each channel scaled to bytes.

    Raises:
        InvalidImage: a file that cannot be read, channels or a label map on other voxels, one value everywhere, or
            fewer than 8 voxels along a side: too few for a grid of cubes.
    """
    channels = [read(path) for path in entry.images]
    for one in channels[1:]:
        check_same(one, channels[0])
    label = None if entry.label is None else whole(read_label(entry.label, channels[0]))
    arrays, spacing = [one.array for one in channels], channels[0].spacing
    for one in channels:
        if one.array.min() == one.array.max():
            raise InvalidImage(one.path.name, "an image", "one value everywhere", "remove it, or export it again")
    box = inner(arrays) if options.crop else tuple(slice(None) for _ in range(3))
    arrays, label = [one[box] for one in arrays], None if label is None else label[box]
    sides = arrays[0].shape
    if min(sides) < FACTOR:
        expected = f"at least {FACTOR} voxels along each side, for a grid of cubes"
        raise InvalidImage(entry.name, expected, shown(sides), "give volumes, not slices or patches")
    if label is not None:
        check_values(entry.label, label)
        label = nearest(label, options.sides)
    small = fitted(np.stack([grey(one, options) for one in arrays]), options.sides)
    pixels = np.round(255 * small).clip(0, 255).astype(np.uint8)
    steps = tuple(float(mm * was / now) for mm, was, now in zip(spacing, sides, options.sides))
    return Head(pixels, kind, label, steps, hashed(entry.name), hashed(entry.group))


def inner(arrays: Sequence[np.ndarray]) -> tuple[slice, ...]:
    """The box of the voxels of which any channel is above its least value, the background of a stripped brain."""
    inside = np.any([one > one.min() for one in arrays], axis=0)
    spans = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    return tuple(slice(int(span[0]), int(span[-1]) + 1) for span in spans)


def grey(array: np.ndarray, options: Options) -> np.ndarray:
    """A channel in [0, 1]: between the limits of the window, or between its percentiles."""
    if options.limits is None:
        return scaled(array).astype(np.float32) / 255
    low, high = options.limits
    return ((array - low) / (high - low)).clip(0, 1).astype(np.float32)


def fitted(array: np.ndarray, sides: Sequence[int]) -> np.ndarray:
    """(C, X, Y, Z) float32 on other sides: the mean of each voxel's volume, or linear where it is enlarged."""
    values = torch.from_numpy(np.ascontiguousarray(array, np.float32))[None]
    smaller = [min(was, now) for was, now in zip(array.shape[1:], sides)]
    values = F.adaptive_avg_pool3d(values, smaller)
    if list(sides) != smaller:
        values = F.interpolate(values, tuple(sides), mode="trilinear", align_corners=False)
    return values[0].numpy()


def nearest(label: np.ndarray, sides: Sequence[int]) -> np.ndarray:
    """(X, Y, Z) label values on other sides, each from the voxel nearest to the middle of the new one."""
    places = [((np.arange(now) + 0.5) * was / now).astype(int) for was, now in zip(label.shape, sides)]
    return label[np.ix_(*places)]
