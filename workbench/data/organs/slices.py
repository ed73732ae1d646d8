"""One grey slice with its mask, fitted into a square, and how slices become the cases of a split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from workbench.config import Config, Count, Fraction, Natural, Side
from workbench.data import Cases, Data
from workbench.data.anatomy.slices import border
from workbench.errors import InvalidParameter

Axis = Literal["acquired", "axial", "coronal", "sagittal"]
SHOWN = ("image", "label", "spacing")


def numbers(name: str, text: str, kind: type) -> tuple[Any, ...]:
    """The numbers of a list.

    >>> numbers("foreground", "1, 2", int)
    (1, 2)
    """
    try:
        return tuple(kind(part) for part in text.split(",") if text)
    except ValueError:
        expected = "whole numbers" if kind is int else "numbers"
        raise InvalidParameter(name, f"{expected} with commas between", repr(text), f"give {name}=1,2") from None


@dataclass(frozen=True)
class Options(Config):
    source: Literal["phantom"] = "phantom"  # what to use where no root is given
    root: str = ""  # a folder of your own: images/ with masks/ or labels/, KiTS19 or ACDC
    size: Side = 96  # side of the square images, pixels (card: tiny preset)
    train: Count = 24  # images or slices to train on (card: tiny preset)
    valid: Count = 4  # images or slices for choosing settings, of other patients (inferred)
    test: Count = 16  # images or slices to test on, of other patients (inferred: enough for an interval)
    organ: str = "organ"  # one word for the foreground in tables and pictures
    foreground: str = ""  # label values that are the organ, such as 2 or 1,2; empty: all above 0
    axis: Axis = "acquired"  # how volumes are cut; acquired: across the longest side of a voxel, else axial
    slices: Count = 8  # the most slices of one volume
    empty: Fraction = 0.1  # chance that a slice of a volume is one without the organ
    window: str = ""  # stored values (CT: HU) shown black and white, such as -80,300; empty: see load
    data_seed: Natural = 0  # which phantoms are drawn; how a folder is split, which slices are taken

    def __post_init__(self) -> None:
        for name in ("foreground", "window"):  # a command line makes a number of 2 and a tuple of 1,2
            value = getattr(self, name)
            if isinstance(value, int | float | tuple | list) and not isinstance(value, bool):
                object.__setattr__(self, name, ",".join(map(str, np.atleast_1d(value).tolist())))
        super().__post_init__()
        if not self.organ.isidentifier():
            raise InvalidParameter("organ", "one word of letters, digits and _", repr(self.organ), "give organ=tumour")
        if min(self.values, default=1) < 1:
            raise InvalidParameter("foreground", "label values above 0", repr(self.foreground), "give foreground=1,2")
        if self.window and not (len(self.limits) == 2 and self.limits[0] < self.limits[1]):
            raise InvalidParameter("window", "two growing numbers", repr(self.window), "give window=-80,300")

    @property
    def values(self) -> tuple[int, ...]:
        """The label values that are the organ; none where it is all above 0."""
        return numbers("foreground", self.foreground, int)

    @property
    def limits(self) -> tuple[float, ...]:
        """The values shown black and white; none where the volume decides."""
        return numbers("window", self.window, float)


DEFAULT = Options()


@dataclass
class Slice:
    """A grey image (H, W) in [0, 1], its mask (H, W) bool, mm a pixel along H and W if known, its id and its group."""

    image: np.ndarray
    mask: np.ndarray
    spacing: tuple[float, float] | None
    case: str = ""
    group: str = ""


def fitted(one: Slice, size: int) -> Slice:
    """The slice on a square of `size` pixels: its longer side in mm fills it, pixels become as wide as high.

    What it does not fill continues the border's grey and is background; the mask is what is more than half covered.
    """
    extent = np.array(one.image.shape) * (one.spacing or 1.0)
    height, width = (max(1, round(side)) for side in size * extent / extent.max())
    planes = torch.from_numpy(np.stack([one.image, one.mask]).astype(np.float32))[None]
    small = torch.nn.functional.interpolate(planes, (height, width), mode="bilinear", antialias=True)[0].numpy()
    top, left = (size - height) // 2, (size - width) // 2
    window = np.s_[top : top + height, left : left + width]
    image, mask = np.full((size, size), border(small[0]), np.float32), np.zeros((size, size), bool)
    image[window], mask[window] = small[0].clip(0, 1), small[1] > 0.5
    spacing = (float(extent[0] / height), float(extent[1] / width)) if one.spacing else None
    return Slice(image, mask, spacing, one.case, one.group)


def assembled(name: str, splits: Mapping[str, Sequence[Slice]], options: Options, **rest: Any) -> Data:
    """The data set of these slices."""
    spec = {"size": options.size, "classes": options.organ, "channels": 1}
    made = {split: cases(chosen) for split, chosen in splits.items()}
    unit = "mm" if all(one.spacing for chosen in splits.values() for one in chosen) else "px"
    return Data(name, **made, spec=spec, shown=SHOWN, labels={options.organ: (1,)}, unit=unit, **rest)


def cases(slices: Sequence[Slice]) -> Cases:
    images = np.stack([np.round(one.image * 255).astype(np.uint8) for one in slices])[:, None]
    labels = np.stack([one.mask.astype(np.int16) for one in slices])[:, None]
    spacing = torch.tensor([one.spacing or (1.0, 1.0) for one in slices], dtype=torch.float32)
    tensors = {"image": torch.from_numpy(images), "label": torch.from_numpy(labels), "spacing": spacing}
    return Cases(tensors, {"case": [one.case for one in slices], "group": [one.group for one in slices]})
