"""A scan cut into its two halves, the right one mirrored, and how halves become the cases of a split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from workbench.config import Config, Count, Natural, Side
from workbench.data import Cases, Data
from workbench.errors import InvalidParameter

Point = tuple[float, float]  # (x, y) in pixels, of the centre of the first one
SIDES = ("left", "right")
LEAST = 32  # side of a half, pixels: networks halve it four times, and one pixel has no neighbours
SHOWN = ("image", "spur", "known", "closed", "scale", "mirrored")


@dataclass(frozen=True)
class Options(Config):
    source: Literal["phantom"] = "phantom"  # what to use where no root is given
    root: str = ""  # a folder of the AGE challenge: ASOCT_Image/ beside *_Location.xlsx or .csv
    size: Side = 96  # side of the square halves, pixels (card: tiny preset); 256 to 512 at paper scale
    train: Count = 96  # halves to train on (card: tiny preset)
    valid: Count = 48  # halves for choosing settings and the threshold, of other patients (inferred)
    test: Count = 100  # halves to test on, of other patients (card: the claim as an experiment)
    data_seed: Natural = 0  # which phantoms are drawn; how the patients of a folder are dealt

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < LEAST:
            raise InvalidParameter("size", f"at least {LEAST} pixels", str(self.size), "an angle is not seen in less")


DEFAULT = Options()


@dataclass
class Scan:
    """A scan (H, W) in [0, 1] with the spur and the angle of its left and right side.

    `spurs` are in pixels of the scan, None where the spur cannot be determined; `closed` is true for a closed angle.
    """

    image: np.ndarray
    spurs: tuple[Point | None, Point | None]
    closed: tuple[bool, bool]
    case: str
    group: str


@dataclass
class Half:
    """One side of a scan as a network sees it: (size, size) uint8, the angle on the left.

    `spur` is in source pixels of the half, mirrored where the half is; `scale` is their number in a pixel of `image`.
    """

    image: np.ndarray
    spur: Point | None
    closed: bool
    side: str
    scale: float
    case: str
    group: str


def mirrored(x: float, width: int) -> float:
    """The column that lies as far from the right edge as `x` from the left one: W - 1 - x; twice is x.

    >>> mirrored(0, 998), mirrored(mirrored(12.25, 998), 998)
    (997, 12.25)
    """
    return width - 1 - x


def sides(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The outer squares of a scan (H, W): (H, H) of its left and, mirrored, of its right side."""
    height = len(image)
    return image[:, :height], image[:, ::-1][:, :height]


def to_half(point: Point | None, side: str, width: int) -> Point | None:
    """A point of a scan in its half. The same again undoes it: both count from the outer edge."""
    return point if point is None or side == "left" else (mirrored(point[0], width), point[1])


def cut(scan: Scan, size: int) -> list[Half]:
    """The left and the right half of a scan, scaled to `size` pixels."""
    height, width = scan.image.shape
    return [
        Half(
            resized(part, size), to_half(spur, side, width), closed, side, height / size,
            f"{scan.case}-{side}", scan.group,
        )
        for part, spur, closed, side in zip(sides(scan.image), scan.spurs, scan.closed, SIDES, strict=True)
    ]  # fmt: skip


def resized(image: np.ndarray, size: int) -> np.ndarray:
    """(H, H) in [0, 1] -> (size, size) uint8, bilinear without aliasing; the areas coincide, not the outer centres."""
    planes = torch.from_numpy(np.ascontiguousarray(image, np.float32))[None, None]
    small = torch.nn.functional.interpolate(planes, (size, size), mode="bilinear", antialias=True)[0, 0]
    return np.round(255 * small.clamp(0, 1).numpy()).astype(np.uint8)


def assembled(name: str, splits: Mapping[str, Sequence[Half]], options: Options, **rest: Any) -> Data:
    """The data set of these halves, with shuffled labels for training as a control."""
    made = {split: cases(chosen) for split, chosen in splits.items()}
    closed = made["train"].tensors["closed"].numpy()
    anew = redealt(closed, np.random.default_rng([options.data_seed, 7]))
    made["train"].tensors["shuffled"] = torch.from_numpy(anew)
    angles = {"open": (0,), "closed": (1,)}
    return Data(name, **made, spec={"size": options.size}, shown=SHOWN, labels=angles, truth="closed", **rest)


def redealt(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels (N,) 0 or 1 dealt anew: as many of each, and those of 1 in the same share to both classes.

    A plain permutation of few labels keeps by chance some of what they tell, or turns it round.
    """
    anew = np.zeros_like(labels)
    yes, no = (rng.permutation(np.flatnonzero(labels == value)) for value in (1, 0))
    count = round(len(yes) ** 2 / len(labels))
    anew[np.concatenate([yes[:count], no[: len(yes) - count]])] = 1
    return anew


def cases(chosen: Sequence[Half]) -> Cases:
    spurs = [(-1.0, -1.0) if half.spur is None else half.spur for half in chosen]
    numbers = {
        "known": [half.spur is not None for half in chosen],
        "closed": [half.closed for half in chosen],
        "mirrored": [half.side == "right" for half in chosen],
        "scale": [half.scale for half in chosen],
    }
    tensors = {"image": torch.from_numpy(np.stack([half.image for half in chosen])[:, None])}
    tensors["spur"] = torch.tensor(spurs, dtype=torch.float32)
    tensors |= {key: torch.tensor(values, dtype=torch.float32) for key, values in numbers.items()}
    return Cases(tensors, {key: [getattr(half, key) for half in chosen] for key in ("case", "group", "side")})
