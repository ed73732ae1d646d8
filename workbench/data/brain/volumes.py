"""The slices of one case: four volumes and a mask on the same voxels, scaled, cut across the axis of the body."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

from workbench.data import io
from workbench.data.anatomy.slices import pick
from workbench.data.brain.layouts import ENDING, MASK, NAMES, Entry
from workbench.data.brain.slices import MODALITIES, Options, Slice, fitted, place_in_square, squared
from workbench.data.io import Volume
from workbench.data.io.kind import hashed
from workbench.data.organs.volumes import turned
from workbench.errors import InvalidImage

NIFTI = (".nii", ".nii.gz")
AXIAL = 2  # the axis Z of RAS+ axes
PERCENTILE = 99.5  # of the non-zero voxels, shown white: a few bright vessels change nothing
VOXELS = 2**20  # at most so many are looked at for it
APART = 0.1  # of a voxel's shortest side, by which the corners of two volumes may miss each other


Case = tuple[list[Volume], Volume]  # the four modalities and the mask


def read(entry: Entry) -> Case:
    """The four modalities of a case in the order of MODALITIES, and its mask, on RAS+ axes.

    Raises:
        InvalidImage: a file that is no sound volume, negative or constant, volumes of different shape or place, or a
            mask with fractions.
    """
    volumes = [io.read_volume(entry.files[name]) for name in MODALITIES]
    for one in volumes[1:]:
        check_same(one, volumes[0])
    for one in volumes:
        check_values(one)
    mask = io.read_volume(entry.files[MASK])
    check_same(mask, volumes[0])
    if (mask.array < 0).any() or not np.array_equal(mask.array, mask.array.round()):
        found = f"values from {mask.array.min():g} to {mask.array.max():g}, or fractions"
        raise InvalidImage(mask.path.name, "whole label values from 0", found, "export the label map, not an image")
    return volumes, mask


def check_same(one: Volume, first: Volume) -> None:
    """Raises InvalidImage where a volume does not lie on the voxels of its case's first one."""
    shapes = [" x ".join(map(str, volume.array.shape)) for volume in (first, one)]
    if shapes[0] != shapes[1]:
        remedy = "register and resample all modalities of a case to one grid"
        raise InvalidImage(one.path.name, f"{shapes[0]} voxels (RAS), as {first.path.name}", shapes[1], remedy)
    corners = np.array([[*index, 1] for index in np.ndindex(2, 2, 2)]) * [*one.array.shape, 1]
    off = np.linalg.norm(corners @ (one.affine - first.affine).T, axis=1).max()
    if off > APART * first.spacing.min():
        found = f"corners up to {off:.3g} mm apart: another orientation, voxel size or origin"
        remedy = "register and resample all modalities of a case to one grid"
        raise InvalidImage(one.path.name, f"a volume in the place of {first.path.name}", found, remedy)


def check_values(one: Volume) -> None:
    low, high = float(one.array.min()), float(one.array.max())
    if low == high:
        raise InvalidImage(one.path.name, "grey values that differ", f"{low:g} everywhere", "export the image again")
    if low < 0:
        remedy = "give skull-stripped images whose background is 0 and whose tissue is above"
        raise InvalidImage(one.path.name, "grey values from 0", f"values down to {low:g}", remedy)


def usable(volumes: Sequence[Volume], least: int) -> np.ndarray:
    """The numbers of the axial slices of which every modality has more than `least` non-zero pixels."""
    counts = [np.count_nonzero(one.array, axis=(0, 1)) for one in volumes]
    return np.flatnonzero(np.min(counts, axis=0) > least)


def whites(volumes: Sequence[Volume]) -> list[float]:
    """The value of each modality that is shown white."""
    samples = [one.array.reshape(-1)[:: max(1, one.array.size // VOXELS)] for one in volumes]
    return [float(np.percentile(sample[sample > 0], PERCENTILE)) for sample in samples]


def slices_of(entry: Entry, case: Case, options: Options, share: tuple[float, float] = (0, 1)) -> list[Slice]:
    """Up to `options.slices` slices of a case, spread evenly over the usable ones, or over a `share` of them from feet
    (0) to head (1).

    Rows go from front to back, columns from the patient's right to the left. The brain is where all modalities are
    above 0, holes filled; the tumour is any label above 0. Each modality is divided by its own white, of the volume or
    of the slice, and cut at 1: no slice of another modality or case has a say in it.

    Raises:
        InvalidImage: no slice with more than `options.least` pixels.
    """
    volumes, _ = case
    numbers = usable(volumes, options.least)
    if not len(numbers):
        found = f"at most {max(np.count_nonzero(one.array, axis=(0, 1)).max() for one in volumes)}"
        expected = f"a slice with over {options.least} non-zero pixels in all modalities"
        raise InvalidImage(entry.name, expected, found, "choose a smaller least=, or leave the case out")
    first, end = (round(edge * len(numbers)) for edge in share)
    white = whites(volumes)
    return [cut(case, number, white, entry, options) for number in pick(numbers[first:end], options.slices)]


def cut(case: Case, number: int, white: Sequence[float], entry: Entry, options: Options) -> Slice:
    """One axial slice, scaled and fitted."""
    volumes, mask = case
    planes = np.stack([turned(one.array, AXIAL, number) for one in volumes])
    own = planes.max((1, 2)) if options.scale == "slice" else np.array(white)
    images = (planes / own[:, None, None]).clip(0, 1)
    brain = ndimage.binary_fill_holes((planes > 0).all(0))
    spacing = float(volumes[0].spacing[1]), float(volumes[0].spacing[0])
    tumour, name = turned(mask.array, AXIAL, number) > 0, hashed(entry.name)
    one = Slice(images, tumour, brain, spacing, f"{name}-{number:03d}", name)
    return fitted(one, options.size)


# ---------------------------------------------------------------- T2 alone


@dataclass(frozen=True)
class Unseen:
    """A T2 volume for a trained network: `squares` (N, 1, S, S) float32 in [0, 1] are its axial slices that are not
    empty, `numbers` which these are, and `place` the rows and columns of a square that a slice fills.
    """

    volume: Volume
    numbers: list[int]
    squares: np.ndarray
    place: tuple[slice, slice]

    def whole(self, slices: np.ndarray) -> np.ndarray:
        """What was made of the squares, (N, S, S), as an array on the volume's voxels, 0 in the empty slices."""
        shape = self.volume.array.shape
        inner = torch.from_numpy(np.ascontiguousarray(slices[:, *self.place]))[None]
        enlarged = F.interpolate(inner, shape[1::-1], mode="bilinear", antialias=True)[0].numpy()
        made = np.zeros(shape, np.float32)
        made[:, :, self.numbers] = enlarged[:, ::-1, ::-1].transpose(2, 1, 0)  # undoes `turned`
        return made


def t2_files(source: Path) -> list[Path]:
    """A NIfTI file, or those of a folder whose names say T2; all of them where no name does.

    Raises:
        InvalidImage: none.
    """
    if source.is_file():
        return [source]
    found = sorted(path for path in source.rglob("*") if path.is_file() and path.name.lower().endswith(NIFTI))
    named = [path for path in found if (match := ENDING.fullmatch(path.name)) and NAMES[match[1].lower()] == "t2"]
    if not found:
        raise InvalidImage(source.name or str(source), "T2 volumes (.nii, .nii.gz)", "none", "give their folder")
    return named or found


def unseen(path: Path, options: Options) -> Unseen:
    """A T2 volume scaled and fitted as those that a network was trained on.

    Raises:
        InvalidImage: no sound volume, negative or constant.
    """
    volume = io.read_volume(path)
    check_values(volume)
    numbers = [int(n) for n in np.flatnonzero(volume.array.any((0, 1)))]
    planes = np.stack([turned(volume.array, AXIAL, number) for number in numbers])
    whites_of = planes.max((1, 2)) if options.scale == "slice" else np.array(whites([volume]))
    place = place_in_square(np.array(planes.shape[1:]) * volume.spacing[1::-1], options.size)
    squares = squared((planes / whites_of[:, None, None]).clip(0, 1), place, options.size)
    return Unseen(volume, numbers, squares[:, None], place)
