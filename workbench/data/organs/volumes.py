"""Slices of NIfTI volumes with their masks, turned as they are looked at."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from workbench.data import io
from workbench.data.organs.slices import Options, Slice
from workbench.errors import InvalidImage

AXES = ("sagittal", "coronal", "axial")  # across X, Y and Z of RAS+ axes
PERCENTILES = (0.5, 99.5)  # of the voxels, shown black and white
VOXELS = 2**20  # at most so many are looked at for them
APART = 0.1  # of a voxel's shortest side, by which a corner of the mask may miss that of its image
LISTED = 8  # label values in one message


def cut(
    image: Path, mask: Path, known: Sequence[int], count: int, options: Options, rng: np.random.Generator
) -> Iterator[tuple[int, Slice]]:
    """Up to `count` slices of a volume by number, drawn from equal parts of the stretch that the organ takes up.

    Rows run from front to back or from head to foot, columns from the patient's right to the left (sagittal: from
    front to back). Each slice is one without the organ by the chance `options.empty`.

    Args:
        known: the label values that may occur; none where any whole number may.

    Raises:
        InvalidImage: either file is no sound volume, they differ in size, orientation or place, label values are not
            known, or the mask is empty or full.
    """
    volume, labels = io.read_volume(image), io.read_volume(mask)
    check_grid(volume, labels)
    inside = organ_in(mask, labels.array, known, options.values)
    low, high = limits(volume, options.limits)
    axis = axis_of(volume.spacing, options.axis)
    columns, rows = (side for side in range(3) if side != axis)
    for number in drawn(inside.any((columns, rows)), count, options.empty, rng):
        grey = (turned(volume.array, axis, number) - low) / (high - low)
        spacing = float(volume.spacing[rows]), float(volume.spacing[columns])
        yield number, Slice(grey.clip(0, 1), turned(inside, axis, number), spacing)


def turned(array: np.ndarray, axis: int, number: int) -> np.ndarray:
    """One slice (rows, columns) of an array on RAS+ axes: what lies further left, behind or below comes later."""
    return array.take(number, axis).T[::-1, ::-1]


def check_grid(volume: io.Volume, labels: io.Volume) -> None:
    """Raises InvalidImage where a mask does not lie on the voxels of its image."""
    shapes = [" x ".join(map(str, one.array.shape)) for one in (volume, labels)]
    if shapes[0] != shapes[1]:
        remedy = "resample the mask onto its image with nearest neighbours"
        raise InvalidImage(labels.path.name, f"a mask of {shapes[0]} voxels (RAS), as its image", shapes[1], remedy)
    corners = np.array([[*index, 1] for index in np.ndindex(2, 2, 2)]) * [*volume.array.shape, 1]
    off = np.linalg.norm((corners @ (labels.affine - volume.affine).T), axis=1).max()
    if off > APART * volume.spacing.min():
        found = f"corners up to {off:.3g} mm apart: another orientation, voxel size or origin"
        remedy = "resample the mask onto its image, or copy the header if only that is wrong"
        raise InvalidImage(labels.path.name, "a mask in the place of its image", found, remedy)


def organ_in(path: Path, labels: np.ndarray, known: Sequence[int], chosen: Sequence[int]) -> np.ndarray:
    """Where a label map holds one of the chosen values, or any above 0 where none is chosen: bool.

    Raises:
        InvalidImage: values that are not known, fractions, negative values, nothing chosen, or nothing else.
    """
    odd = ~np.isin(labels, known) if known else (labels < 0) | (labels != np.rint(labels))
    if odd.any():
        expected = f"label values {', '.join(map(str, known))}" if known else "whole label values from 0"
        raise InvalidImage(path.name, expected, counted(labels[odd]), "map them to labels and save the mask again")
    inside = np.isin(labels, chosen) if chosen else labels > 0
    if not inside.any():
        wanted = f"foreground {' or '.join(map(str, chosen))}" if chosen else "foreground"
        found = f"only {counted(labels[labels > 0])}" if labels.any() else f"an empty mask: {labels.size} times 0"
        raise InvalidImage(path.name, wanted, found, "leave the case out, or choose labels with foreground=")
    if inside.all():
        remedy = "give a mask with background, or choose labels with foreground="
        raise InvalidImage(path.name, "organ and background", "a single class: organ everywhere", remedy)
    return inside


def counted(labels: np.ndarray) -> str:
    """The values of a label map with their counts.

    >>> counted(np.array([3, 7, 3]))
    'label 3 (2 times), 7 (1 times)'
    """
    values, counts = np.unique(labels, return_counts=True)
    words = [f"{value:g} ({count} times)" for value, count in zip(values[:LISTED], counts, strict=False)]
    return f"label {', '.join(words)}{f' and {len(values) - LISTED} more values' if len(values) > LISTED else ''}"


def limits(volume: io.Volume, asked: Sequence[float]) -> tuple[float, float]:
    """The values shown black and white: those asked for, else percentiles of the volume."""
    sample = volume.array.reshape(-1)[:: max(1, volume.array.size // VOXELS)]
    low, high = asked or np.percentile(sample, PERCENTILES)
    if not low < high:
        found = f"{low:g} in nearly all voxels"
        raise InvalidImage(volume.path.name, "grey values that differ", found, "check the image, or give window=")
    return float(low), float(high)


def axis_of(spacing: np.ndarray, name: str) -> int:
    """The axis across which a volume is cut; `acquired` is the longest side of a voxel, the last of equal ones."""
    if name != "acquired":
        return AXES.index(name)
    return 2 - int(np.argmax(np.round(spacing / spacing.max(), 2)[::-1]))


def drawn(present: np.ndarray, count: int, empty: float, rng: np.random.Generator) -> list[int]:
    """Numbers of slices: one from each of `count` equal parts of those that hold the organ, or one that does not."""
    filled, rest = np.flatnonzero(present), np.flatnonzero(~present)
    chosen = set()
    for part in np.array_split(filled, min(count, len(filled))):
        source = rest if len(rest) and rng.random() < empty else part
        chosen.add(int(rng.choice(source)))
    return sorted(chosen)
