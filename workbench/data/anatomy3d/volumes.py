"""One scan from its files onto the common grid: read, compared with its label map, cut or padded, scaled."""

import gzip
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from workbench.data import io
from workbench.data.anatomy3d.layouts import Entry
from workbench.data.anatomy3d.subjects import FACTOR, Options, Subject, scaled
from workbench.data.io.guard import guard
from workbench.data.io.kind import hashed
from workbench.data.io.nifti import free_memory
from workbench.errors import InvalidImage, InvalidParameter

PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}  # the axis that a slice is taken across
TOLERANCE = 0.1  # voxels that the corners of a label map may lie off those of its image


def subject(entry: Entry, root: Path, grid: tuple[int, ...], options: Options) -> Subject:
    """A scan on the grid, its label values as stored.

    Raises:
        InvalidImage: a file that cannot be read, one grey everywhere, a label map on other voxels than its image, with
            fractions, of a single value, or with nothing inside the grid.
    """
    volume = read(entry.image)
    label = None if entry.label is None else whole(read_label(entry.label, volume))
    image, spacing = flattened(volume.array, volume.spacing, options)
    if image.min() == image.max():
        raise InvalidImage(entry.image.name, "an image", "one value everywhere", "remove it, or export it again")
    if entry.label is not None:
        label = resampled(flattened(label, volume.spacing, options)[0], spacing, options.spacing, order=0)
        check_values(entry.label, label)
    image = resampled(image, spacing, options.spacing, order=1)
    spacing = options.spacing * np.ones(options.dims) if options.spacing else spacing
    pixels = scaled(image)
    middle = centroid(pixels) if options.center == "foreground" else (np.array(image.shape) - 1) / 2
    cut = 0
    if label is not None:
        drawn = np.count_nonzero(label)
        label = fitted(label, grid, middle, edge=False)
        cut = drawn - np.count_nonzero(label)
        if not label.any():
            found, remedy = "none", "use a larger grid, or center=foreground"
            raise InvalidImage(entry.label.name, f"structures inside the grid {shown(grid)}", found, remedy)
    pixels = fitted(pixels, grid, middle, edge=True)
    return Subject(pixels, label, spacing, case_of(entry, root), hashed(entry.group), cut=cut)


def case_of(entry: Entry, root: Path) -> str:
    return hashed(entry.image.relative_to(root).as_posix())


def shown(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


# ---------------------------------------------------------------- files


def read(path: Path) -> io.Volume:
    """A NIfTI volume on RAS+ axes, or a NumPy one as it is stored, its voxels taken as 1 mm."""
    if ".npy" not in path.name.lower():
        return io.read_volume(path)
    with guard(path, "NumPy volume"), opened(path) as file:
        shape, _ = npy_header(path, file)
        need, free = 8 * math.prod(shape), free_memory()
        if need > free:
            found = f"{shown(shape)} voxels, about {need >> 20} MB, with {free >> 20} MB free"
            raise InvalidImage(path.name, "a volume that fits in memory", found, "crop or resample it first")
        file.seek(0)
        array = np.ascontiguousarray(np.load(file, allow_pickle=False), np.float32)
    if not np.isfinite(array).all():
        remedy = "replace them (numpy.nan_to_num) and save the volume again"
        raise InvalidImage(path.name, "finite voxel values", "NaN or infinity", remedy)
    return io.Volume(array, np.eye(4), np.ones(3), path)


def opened(path: Path) -> BinaryIO:
    return gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb")


def npy_header(path: Path, file: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
    """The shape and type that a NumPy file promises; it must be a volume of numbers."""
    reader = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    shape, _, dtype = reader[np.lib.format.read_magic(file)[0]](file)
    if len(shape) != 3 or dtype.kind not in "iufb":
        found = f"shape {shape} of {dtype}"
        raise InvalidImage(path.name, "a volume of 3 axes, one number a voxel", found, "save one volume a file")
    return shape, dtype


def header(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    """The sides (X, Y, Z) and mm a voxel of a file on RAS+ axes, without reading the voxels.

    Raises:
        InvalidImage: not a volume, or cut within its header.
    """
    if ".npy" in path.name.lower():
        with guard(path, "NumPy volume"), opened(path) as file:
            return npy_header(path, file)[0], np.ones(3)
    import nibabel

    with guard(path, "NIfTI volume"):
        found = nibabel.load(path)
        order = nibabel.io_orientation(found.affine)[:, 0].astype(int)  # the world axis of each stored one
        sides, spacing = np.ones(3, int), np.ones(3)
        sides[order], spacing[order] = found.shape[:3], found.header.get_zooms()[:3]
    return tuple(int(side) for side in sides), spacing


def read_label(path: Path, image: io.Volume) -> io.Volume:
    """The label map of an image, which must lie on the same voxels once both are turned to RAS+.

    Raises:
        InvalidImage: another shape, orientation, voxel size or position.
    """
    label = read(path)
    if label.array.shape != image.array.shape:
        remedy = "export it on the voxels of its image; labels must not be resized"
        expected = f"a label map of {shown(image.array.shape)} voxels, as its image"
        raise InvalidImage(path.name, expected, shown(label.array.shape), remedy)
    corners = np.array(np.meshgrid(*[(0, side - 1) for side in label.array.shape])).reshape(3, -1)
    apart = (label.affine - image.affine)[:3, :3] @ corners + (label.affine - image.affine)[:3, 3:]
    if (off := np.linalg.norm(apart, axis=0).max()) > TOLERANCE * image.spacing.min():
        remedy = "copy the sform and qform of the image if the voxels agree, else resample the label map to the image"
        raise InvalidImage(path.name, "the orientation and position of its image", f"corners {off:.1f} mm off", remedy)
    return label


def whole(volume: io.Volume) -> np.ndarray:
    """(X, Y, Z) int16, exactly the values of a label map."""
    low, high = volume.array.min(), volume.array.max()
    if low < 0 or high > np.iinfo(np.int16).max or not np.array_equal(volume.array, volume.array.round()):
        remedy = "export the label map, not an image or probabilities"
        expected = "whole label values from 0 to 32767"
        raise InvalidImage(volume.path.name, expected, f"values from {low:g} to {high:g}, or fractions", remedy)
    return volume.array.astype(np.int16)


def check_values(path: Path, label: np.ndarray) -> None:
    if label.min() == label.max():
        found = "an empty mask" if not label.any() else f"the single value {label.max()} everywhere"
        raise InvalidImage(
            path.name, "structures on a background of 0", found, "remove the scan, or draw its structures"
        )


# ---------------------------------------------------------------- grids


def common_grid(found: Sequence[Entry], options: Options) -> tuple[int, ...]:
    """The sides that all scans get: `grid` if given, else the smallest multiples of 8 that hold every scan.

    Raises:
        InvalidParameter: sides of the wrong number, or no multiples of 8.
    """
    if options.grid:
        sides = [int(side) if side.strip().isdecimal() else 0 for side in re.split("[x,]", options.grid)]
        if len(sides) != options.dims or not all(side > 0 and side % FACTOR == 0 for side in sides):
            example = "grid=40x56x40" if options.dims == 3 else "grid=160x192"
            expected = f"{options.dims} sides, multiples of {FACTOR}"
            raise InvalidParameter("grid", expected, repr(options.grid), f"give for example {example}")
        return tuple(sides)
    headers, _ = io.read_many([entry.image for entry in found], header)
    shapes = [flat_shape(shape, spacing, options) for shape, spacing in headers]
    sides = FACTOR * np.ceil(np.max(shapes, axis=0) / FACTOR).astype(int)
    return tuple(np.minimum(sides, options.size or sides).tolist())


def flat_shape(shape: tuple[int, ...], spacing: np.ndarray, options: Options) -> tuple[int, ...]:
    """The sides of a scan after slicing and resampling."""
    flat, spacing = flattened(np.broadcast_to(np.int8(0), shape), spacing, options)
    return new_shape(flat.shape, spacing, options.spacing)


def flattened(array: np.ndarray, spacing: np.ndarray, options: Options) -> tuple[np.ndarray, np.ndarray]:
    """The volume (X, Y, Z) as it is, or with dims=2 its middle slice (rows, columns), up is up; and mm a voxel.

    A volume of a single slice gives that one, whatever the plane asked for.
    """
    if options.dims == 3:
        return array, spacing
    across = int(np.argmin(array.shape)) if min(array.shape) == 1 else PLANES[options.plane]
    rest = [axis for axis in (2, 1, 0) if axis != across]
    return array.take(array.shape[across] // 2, across).T[::-1], spacing[rest]


def new_shape(shape: tuple[int, ...], spacing: np.ndarray, wanted: float) -> tuple[int, ...]:
    return tuple(max(1, round(side * own / wanted)) if wanted else side for side, own in zip(shape, spacing))


def resampled(array: np.ndarray, spacing: np.ndarray, wanted: float, order: int) -> np.ndarray:
    """The array at `wanted` mm a voxel, smoothed before it is reduced where order is 1; 0 mm leaves it as it is."""
    shape = new_shape(array.shape, spacing, wanted)
    if shape == array.shape:
        return array
    from skimage.transform import resize

    return resize(array, shape, order=order, mode="edge", anti_aliasing=order > 0, preserve_range=True).astype(
        array.dtype
    )


def centroid(pixels: np.ndarray) -> np.ndarray:
    """(D,) the centre of what is brighter than Otsu's threshold, in voxels."""
    from skimage.filters import threshold_otsu

    return np.argwhere(pixels > threshold_otsu(pixels)).mean(0)


def fitted(array: np.ndarray, grid: tuple[int, ...], middle: np.ndarray, *, edge: bool) -> np.ndarray:
    """The array on the grid, shifted by whole voxels so that `middle` is in its middle.

    What lies outside is cut. What is added repeats the border (`edge`), as an invented border would attract every
    registration, or is 0.
    """
    starts = np.ceil(middle - (np.array(grid) - 1) / 2 - 0.5).astype(int)
    places = [start + np.arange(side) for start, side in zip(starts, grid)]
    kept = array[np.ix_(*[place.clip(0, side - 1) for place, side in zip(places, array.shape)])]
    if not edge:
        for axis, (place, side) in enumerate(zip(places, array.shape)):
            np.moveaxis(kept, axis, 0)[(place < 0) | (place >= side)] = 0
    return np.ascontiguousarray(kept)


def check_memory(root: Path, grid: tuple[int, ...], count: int) -> None:
    """Refuses more than fits: an image byte and two label bytes a voxel, twice while they are stacked."""
    need, free = 6 * count * math.prod(grid), free_memory()
    if need > free:
        found = f"{count} of {shown(grid)} voxels, about {need >> 20} MB, with {free >> 20} MB free"
        remedy = "take fewer (train=10), coarser voxels (spacing=2), a smaller grid (grid=...) or slices (dims=2)"
        raise InvalidImage(root.name, "volumes that fit in memory together", found, remedy)


def relabelled(one: Subject, table: np.ndarray) -> Subject:
    """The subject with its label values looked up in a table (highest value + 1,) int16."""
    return one if one.label is None else replace(one, label=table[one.label])
