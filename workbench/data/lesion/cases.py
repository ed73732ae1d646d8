"""What an image of a lesion is, how many of each class there are, and how images become the cases of a split."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from workbench.config import Config, Count, Natural, Positive, Side
from workbench.data import Cases, Data

PAIRS = ("tan", "brown", "red", "slate")  # of phantom classes: what is alike, told apart by colour and shape
CLASSES = tuple(f"{pair}-{border}" for pair in PAIRS for border in ("smooth", "jagged"))
ALIKE = 0.5  # known similarity within a pair; 1 is a class with itself, 0 is across pairs. Only the order counts
SIMILARITY = tuple(
    tuple(1.0 if i == j else ALIKE * (i // 2 == j // 2) for j in range(len(CLASSES))) for i in range(len(CLASSES))
)
SHOWN = ("image", "class")
COMMON = (0, 2, 4, 6, 1, 3, 5, 7)  # phantom classes from common to rare: every pair has a common and a rarer one

Item = TypeVar("Item")


@dataclass(frozen=True)
class Options(Config):
    source: Literal["phantom"] = "phantom"  # what to use where no root is given
    root: str = ""  # ISIC 2018, HAM10000, a table image,label[,lesion_id], a folder for each class, or MedMNIST's .npz
    size: Side = 48  # side of the square images, pixels (card: tiny preset); 256 at paper scale (inferred)
    train: Count = 600  # images to train on (card: tiny preset)
    valid: Count = 200  # images for choosing settings, of other lesions (inferred)
    test: Count = 400  # images to test on, of other lesions (card: tiny preset; 1200 in its experiment)
    imbalance: Positive = 10.0  # training images of the most common phantom class over those of the rarest (card)
    data_seed: Natural = 0  # which phantoms are drawn; how the lesions of a folder are dealt


@dataclass
class Image:
    """An image (size, size, 3) uint8, the name of its class, an id, and the lesion that it shows."""

    pixels: np.ndarray
    label: str
    case: str
    group: str


def shares(count: int, classes: int, imbalance: float = 1.0) -> list[int]:
    """How many of `count` images each class gets, falling geometrically from the first to the last by `imbalance`.

    Every class gets one where there are enough.

    >>> shares(600, 8, 10.0), shares(3, 8)
    ([181, 131, 94, 67, 49, 35, 25, 18], [1, 1, 1, 0, 0, 0, 0, 0])
    """
    if count <= classes:
        return [int(i < count) for i in range(classes)]
    weights = imbalance ** (-np.arange(classes) / max(classes - 1, 1))
    sizes = np.diff(np.round(np.cumsum(weights) / weights.sum() * count).astype(int), prepend=0)
    while sizes.min() < 1:
        sizes[sizes.argmax()] -= 1
        sizes[sizes.argmin()] += 1
    return sizes.tolist()


def interleaved(items: Mapping[str, Sequence[Item]]) -> list[Item]:
    """The items of all classes, so spread that every class has about its share of any first part."""
    placed = [
        ((rank + 0.5) / len(found), number, item)
        for number, found in enumerate(items.values())
        for rank, item in enumerate(found)
    ]
    return [item for _, _, item in sorted(placed, key=lambda entry: entry[:2])]


def by_class(items: Sequence[Item], label: Any = lambda item: item.label) -> dict[str, list[Item]]:
    """The items of each class in the order that they have, classes in the order of their names."""
    found = defaultdict(list)
    for item in items:
        found[label(item)].append(item)
    return dict(sorted(found.items()))


def assembled(
    name: str,
    splits: Mapping[str, Sequence[Image]],
    classes: Sequence[str],
    similarity: Sequence[Sequence[float]] = (),
    aside: list[tuple[str, str]] | None = None,
) -> Data:
    """The data set of these images; `similarity` (K, K) of the classes, empty where it is not known."""
    made = {split: cases(images, classes) for split, images in splits.items()}
    spec = {"channels": 3, "classes": ",".join(classes), "similarity": tuple(map(tuple, similarity))}
    spec["size"] = made["train"].tensors["image"].shape[-1]
    labels = {name: (number,) for number, name in enumerate(classes)}
    return Data(name, **made, spec=spec, shown=SHOWN, labels=labels, aside=aside or [], truth="class")


def cases(images: Sequence[Image], classes: Sequence[str]) -> Cases:
    pixels = np.stack([image.pixels for image in images]).transpose(0, 3, 1, 2)
    tensors = {
        "image": torch.from_numpy(pixels.copy()),
        "class": torch.tensor([classes.index(image.label) for image in images]),
    }
    columns = {"case": "case", "group": "group", "diagnosis": "label"}
    return Cases(tensors, {key: [getattr(image, part) for image in images] for key, part in columns.items()})


def squared(image: np.ndarray, size: int) -> np.ndarray:
    """The middle square of an image (H, W, 3) in [0, 1] as (size, size, 3) uint8, bilinear without aliasing."""
    side = min(image.shape[:2])
    top, left = ((full - side) // 2 for full in image.shape[:2])
    middle = np.ascontiguousarray(image[top : top + side, left : left + side], np.float32)
    planes = torch.from_numpy(middle).permute(2, 0, 1)[None]
    small = torch.nn.functional.interpolate(planes, (size, size), mode="bilinear", antialias=True)[0]
    return np.round(255 * small.clamp(0, 1).permute(1, 2, 0).numpy()).astype(np.uint8)
