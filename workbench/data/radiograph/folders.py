"""A folder of radiographs, a list of them, or a MedMNIST file: dealt by patient, read, scaled."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from workbench.data import Data, io
from workbench.data.asoct.halves import resized
from workbench.data.io.kind import hashed
from workbench.data.io.medmnist import read_medmnist
from workbench.data.io.nifti import free_memory
from workbench.data.radiograph import stored
from workbench.data.radiograph.cases import (
    DEFAULT,
    PIXEL_BYTES,
    SPLITS,
    Options,
    Picture,
    assembled,
    chosen_labels,
    cuts,
)
from workbench.data.radiograph.layouts import Row, read_rows
from workbench.data.store import is_store
from workbench.errors import InvalidImage, InvalidParameter


@dataclass
class Reading:
    """The pictures of each split with the names of their files, their findings, and what was set aside with reasons."""

    labels: list[str]
    splits: dict[str, list[tuple[str, Picture]]] = field(default_factory=dict)
    aside: list[tuple[str, str]] = field(default_factory=list)


def load(root: str | Path, options: Options = DEFAULT) -> Data:
    """Radiographs in one of four layouts or in a store, scaled to squares; `site=b` takes them from `root_b`.

    CheXpert (`train.csv`, `valid.csv`), ChestX-ray14 (`Data_Entry_2017.csv`, `test_list.txt`), a plain `labels.csv` or
    list `.txt` beside the images, or a MedMNIST `.npz` of 2D images with the splits that it has. Patients are dealt to
    the splits, so that none is in two. Files that cannot be read are set aside, and others of the split take their
    place. Images of a store (`stored.load`) stay on the disk.

    Raises:
        InvalidImage: as `layouts.read_rows`; fewer patients than splits, no sound image for a split, or more images
            than fit in memory. InvalidParameter: no second set for site b.
    """
    if is_store(chosen_root(root, options)):
        return stored.load(chosen_root(root, options), options)
    reading = read(chosen_root(root, options), options)
    splits = {name: [picture for _, picture in rows] for name, rows in reading.splits.items()}
    home = chosen_root(root, options)
    return assembled(
        home.stem if home.is_file() else home.name,
        splits,
        [name or "none" for name in reading.labels],
        options,
        aside=reading.aside,
    )


def chosen_root(root: str | Path, options: Options) -> Path:
    """The folder of the site that is asked for."""
    if options.site == "b" and not options.root_b:
        raise InvalidParameter("root_b", "a folder or file for site b", "none", "give that of the second set")
    return Path(options.root_b if options.site == "b" else root)


def read(root: Path, options: Options) -> Reading:
    count = sum(getattr(options, name) for name in SPLITS)
    need, free = count * options.size**2 * PIXEL_BYTES, free_memory()
    if need > free:
        found = f"{count} of {options.size} x {options.size} pixels with {free >> 20} MB free"
        raise InvalidImage("the folder", "images that fit in memory", found, "choose a smaller size=, train= or test=")
    if root.suffix == ".npz":
        return medmnist(root, options)
    labels, rows = read_rows(root, options)
    if labels == [""] and options.part == "labelled":
        raise InvalidImage(root.name, "labels beside the images", "none", "pre-train with part=unlabelled")
    reading = Reading(labels)
    for name, own in dealt(root.name, rows, options).items():
        reading.splits[name] = fill(name, own, getattr(options, name), root, options.size, reading.aside)
    return reading


def dealt(title: str, rows: list[Row], options: Options) -> dict[str, list[Row]]:
    """The rows of each split, patients in an order drawn once: in proportion to the counts asked for.

    With `official` the test images are those of the official list, and their patients are in no other split.
    """
    test = [row for row in rows if row.official] if options.official else []
    if options.official and not test:
        remedy = "add the set's own list, or leave official out"
        raise InvalidImage(title, "a list of official test images", "none", remedy)
    kept = {row.group for row in test}
    wanted = {name: getattr(options, name) for name in (SPLITS[:2] if test else SPLITS)}
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row.group not in kept:
            groups.setdefault(row.group, []).append(row)
    bounds = cuts(title, len(groups), sum(map(len, groups.values())), list(wanted.values()))
    order = [list(groups.values())[i] for i in np.random.default_rng(options.data_seed).permutation(len(groups))]
    parts = {name: order[a:b] for name, a, b in zip(wanted, bounds, bounds[1:], strict=False)}
    made = {name: [row for group in part for row in group] for name, part in parts.items()}
    return made | ({"test": test} if test else {})


def fill(
    name: str, rows: list[Row], count: int, root: Path, size: int, aside: list[tuple[str, str]]
) -> list[tuple[str, Picture]]:
    """The first `count` images that can be read; the others are added to `aside`.

    Raises:
        InvalidImage: not one can be read.
    """
    made, refused = [], []
    for row in rows:
        if len(made) >= count:
            break
        try:
            image = resized(io.read_image(row.path, color=False), size)[None]
        except InvalidImage as error:
            refused.append((row.path.name, f"expected {error.expected}, found {error.found}; {error.remedy}"))
            continue
        inner = row.path.relative_to(root) if row.path.is_relative_to(root) else row.path.name
        made.append((str(inner), Picture(image, row.findings, hashed(str(inner)), hashed(row.group))))
    aside += refused
    if not made:
        raise InvalidImage(f"the images for {name}", "one that can be read", ": ".join(refused[0]), "mend the files")
    return made


def unseen(path: Path, size: int) -> tuple[Tensor, tuple[int, int]]:
    """One radiograph of which nothing is known, (1, size, size) in [0, 1], scaled as in training; its own sides.

    Raises:
        InvalidImage: one that cannot be read.
    """
    image = io.read_image(path, color=False)
    return torch.from_numpy(resized(image, size))[None].float() / 255, image.shape


def medmnist(path: Path, options: Options) -> Reading:
    """A file of 2D images with its own splits, each cut to the count asked for; patients are not told."""
    found = read_medmnist(path, sides=2)
    numbers = np.concatenate([labels for _, labels in found.values()])
    classes = int(numbers.max()) + 1 if numbers.shape[1] == 1 else 2
    if classes < 2 or (numbers.shape[1] > 1 and numbers.max() > 1):
        expected = "two classes or more, or findings of 0 and 1"
        raise InvalidImage(path.name, expected, f"labels up to {numbers.max()}", "choose a set for classification")
    single = numbers.shape[1] == 1
    names = [f"class_{n}" for n in range(classes if single else numbers.shape[1])][
        1 if single and classes == 2 else 0 :
    ]
    wanted = chosen_labels(options, names)
    columns, reading = [names.index(name) for name in wanted], Reading(wanted)
    for split, (images, labels) in found.items():
        values = np.eye(classes, dtype=np.int8)[labels[:, 0]] if single and classes > 2 else labels.astype(np.int8)
        rows = []
        for number, image in enumerate(images[: getattr(options, split)]):
            grey = image @ io.LUMA if image.ndim == 3 else image
            case = f"{split}-{number:06d}"
            pixels = resized(grey.astype(np.float32) / 255, options.size)[None]
            rows.append((case, Picture(pixels, values[number, columns], case, case)))
        reading.splits[split] = rows
    return reading


def check(root: str | Path, options: Options = DEFAULT) -> Iterator[str]:
    """What `load` would make of a folder: each image's case id, split, file and findings, or why it is set aside."""
    if is_store(chosen_root(root, options)):
        yield from stored.check(chosen_root(root, options), options)
        return
    reading = read(chosen_root(root, options), options)
    for split, rows in reading.splits.items():
        for name, picture in rows:
            shown = [label for label, value in zip(reading.labels, picture.findings, strict=True) if value == 1]
            yield f"{picture.case}  {split:<5}  {name}  {', '.join(shown) or '-'}"
    for title, reason in reading.aside:
        yield f"set aside: {title}: {reason}"
    count = sum(map(len, reading.splits.values()))
    yield f"{count} images can be used, {len(reading.aside)} are set aside"
