"""Image stacks from TIFF and NIfTI files, and traces put onto their voxels."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from PIL.TiffImagePlugin import TiffImageFile

from workbench.data import io
from workbench.data.io.guard import guard
from workbench.data.io.nifti import free_memory
from workbench.data.io.swc import Tree, check_inside
from workbench.data.neuron.cases import Options
from workbench.errors import InvalidImage

PERCENTILES = (0.1, 99.99)  # of a stack's brightness, stored as 0 and 255: fibres are few and bright
NIFTI = (".nii", ".nii.gz")
GREY = ("L", "I;16", "I;16B", "I;16L", "I;16N")  # Pillow's names of 8- and 16-bit grey
IMAGE_COUNT, DESCRIPTION = re.compile(r"^images=(\d+)", re.MULTILINE), 270  # ImageJ's note in a TIFF tag


@dataclass(frozen=True, eq=False)
class Stack:
    """A stack (Z, Y, X) uint8 and the sides (3,) of its voxels along z, y, x.

    `units` (3,) are those of a trace along x, y, z as it is stored, `sides` the stored numbers of voxels; `order` and
    `flipped` (3,) tell the axis of the stack, counted from x, that each stored axis became, and whether it was turned.
    """

    array: np.ndarray
    spacing: np.ndarray
    units: np.ndarray
    sides: np.ndarray
    order: Sequence[int] = (0, 1, 2)
    flipped: Sequence[bool] = (False, False, False)

    def voxels(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) z, y, x in voxels of a trace's stored points (N, 3) x, y, z."""
        stored, found = points / self.units, np.empty(points.shape)
        for axis, (target, turned) in enumerate(zip(self.order, self.flipped)):
            found[:, target] = self.sides[axis] - 1 - stored[:, axis] if turned else stored[:, axis]
        return found[:, ::-1]


def read_stack(path: Path, options: Options) -> Stack:
    """The stack of a TIFF file of several grey pages, or of a NIfTI volume turned to RAS+ axes.

    Raises:
        InvalidImage: as the readers; colour, a single slice, pages of several sizes, 32-bit or float pages, an ImageJ
            stack with pages that only ImageJ finds, or one value everywhere.
    """
    nifti = path.name.lower().endswith(NIFTI)
    return from_nifti(path, options) if nifti else from_tiff(path, options)


def from_tiff(path: Path, options: Options) -> Stack:
    check_tiff(path)
    pages = io.read_pages(path)
    shapes = {page.shape for page in pages}
    if len(shapes) > 1 or any(page.ndim != 2 for page in pages):
        found = "colour pages" if any(page.ndim != 2 for page in pages) else "pages of several sizes"
        raise InvalidImage(path.name, "grey pages of one size", found, "export one channel as a grey stack")
    need, free = 3 * sum(page.nbytes for page in pages), free_memory()
    if need > free:
        found = f"about {need >> 20} MB, with {free >> 20} MB free"
        raise InvalidImage(path.name, "a stack that fits in memory", found, "crop it about the trace, or reduce it")
    sides = np.array(options.sides or (1.0, 1.0, 1.0))
    array = np.stack(pages)
    units = sides if options.coordinates == "physical" else np.ones(3)
    return Stack(stored(path, array), sides[::-1], units, np.array(array.shape[::-1]))


def check_tiff(path: Path) -> None:
    """Refuse what would be read page by page at different scales, or only in part."""
    with guard(path, "TIFF stack"), path.open("rb") as file:
        picture = TiffImageFile(file)
        mode, count = picture.mode, picture.n_frames
        noted = IMAGE_COUNT.search(str(picture.tag_v2.get(DESCRIPTION, "")))
    if mode not in GREY:
        raise InvalidImage(path.name, "8- or 16-bit grey pages", f"pages of mode {mode}", "convert it to 16-bit grey")
    if noted and int(noted[1]) != count:
        found, remedy = f"{count} pages and a note of {noted[1]} images", "save it again as a plain TIFF stack"
        raise InvalidImage(path.name, "a page for every slice", found, remedy)
    if count < 2:
        raise InvalidImage(path.name, "a stack of slices", "one page", "save all slices as pages of one TIFF")


def from_nifti(path: Path, options: Options) -> Stack:
    volume = io.read_volume(path)
    with guard(path, "NIfTI volume"):
        header = nibabel.load(path)
        ways = nibabel.io_orientation(header.affine)
        zooms, sides = np.array(header.header.get_zooms()[:3], float), np.array(header.shape[:3])
    if min(sides) < 2:
        raise InvalidImage(path.name, "a stack of slices", f"sides of {sides.tolist()} voxels", "give a volume")
    order, flipped = ways[:, 0].astype(int).tolist(), (ways[:, 1] < 0).tolist()
    own = np.array(options.sides or zooms)
    spacing = np.empty(3)
    spacing[order] = own
    units = own if options.coordinates == "physical" else np.ones(3)
    return Stack(stored(path, volume.array.transpose(2, 1, 0)), spacing[::-1], units, sides, order, flipped)


def stored(path: Path, array: np.ndarray) -> np.ndarray:
    """uint8 between two percentiles.

    Raises:
        InvalidImage: they are equal.
    """
    low, high = np.percentile(array, PERCENTILES)
    if not high > low:
        raise InvalidImage(path.name, "a stack with signal", "one value nearly everywhere", "check the export")
    return np.round((array - low).clip(0, high - low) * (255 / (high - low))).astype(np.uint8)


def placed(path: Path, tree: Tree, stack: Stack) -> np.ndarray:
    """The points (N, 3) x, y, z of a trace in finest voxels of its stack.

    Raises:
        InvalidImage: nodes outside the stack, with their lines.
    """
    voxels = stack.voxels(tree.points)
    check_inside(path, tree, voxels, stack.array.shape)
    return (voxels * stack.spacing / stack.spacing.min())[:, ::-1]


def cropped(array: np.ndarray, points: np.ndarray, ratio: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """The part of a stack within `margin` finest voxels of points (N, 3) x, y, z, and the shift (3,) of the points."""
    low = np.floor(((points.min(0) - margin)[::-1]) / ratio).astype(int).clip(0)
    high = np.ceil(((points.max(0) + margin)[::-1]) / ratio).astype(int) + 1
    part = array[tuple(slice(a, b) for a, b in zip(low, high))]
    return np.ascontiguousarray(part), -(low * ratio)[::-1]
