"""Images of one's own: found by their table, by the folder of their class, or in one file of MedMNIST."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from workbench.data import Data, io
from workbench.data.anatomy.folders import natural
from workbench.data.io.kind import hashed, stem
from workbench.data.io.nifti import free_memory
from workbench.data.lesion import archive
from workbench.data.lesion.cases import Image, Options, assembled, by_class, interleaved, squared
from workbench.data.lesion.tables import listed, read_rows
from workbench.errors import InvalidImage

SPLITS = ("train", "valid", "test")
BESIDE = ("masks", "mask", "segmentations")  # folders that hold no photographs
PIXEL_BYTES = 6  # of a pixel in memory while a data set is put together
DEFAULT = Options()

Aside = list[tuple[str, str]]


@dataclass(frozen=True)
class Entry:
    """One file, its class, and the lesion that it shows: itself where nothing says."""

    path: Path
    label: str
    lesion: str


@dataclass
class Reading:
    """The images of each split with their entries, and what was set aside with reasons."""

    splits: dict[str, list[tuple[Entry, Image]]] = field(default_factory=dict)
    aside: Aside = field(default_factory=list)


def load(root: str | Path, options: Options = DEFAULT) -> Data:
    """Dermatoscopy in one of these layouts, the middle square of every image scaled to `size`:

    - ISIC 2018 Task 3: `*_Input/` with `*_GroundTruth.csv`, and `*_LesionGroupings.csv` for what images show the same
    - HAM10000: folders of images with `HAM10000_metadata`, columns `lesion_id`, `image_id`, `dx`
    - a table with columns `image` and `label`, and `lesion_id` where it is known, beside the images
    - a folder for each class, named as it
    - one .npz file of MedMNIST in 2-D, or a folder with one: its own splits are kept

    The lesions of every class are dealt to the splits in proportion to the counts asked for, so that no lesion is in
    two. Without lesions told, every image counts as one: then two of the same lesion may come apart. Images that
    cannot be read or have no row are set aside.

    Raises:
        InvalidImage: none of these, tables that cannot be (see tables.read_rows), rows without image (named), one
            class only, a class with fewer than three lesions, or more images than fit in memory.
    """
    root = Path(root)
    check_memory(options)
    if packed := archive.find(root):
        return archive.load(packed, options)
    reading = read(root, options)
    splits = {name: [image for _, image in found] for name, found in reading.splits.items()}
    classes = sorted({image.label for images in splits.values() for image in images})
    return assembled(root.name, splits, classes, aside=reading.aside)


def check_memory(options: Options) -> None:
    """Raises InvalidImage where the images asked for cannot fit."""
    count = options.train + options.valid + options.test
    need, free = count * options.size**2 * PIXEL_BYTES, free_memory()
    if need > free:
        found = f"{count} of {options.size} x {options.size} pixels with {free >> 20} MB free"
        raise InvalidImage("the folder", "images that fit in memory", found, "choose a smaller size=, train= or test=")


def read(root: Path, options: Options) -> Reading:
    found, aside = entries(root)
    reading = Reading(aside=aside)
    for name, chosen in deal(found, options).items():
        made: list[tuple[Entry, Image]] = []
        for entry in chosen:
            if len(made) == getattr(options, name):
                break
            try:
                pixels = squared(read_color(entry.path), options.size)
            except InvalidImage as error:
                reason = f"expected {error.expected}, found {error.found}; {error.remedy}"
                reading.aside.append((entry.path.name, reason))
                continue
            case = hashed(entry.path.relative_to(root).as_posix())
            made.append((entry, Image(pixels, entry.label, case, hashed(entry.lesion))))
        if not made:
            raise InvalidImage(f"the images for {name}", "one that can be read", "none", "mend the files")
        reading.splits[name] = made
    return reading


def read_color(path: Path) -> np.ndarray:
    """An image (H, W, 3) in [0, 1]; grey is repeated."""
    image = io.read_image(path)
    return np.repeat(image[..., None], 3, -1) if image.ndim == 2 else image


def unseen(path: Path, size: int) -> Tensor:
    """One image of which nothing is known, (3, size, size) in [0, 1], cut and scaled as in training.

    Raises:
        InvalidImage: one that cannot be read.
    """
    return torch.from_numpy(squared(read_color(path), size)).permute(2, 0, 1).float() / 255


# ---------------------------------------------------------------- layout


def entries(root: Path) -> tuple[list[Entry], Aside]:
    """The images with their classes in natural order, and those without a row.

    Raises:
        InvalidImage: see `load`.
    """
    paths = photographs(root)
    told = read_rows(root)
    if told is None:
        found, aside = by_folder(root, paths)
    else:
        found, aside = by_table(root, paths, *told)
    check_classes(root, found)
    return found, aside


def photographs(root: Path) -> list[Path]:
    """Every image below a folder, or a file itself, in natural order; folders of masks are left out."""
    return sorted((path for path in io.list_images(root) if not of_masks(path, root)), key=natural)


def of_masks(path: Path, root: Path) -> bool:
    return any(part.lower() in BESIDE for part in path.relative_to(root).parts[:-1])


def by_folder(root: Path, paths: list[Path]) -> tuple[list[Entry], Aside]:
    aside = [
        (path.name, "expected a folder of its class, found none; put it in one")
        for path in paths
        if path.parent == root
    ]
    parts = [(path, path.relative_to(root).parts) for path in paths if path.parent != root]
    return [Entry(path, names[0], "/".join(names)) for path, names in parts], aside


def by_table(root: Path, paths: list[Path], rows: Sequence, table: str) -> tuple[list[Entry], Aside]:
    """Every row with its image, by the image's name without folder and extension."""
    files: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        files[stem(path)].append(path)
    named = {row.name: row for row in rows}
    if double := [name for name in named if len(files.get(name, ())) > 1]:
        raise InvalidImage(root.name, "one file for each name", f"several for {listed(double)}", "keep one of each")
    if lacking := [name for name in named if name not in files]:
        raise InvalidImage(
            table, "an image for every row", f"none for {listed(lacking)}", "add them or delete the rows"
        )
    aside = [
        (path.name, f"expected a row in {table}, found none; add one or remove the file")
        for path in paths
        if stem(path) not in named
    ]
    chosen = [(path, named[stem(path)]) for path in paths if stem(path) in named]
    return [Entry(path, row.label, row.lesion or f"image {row.name}") for path, row in chosen], aside


def check_classes(root: Path, found: list[Entry]) -> None:
    """Raises InvalidImage where there is one class only, or one that cannot be in all splits."""
    lesions = Counter(label for label, _ in {(entry.label, entry.lesion) for entry in found})
    where = root.name or str(root)
    if len(lesions) < 2:
        given = f"{next(iter(lesions), 'none')} alone in {len(found)} images"
        raise InvalidImage(where, "two classes or more", given, "give a table image,label or a folder for each class")
    if few := [f"{label} ({count})" for label, count in sorted(lesions.items()) if count < len(SPLITS)]:
        remedy = "leave them out, or join them with others"
        raise InvalidImage(where, "three lesions or more of each class, one a split", f"fewer in {listed(few)}", remedy)


def deal(found: list[Entry], options: Options) -> dict[str, list[Entry]]:
    """The entries of each split: whole lesions, class by class in proportion to the counts, in an order that keeps
    the classes' shares in any first part."""
    wanted = np.array([getattr(options, name) for name in SPLITS], float)
    rng = np.random.default_rng(options.data_seed)
    dealt: dict[str, dict[str, list[Entry]]] = {name: {} for name in SPLITS}
    for label, own in by_class(found).items():
        lesions: dict[str, list[Entry]] = defaultdict(list)
        for entry in own:
            lesions[entry.lesion].append(entry)
        names = sorted(lesions)
        order = [names[i] for i in rng.permutation(len(names))]
        for name, part in zip(SPLITS, cut(order, wanted)):
            dealt[name][label] = [entry for lesion in part for entry in lesions[lesion]]
    return {name: interleaved(classes) for name, classes in dealt.items()}


def cut(order: list[str], wanted: np.ndarray) -> list[list[str]]:
    """The names in as many parts as weights, in their proportion; each part gets one at least."""
    spare = len(order) - len(wanted)
    sizes = np.diff(np.round(np.cumsum(wanted) / wanted.sum() * spare).astype(int), prepend=0) + 1
    edges = np.cumsum([0, *sizes])
    return [order[first:last] for first, last in pairwise(edges)]


def check(root: str | Path, options: Options = DEFAULT) -> Iterator[str]:
    """What `load` would make of a folder: each image's case id, split and class, or why it is set aside."""
    root = Path(root)
    if packed := archive.find(root):
        data = archive.load(packed, options)
        for name in SPLITS:
            yield f"{name}: {len(getattr(data, name))} images of {data.spec['classes']}"
        return
    reading = read(root, options)
    used, titles = set(), {title for title, _ in reading.aside}
    for name, rows in reading.splits.items():
        for entry, image in rows:
            used.add(entry.path)
            yield f"{image.case}  {name:<5}  {entry.path.relative_to(root)}  {entry.label}"
    for entry in entries(root)[0]:
        if entry.path not in used and entry.path.name not in titles:
            yield f"not used: {entry.path.relative_to(root)}: beyond the counts asked for"
    for title, reason in reading.aside:
        yield f"set aside: {title}: {reason}"
    yield f"{len(used)} images can be used, {len(reading.aside)} are set aside"
