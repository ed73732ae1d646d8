"""One subject, the settings of the kind, the choice of the atlas, and how subjects become the cases of a split."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch

from workbench.config import Bound, Config, Count, Natural, Weight
from workbench.data import Cases

SHOWN = ("image", "label", "spacing")
FACTOR = 8  # every side is a multiple: networks halve it up to three times


@dataclass(frozen=True)
class Options(Config):
    source: Literal["phantom"] = "phantom"  # what to use where no root is given
    root: str = ""  # a folder: images/ + labels/ of NIfTI volumes, Neurite-OASIS or CANDI
    dims: Literal[2, 3] = 2  # slices or volumes
    size: Annotated[int, Bound(0, step=16)] = 0  # side, voxels; 0: 64 in 2-D, 32 in 3-D; of folders the longest side
    train: Count = 20  # unlabelled subjects to train on, the atlas not counted (card: tiny preset)
    valid: Count = 4  # labelled subjects for choosing settings (card: tiny preset)
    test: Count = 8  # labelled subjects to test on (card: tiny preset)
    atlas: str | int = ""  # folders: its name or case id; else the training subject nearest to the mean image (card)
    structures: str = ""  # folders: left,right names values 1, 2; thalamus:10+49,background:24 merges and drops
    parcels: Natural = 0  # Neurite-OASIS: 35 or 4 labels in volumes, 24 or 4 in slices; 0 is the finest there is
    grid: str = ""  # folders: common sides, 40x56x40, multiples of 8; else the smallest that hold every volume
    spacing: Weight = 0.0  # folders: mm a voxel that all are resampled to; 0 keeps each file's own
    center: Literal["array", "foreground"] = "array"  # folders: what is put in the middle of the grid
    plane: Literal["axial", "coronal", "sagittal"] = "axial"  # folders of volumes with dims=2: whose middle slice
    data_seed: Natural = 0  # which phantoms are drawn; how a folder is split

    @property
    def side(self) -> int:
        return self.size or {2: 64, 3: 32}[self.dims]


DEFAULTS = Options()


@dataclass
class Subject:
    """One image (*S) uint8, its structures (*S) int16 or none, mm a voxel (D,), an id, and whose it is.

    `map` (D, *S), of phantoms alone, is the map in voxels from the subject to the template they all come from; `cut`
    counts the voxels of its structures that lie outside the grid.
    """

    image: np.ndarray
    label: np.ndarray | None
    spacing: np.ndarray
    case: str
    group: str
    map: np.ndarray | None = None
    cut: int = 0


def scaled(array: np.ndarray) -> np.ndarray:
    """uint8: 0 for the 0.5th percentile and below, 255 for the 99.5th of what lies above the minimum.

    The many voxels at the minimum are the background of a stripped brain and say nothing of its brightness; a few
    voxels of bright vessel change nothing. One value everywhere gives zeros.
    """
    above = array[array > array.min()]
    if not above.size:
        return np.zeros(array.shape, np.uint8)
    low, high = np.percentile(array, 0.5), np.percentile(above, 99.5)
    high = high if high > low else above.max()
    return np.round(np.clip((array - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def nearest_to_mean(subjects: Sequence[Subject], among: Sequence[int]) -> int:
    """Which of `among` has the least squared distance to the mean image of all the subjects."""
    mean = np.zeros(subjects[0].image.shape)
    for one in subjects:
        mean += one.image / len(subjects)
    return min(among, key=lambda number: float(((subjects[number].image - mean) ** 2).sum()))


def cases(subjects: Sequence[Subject], atlas: Subject, flows: Sequence[np.ndarray] = ()) -> Cases:
    """The tensors of one split; the atlas is expanded to all items, not copied."""
    count, sides = len(subjects), atlas.image.shape
    labels = [np.full(sides, -1, np.int16) if one.label is None else one.label for one in subjects]
    tensors = {
        "image": torch.from_numpy(np.stack([one.image for one in subjects])[:, None]),
        "label": torch.from_numpy(np.stack(labels)[:, None]),
        "atlas": torch.from_numpy(atlas.image)[None, None].expand(count, 1, *sides),
        "atlas_label": torch.from_numpy(atlas.label)[None, None].expand(count, 1, *sides),
        "spacing": torch.from_numpy(np.stack([one.spacing for one in subjects]).astype(np.float32)),
    }
    if len(flows):
        tensors["flow"] = torch.from_numpy(np.stack(flows).astype(np.float32))
    table = {"case": [one.case for one in subjects], "group": [one.group for one in subjects]}
    return Cases(tensors, table)
