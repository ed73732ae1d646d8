"""One slice of a brain in four modalities, fitted into a square, and how slices become the splits of a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch.nn import functional as F

from workbench.config import Config, Count, Fraction, Natural, Side
from workbench.data import Cases, Data

MODALITIES = ("t2", "flair", "t1ce", "t1")  # the input and the three that are synthesised, in this order
SHOWN = ("image", "target", "label", "foreground", "spacing")
TUMOUR = "tumour"


@dataclass(frozen=True)
class Options(Config):
    source: Literal["phantom"] = "phantom"  # what to use where no root is given
    root: str = ""  # a folder of cases, each with FLAIR, T1, T1ce, T2 and a tumour mask: BraTS 2018 or plain names
    size: Side = 64  # side of the square slices, pixels (card: tiny preset); 128 at paper scale (official code)
    train: Count = 192  # slices that synthesis is learnt from (card: tiny preset has 96, with which it overfits)
    segmentation: Count = 32  # slices of other cases that segmentors learn from; above `train` unused (card: tiny)
    valid: Count = 16  # slices for choosing settings, of other cases (inferred)
    test: Count = 32  # slices to test on, of other cases (card: tiny preset)
    healthy: Fraction = 0.25  # share of the phantoms without a tumour (inferred)
    slices: Count = 8  # the most slices of one case; 155 takes all of BraTS (inferred)
    least: Natural = 2000  # non-zero pixels that each modality of a slice needs, as acquired (official code)
    scale: Literal["volume", "slice"] = "volume"  # white is 99.5 % of a case's brain, or each slice's maximum (code)
    missing: Literal["refuse", "skip"] = "refuse"  # what is done where a case lacks a modality or its mask
    split: Literal["case", "slab"] = "case"  # slab: for too few cases, only the test has cases of its own
    data_seed: Natural = 0  # which phantoms are drawn; how a folder is split


DEFAULT = Options()


@dataclass
class Slice:
    """Modalities (4, H, W) in [0, 1] in the order of MODALITIES, tumour and brain (H, W) bool, mm a pixel if known.

    `case` is its id, `group` that of the case it is cut from.
    """

    images: np.ndarray
    tumour: np.ndarray
    brain: np.ndarray
    spacing: tuple[float, float] | None
    case: str = ""
    group: str = ""


def place_in_square(extent: np.ndarray, size: int) -> tuple[slice, slice]:
    """Rows and columns of a square of `size` pixels that a slice of (height, width) in mm fills, in the middle."""
    sides = [max(1, round(side)) for side in size * extent / extent.max()]
    return tuple(slice((size - side) // 2, (size - side) // 2 + side) for side in sides)


def squared(planes: np.ndarray, place: tuple[slice, slice], size: int) -> np.ndarray:
    """(N, H, W) -> (N, size, size) float32, by the mean over each pixel's area, black around `place`."""
    sides = [side.stop - side.start for side in place]
    square = np.zeros((len(planes), size, size), np.float32)
    square[:, *place] = F.interpolate(torch.from_numpy(planes.astype(np.float32))[None], sides, mode="area")[0].numpy()
    return square


def fitted(one: Slice, size: int) -> Slice:
    """The slice on a square of `size` pixels, by the mean over each pixel's area; its longer side in mm fills it.

    What it does not fill is black and outside of the brain; masks are what is at least half covered.
    """
    extent = np.array(one.tumour.shape) * (one.spacing or 1.0)
    place = place_in_square(extent, size)
    square = squared(np.concatenate([one.images, one.tumour[None], one.brain[None]]), place, size)
    sides = [side.stop - side.start for side in place]
    spacing = tuple(float(mm / side) for mm, side in zip(extent, sides)) if one.spacing else None
    masks = square[-2:] >= 0.5
    return Slice(square[:-2].clip(0, 1), masks[0], masks[1], spacing, one.case, one.group)


def assembled(name: str, splits: Mapping[str, Sequence[Slice]], options: Options, **rest: Any) -> Data:
    """The data set of the splits train, segmentation, valid and test.

    Every training item also holds one of the segmentation slices, in a shuffled turn, so that one loop trains on both.
    """
    made = {split: cases(splits[split]) for split in ("train", "valid", "test")}
    pool = np.random.default_rng([options.data_seed, 4]).permutation(len(splits["segmentation"]))
    others = cases([splits["segmentation"][i] for i in np.resize(pool, len(splits["train"]))])
    made["train"].tensors.update({f"seg_{key}": others.tensors[key] for key in ("image", "target", "label")})
    unit = "mm" if all(one.spacing for chosen in splits.values() for one in chosen) else "px"
    spec = {"size": options.size}
    return Data(name, **made, spec=spec, shown=SHOWN, labels={TUMOUR: (1,)}, unit=unit, **rest)


def cases(slices: Sequence[Slice]) -> Cases:
    pixels = torch.from_numpy(np.stack([np.round(one.images * 255).astype(np.uint8) for one in slices]))
    masks = {"label": [one.tumour for one in slices], "foreground": [one.brain for one in slices]}
    tensors = {"image": pixels[:, :1].contiguous(), "target": pixels[:, 1:].contiguous()}
    tensors |= {key: torch.from_numpy(np.stack(stack)[:, None].astype(np.int16)) for key, stack in masks.items()}
    tensors["spacing"] = torch.tensor([one.spacing or (1.0, 1.0) for one in slices], dtype=torch.float32)
    kinds = [TUMOUR if one.tumour.any() else "healthy" for one in slices]
    table = {"case": [one.case for one in slices], "group": [one.group for one in slices], "background": kinds}
    return Cases(tensors, table)
