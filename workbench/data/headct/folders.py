"""A folder of volumes or a MedMNIST file: read, dealt to the splits by patient and class, and what is set aside."""

import functools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from workbench.data import Data
from workbench.data.headct.cases import DEFAULT, SPLITS, TASKS, UNKNOWN, Head, Options, assembled, told
from workbench.data.headct.layouts import Entry, Listing, listing
from workbench.data.headct.volumes import fitted, head
from workbench.data.io.medmnist import read_medmnist
from workbench.data.io.nifti import free_memory
from workbench.errors import InvalidImage

VOXEL_BYTES = 6  # of a voxel in memory while a data set is put together: label map and channels, copied once


@dataclass
class Reading:
    """The volumes of each split with their names, the names of classes and structures, and what was set aside."""

    classes: list[str]
    structures: dict[int, str]
    splits: dict[str, list[tuple[str, Head]]] = field(default_factory=dict)
    aside: list[tuple[str, str]] = field(default_factory=list)


def load(root: str | Path, options: Options = DEFAULT) -> Data:
    """Volumes in one of four layouts, resampled to the sides asked for, with the classes and structures that they have.

    BraTS (`X_{t1,t1ce,t2,flair,seg}.nii.gz` in a folder a case, below HGG/ and LGG/ where these are classes),
    `images/` + `labels/` as the Medical Segmentation Decathlon has them (with `labels.csv` for classes), a folder for
    each class, or a MedMNIST `.npz` of volumes with the splits that it has. Patients are dealt to the splits class by
    class, so that none is in two. Volumes that lack a label can be trained on with `part=unlabelled` alone. Files that
    cannot be read are set aside.

    Raises:
        InvalidImage: no such layout; one class only, or a class with fewer cases than splits; too few labels; more
            than fits in memory. InvalidParameter: a target that there is not.
    """
    reading = read(Path(root), options)
    splits = {name: [one for _, one in rows] for name, rows in reading.splits.items()}
    name = Path(root).stem if Path(root).is_file() else Path(root).name
    names = list(reading.structures.values())
    return assembled(name or "folder", splits, reading.classes, names, options, aside=reading.aside)


def read(root: Path, options: Options) -> Reading:
    if root.suffix == ".npz":
        return medmnist(root, options)
    found = listing(root)
    classes = checked_classes(root.name, found.entries, options)
    check_memory(len(found.entries[0].images), options)
    task = task_of(found, classes, options)
    made = [(entry, *opened(entry, classes, options)) for entry in chosen(found, classes, options)]
    reading = Reading(classes, {}, aside=found.aside + [(e.name, reason) for e, one, reason in made if one is None])
    sound = [(entry.name, one) for entry, one, _ in made if one is not None]
    if not sound:
        raise InvalidImage(root.name, "a volume that can be used", "; ".join(map(": ".join, reading.aside[:2])), "mend")
    reading.structures, sound = structures(sound, found.values)
    reading.splits = dealt(root.name, sound, task, options)
    return reading


def checked_classes(title: str, entries: Sequence[Entry], options: Options) -> list[str]:
    """The names of the classes that are told.

    Raises:
        InvalidImage: one alone where the class is asked for, or one with fewer patients than splits.
    """
    patients = Counter(kind for kind, _ in {(one.kind, one.group) for one in entries} if kind)
    if options.target == "structures" or not patients:
        return []
    if len(patients) == 1:
        if options.target == "auto":
            return []
        raise InvalidImage(title, "two classes or more", f"one, {next(iter(patients))}", "add cases of another class")
    if few := [f"{kind} ({count})" for kind, count in sorted(patients.items()) if count < len(SPLITS)]:
        expected = f"at least {len(SPLITS)} cases of each class, one for each split"
        raise InvalidImage(title, expected, f"fewer of {', '.join(few)}", "add cases, or leave the class out")
    return sorted(patients)


def task_of(found: Listing, classes: Sequence[str], options: Options) -> str:
    target = options.target if options.target != "auto" else "class" if classes else "structures"
    return TASKS[target]


def check_memory(channels: int, options: Options) -> None:
    """Raises InvalidImage where the volumes asked for cannot fit."""
    count, voxels = sum(getattr(options, name) for name in SPLITS), math.prod(options.sides)
    need, free = count * voxels * (2 * channels + VOXEL_BYTES), free_memory()
    if need > free:
        found = f"{count} of {voxels} voxels, about {need >> 20} MB, with {free >> 20} MB free"
        raise InvalidImage("the folder", "volumes that fit in memory", found, "choose a smaller size=, train= or test=")


def chosen(found: Listing, classes: Sequence[str], options: Options) -> list[Entry]:
    """As many cases as all splits together ask for, in an order drawn once, each class with its share."""
    count = sum(getattr(options, name) for name in SPLITS)
    if count >= len(found.entries):
        return found.entries
    places = np.random.default_rng(options.data_seed).permutation(len(found.entries))
    ranks, sizes = Counter(), Counter(one.kind for one in found.entries)
    share = {}
    for place in places:
        kind = found.entries[place].kind
        share[place] = (ranks[kind] + 0.5) / sizes[kind]
        ranks[kind] += 1
    kept = sorted(sorted(share, key=share.__getitem__)[:count])
    return [found.entries[place] for place in kept]


def opened(entry: Entry, classes: Sequence[str], options: Options) -> tuple[Head | None, str]:
    """The volume of a case, or why it cannot be used."""
    kind = classes.index(entry.kind) if entry.kind in classes else UNKNOWN
    try:
        return head(entry, kind, options), ""
    except InvalidImage as error:
        where = "" if error.where == entry.name else f"{error.where}: "
        return None, f"{where}expected {error.expected}, found {error.found}; {error.remedy}"


def structures(
    rows: Sequence[tuple[str, Head]], names: dict[int, str]
) -> tuple[dict[int, str], list[tuple[str, Head]]]:
    """The names of the label values that there are, and the volumes with 1, 2, ... in their place."""
    labels = [one.label for _, one in rows if one.label is not None]
    values = sorted(functools.reduce(set.union, (set(np.unique(label).tolist()) for label in labels), set()) - {0})
    table = np.zeros(max(values, default=0) + 1, np.int16)
    table[values] = np.arange(1, len(values) + 1)
    known = {value: names.get(value, f"structure_{value}") for value in values}
    return known, [(n, one if one.label is None else replace(one, label=table[one.label])) for n, one in rows]


# ---------------------------------------------------------------- splits


def dealt(
    title: str, rows: Sequence[tuple[str, Head]], task: str, options: Options
) -> dict[str, list[tuple[str, Head]]]:
    """The volumes of each split, in proportion to the counts asked for: whole patients, class by class.

    Those without the label that is asked for can only be trained on, without labels.

    Raises:
        InvalidImage: fewer labelled patients than splits.
    """
    groups: dict[str, list[tuple[str, Head]]] = {}
    for row in rows:
        groups.setdefault(row[1].group, []).append(row)
    bare = [key for key, own in groups.items() if not all(told(one, task) for _, one in own)]
    known = [key for key in groups if key not in bare]
    if len(known) < len(SPLITS) and not (options.part == "unlabelled" and not known):
        what = "a class" if task == "classification" else "a label map"
        found = f"{len(known)} of {len(groups)}"
        raise InvalidImage(title, f"at least {len(SPLITS)} patients with {what}", found, "add labels")
    if not known:
        known, bare = bare, []
    order = np.random.default_rng([options.data_seed, 1]).permutation(len(known))
    splits: dict[str, list[str]] = {name: [] for name in SPLITS}
    for kind in sorted({groups[key][0][1].kind for key in known}):
        own = [known[i] for i in order if groups[known[i]][0][1].kind == kind]
        for name, keys in cut(own, [getattr(options, name) for name in SPLITS], title).items():
            splits[name] += keys
    splits["train"] += bare
    made = {name: [row for key in keys for row in groups[key]] for name, keys in splits.items()}
    return {name: found[: getattr(options, name)] for name, found in made.items()}


def cut(keys: Sequence[str], wanted: Sequence[int], title: str) -> dict[str, list[str]]:
    """Patients of one class for each split, at least one each.

    Raises:
        InvalidImage: fewer than splits.
    """
    if len(keys) < len(wanted):
        expected = f"at least {len(wanted)} patients of each class that can be read"
        raise InvalidImage(title, expected, str(len(keys)), "add cases, or mend the files")
    edges = np.round(np.cumsum([0, *wanted]) / sum(wanted) * len(keys)).astype(int)
    ranks = np.arange(len(edges))  # every split gets a patient, however uneven the counts
    edges = np.minimum(np.maximum.accumulate(edges - ranks) + ranks, len(keys) - ranks[::-1])
    return {name: list(keys[a:b]) for name, a, b in zip(SPLITS, edges, edges[1:])}


def medmnist(path: Path, options: Options) -> Reading:
    """A file of volumes with its own splits, each cut to the count asked for, classes in turn; patients are not told.

    Raises:
        InvalidImage: as `read_medmnist`; several findings a volume, or one class only.
    """
    found = read_medmnist(path, sides=3)
    numbers = np.concatenate([labels for _, labels in found.values()])
    if numbers.shape[1] > 1 or len(np.unique(numbers)) < 2:
        several = f"{numbers.shape[1]} findings a volume" if numbers.shape[1] > 1 else "one"
        raise InvalidImage(path.name, "two classes or more, one a volume", several, "choose another set")
    reading = Reading([f"class_{n}" for n in range(int(numbers.max()) + 1)], {})
    for split, (volumes, labels) in found.items():
        rows = []
        for number in range(min(len(volumes), getattr(options, split))):
            grey = volumes[number] if volumes[number].ndim == 3 else volumes[number].mean(-1)
            name = f"{split}-{number:06d}"
            pixels = fitted(grey.astype(np.float32)[None], options.sides)
            image = np.round(pixels).clip(0, 255).astype(np.uint8)
            rows.append((name, Head(image, int(labels[number, 0]), None, (1.0, 1.0, 1.0), name, name)))
        reading.splits[split] = rows
    return reading


def check(root: str | Path, options: Options = DEFAULT) -> Iterator[str]:
    """What `load` would make of a folder: each volume's case id, split and name, or why it is set aside."""
    reading = read(Path(root), options)
    yield f"classes {', '.join(reading.classes) or '-'}; structures {', '.join(reading.structures.values()) or '-'}"
    for split, rows in reading.splits.items():
        for name, one in rows:
            kind = reading.classes[one.kind] if one.kind != UNKNOWN else "no class"
            yield f"{one.case}  {split:<5}  {name}  {kind}{'' if one.label is None else ', label map'}"
    for name, reason in reading.aside:
        yield f"set aside: {name}: {reason}"
    count = sum(map(len, reading.splits.values()))
    yield f"{count} volumes can be used, {len(reading.aside)} are set aside"
