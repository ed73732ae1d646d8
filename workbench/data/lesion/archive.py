"""One .npz file of MedMNIST: images and class numbers of three splits that are made already."""

import zipfile
from pathlib import Path

import numpy as np

from workbench.data import Data
from workbench.data.io.guard import guard
from workbench.data.io.nifti import free_memory
from workbench.data.lesion.cases import Image, Options, assembled, by_class, interleaved, squared
from workbench.data.lesion.tables import listed
from workbench.errors import InvalidImage

PARTS = {"train": "train", "valid": "val", "test": "test"}  # our splits -> those of the file


def find(root: Path) -> Path | None:
    """The .npz file that a path is, or the only one in a folder; None where there is none."""
    if root.suffix == ".npz" and root.is_file():
        return root
    packed = sorted(root.glob("*.npz")) if root.is_dir() else []
    if len(packed) > 1:
        found = ", ".join(path.name for path in packed[:20])
        raise InvalidImage(root.name or str(root), "one .npz file", f"{len(packed)}: {found}", "give that file as root")
    return packed[0] if packed else None


def load(path: Path, options: Options) -> Data:
    """The set of a file with arrays `train_images` (N, H, W) or (N, H, W, 3) uint8 and `train_labels` (N, 1), and the
    same of `val` and `test`. The file's own splits are kept; whether they part lesions, it does not tell. Grey images
    are repeated to RGB; classes are called by their numbers.

    Raises:
        InvalidImage: a damaged file, arrays missing or of other shapes, labels that are no class numbers, one class.
    """
    splits = {name: read(path, part) for name, part in PARTS.items()}
    numbers = sorted({int(value) for _, labels in splits.values() for value in labels})
    if len(numbers) < 2:
        raise InvalidImage(path.name, "two classes or more", f"{len(numbers)}", "choose another set")
    made = {}
    for name, (images, labels) in splits.items():
        places = interleaved(by_class(range(len(labels)), lambda i, labels=labels: int(labels[i])))
        made[name] = [
            Image(squared(colored(images[i]), options.size), str(labels[i]), f"{name}-{i:06d}", f"{name}-{i:06d}")
            for i in places[: getattr(options, name)]
        ]
    return assembled(path.stem, made, [str(number) for number in numbers])


def colored(image: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8 as (H, W, 3) in [0, 1]."""
    image = image.astype(np.float32) / 255
    return np.repeat(image[..., None], 3, -1) if image.ndim == 2 else image


def read(path: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """The images of one part and their class numbers (N,)."""
    names = (f"{part}_images", f"{part}_labels")
    with guard(path, ".npz file"):
        with zipfile.ZipFile(path) as packed:
            size = sum(entry.file_size for entry in packed.infolist())
        if size > free_memory():
            found = f"{size >> 20} MB with {free_memory() >> 20} MB free"
            raise InvalidImage(path.name, "arrays that fit in memory", found, "choose the set in smaller images")
        with np.load(path, allow_pickle=False) as file:
            if missing := [name for name in names if name not in file.files]:
                found = f"no {', '.join(missing)} among {', '.join(file.files[:12])}"
                raise InvalidImage(path.name, "MedMNIST's arrays", found, "give a file of MedMNIST")
            images, labels = (file[name] for name in names)
    plain = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
    if images.dtype != np.uint8 or not plain or not len(images):
        found = f"{part}_images {images.shape} of {images.dtype}"
        raise InvalidImage(path.name, "images (N, H, W) or (N, H, W, 3) of uint8", found, "choose a set in 2-D")
    if len(labels) != len(images) or labels.size != len(images):
        found = f"{part}_labels {labels.shape} for {len(images)} images"
        raise InvalidImage(path.name, "one class number an image", found, "choose a set with one class an image")
    flat = labels.reshape(-1).astype(float)
    if wrong := [
        f"{value:g} of image {i}" for i, value in enumerate(flat) if not (0 <= value < np.inf and value % 1 == 0)
    ]:
        raise InvalidImage(path.name, "class numbers 0, 1, ...", f"others in {listed(wrong)}", "choose another set")
    return images, flat.astype(int)
