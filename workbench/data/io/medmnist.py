"""MedMNIST's .npz files: images, labels and three splits in one."""

import os
from pathlib import Path

import numpy as np

from workbench.data.io.guard import guard
from workbench.errors import InvalidImage

SPLITS = {"train": "train", "valid": "val", "test": "test"}  # ours -> theirs


def read_medmnist(path: str | os.PathLike, *, sides: int = 2) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The splits train, valid and test: images (N, *S) or (N, *S, 3) uint8, and labels (N, L) int64.

    L is 1 where the label is the number of a class, else the number of findings, each 0 or 1.

    Args:
        path: The file.
        sides: Of an image: 2, or 3 for volumes.

    Raises:
        InvalidImage: no such file, arrays missing, other sides, labels that are NaN, no whole numbers or negative, or
            images and labels of different number.
    """
    path = Path(path)
    with guard(path, "MedMNIST .npz file"), np.load(path, allow_pickle=False) as packed:
        names = [f"{theirs}_{part}" for theirs in SPLITS.values() for part in ("images", "labels")]
        if missing := [name for name in names if name not in packed]:
            found = ", ".join(packed.files[:10]) or "none"
            remedy = "download the file anew"
            raise InvalidImage(path.name, f"the arrays {', '.join(missing)}", found, remedy)
        found = {name: packed[name] for name in names}
    made = {}
    for ours, theirs in SPLITS.items():
        images, labels = found[f"{theirs}_images"], found[f"{theirs}_labels"]
        check_images(path.name, images, sides)
        made[ours] = images, checked_labels(path.name, labels, len(images))
    return made


def check_images(name: str, images: np.ndarray, sides: int) -> None:
    """Raises InvalidImage for images that are no bytes or have another number of sides."""
    shape = images.shape[1:-1] if images.ndim > 1 and images.shape[-1] == 3 else images.shape[1:]
    if images.dtype != np.uint8 or len(shape) != sides or 0 in images.shape:
        kind = "volumes" if sides == 3 else "images"
        remedy = "choose a 3D set" if sides == 3 else "choose a 2D set"
        raise InvalidImage(name, f"{kind} of {sides} sides, uint8", f"{images.dtype} {images.shape}", remedy)


def checked_labels(name: str, labels: np.ndarray, count: int) -> np.ndarray:
    """The labels (N, L) as whole numbers.

    Raises:
        InvalidImage: see `read_medmnist`.
    """
    labels = labels.reshape(len(labels), -1) if labels.ndim else labels.reshape(0, 1)
    if len(labels) != count or not labels.size:
        raise InvalidImage(name, f"{count} labels", str(len(labels)), "download the file anew")
    if labels.dtype.kind not in "uifb":
        raise InvalidImage(name, "numbers as labels", str(labels.dtype), "download the file anew")
    values = labels.astype(float)
    wrong = ~np.isfinite(values) | (values < 0) | (values != np.round(values))
    if wrong.any():
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        found = f"{int(wrong.sum())} others, the first {values[first]:g} in row {first[0]}"
        raise InvalidImage(name, "whole numbers from 0 as labels", found, "correct the labels")
    return values.astype(np.int64)
