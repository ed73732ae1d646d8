"""Slices of volumes: the three planes of a volume (R, A, S), and an image as the one plane that it is.

The axes of a volume grow to the patient's right, to the front and to the head (RAS+). A slice is an array (H, W) with
row 0 at the top: the head, or the front of an axial slice, is up, and the front of a sagittal one to the right.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONVENTIONS = ("radiological", "neurological")  # the patient's right at the left, as if facing him, or at the right


@dataclass(frozen=True)
class Plane:
    """What a slice shows: the axis it is cut across (none for an image), and the axes to the right and upwards."""

    name: str
    axis: int | None
    across: int
    up: int
    ends: str = ""  # letters at the left, right, lower and upper edge, neurological

    def letters(self, convention: str) -> str:
        """The letters at the left, right, lower and upper edge.

        >>> PLANES["axial"].letters("radiological"), PLANES["sagittal"].letters("radiological")
        ('RLPA', 'PAIS')
        """
        return self.ends[1::-1] + self.ends[2:] if self.mirrored(convention) else self.ends

    def mirrored(self, convention: str) -> bool:
        """Whether the first axis runs to the left."""
        return self.axis in (1, 2) and convention == "radiological"


IMAGE = Plane("image", None, 1, 0)
PLANES = {
    "sagittal": Plane("sagittal", 0, 1, 2, "PAIS"),
    "coronal": Plane("coronal", 1, 0, 2, "LRIS"),
    "axial": Plane("axial", 2, 0, 1, "LRPA"),
}


def planes(axes: int) -> tuple[Plane, ...]:
    """The planes of an image (2 axes) or of a volume (3)."""
    return tuple(PLANES.values()) if axes == 3 else (IMAGE,)


def cut(array: np.ndarray, case: int, plane: Plane, index: int = 0) -> np.ndarray:
    """One slice (H, W) of one case of a memory-mapped array (N, X, Y, Z), copied: nothing else is read.

    Of images (N, H, W) or (N, H, W, 3) the whole image.
    """
    if plane.axis is None:
        return np.array(array[case])
    place: list[int | slice] = [case, slice(None), slice(None), slice(None)]
    place[1 + plane.axis] = index
    return np.array(array[tuple(place)].T[::-1])


def middle(volume: np.ndarray) -> tuple[int, ...]:
    """The voxel in the middle of what is not 0; of the volume where all is 0.

    >>> middle(np.pad(np.ones((1, 3, 1)), 2))
    (2, 3, 2)
    """
    axes = range(volume.ndim)
    where = [np.flatnonzero(volume.any(axis=tuple(other for other in axes if other != axis))) for axis in axes]
    return tuple(int(w[len(w) // 2]) if len(w) else side // 2 for w, side in zip(where, volume.shape, strict=True))


def lengths(shape: Sequence[int], spacing: Sequence[float]) -> tuple[float, ...]:
    """The sides of an image or volume in mm."""
    return tuple(float(side * step) for side, step in zip(shape, spacing, strict=True))
