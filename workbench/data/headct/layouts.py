"""Which files of a folder are which volume: BraTS, images with label maps, or a folder for each class."""

import json
from dataclasses import dataclass
from pathlib import Path

from workbench.data import io
from workbench.data.anatomy3d.layouts import PAIRS, is_volume, listed, named, pairs, word
from workbench.data.brain import layouts as brain
from workbench.data.brain.slices import MODALITIES
from workbench.errors import InvalidImage

TUMOUR = {1: "necrosis", 2: "oedema", 4: "enhancing"}  # the label values of BraTS
GRADES = ("HGG", "LGG")
EXPECTED = "BraTS cases, images/ with labels/, a folder for each class, or one MedMNIST .npz"


@dataclass(frozen=True)
class Entry:
    """A case: its name, the files of its channels, that of its structures if there is one, its class if it is told,
    and whose it is."""

    name: str
    images: tuple[Path, ...]
    label: Path | None
    kind: str
    group: str


@dataclass(frozen=True)
class Listing:
    """The cases of a folder in the order of their names, the names of label values where they are told, and cases left
    out with reasons."""

    entries: list[Entry]
    values: dict[int, str]
    aside: list[tuple[str, str]]


def listing(root: Path) -> Listing:
    """The cases of a folder in one of the known layouts.

    Raises:
        InvalidImage: none of them, BraTS cases without all modalities (named), label maps without image, two files for
            one name, or a table whose files are not there (named).
    """
    if not root.is_dir():
        raise InvalidImage(root.name or str(root), "a folder or a .npz file", "nothing of that name", "check root")
    for folders in PAIRS:
        if (root / folders[0]).is_dir():
            return paired(root, *folders)
    if any(brain.of_case(folder).keys() & set(MODALITIES) for folder in brain.folders(root)):
        return brats(root)
    folders = [path for path in sorted(root.iterdir()) if path.is_dir() and any(map(is_volume, path.rglob("*")))]
    if not folders:
        raise InvalidImage(root.name, EXPECTED, "none of them", "give the folder that holds these")
    if len(folders) == 1:
        remedy = "give the folder above the classes, or put label maps beside the images"
        raise InvalidImage(root.name, "two classes or more", f"one, {folders[0].name}", remedy)
    found = [
        Entry(f"{folder.name}/{name}", (path,), None, folder.name, f"{folder.name}/{name}")
        for folder in folders
        for name, path in named(folder, root).items()
    ]
    return Listing(found, {}, [])


def paired(root: Path, inputs: str, targets: str) -> Listing:
    """`images/X.nii.gz` with `labels/X.nii.gz`, which some may lack; classes and patients from `labels.csv`, columns
    `file`, `label` and perhaps `patient`; names of label values from `dataset.json`, as the Decathlon has them."""
    kinds = classes_of(root)
    found = pairs(root, inputs, targets)
    if strange := sorted(kinds.keys() - {one.name for one in found}):
        remedy = f"add the files to {inputs}/, or remove the rows"
        raise InvalidImage("labels.csv", "rows of images that are there", f"others: {listed(strange)}", remedy)
    entries = [Entry(one.name, (one.image,), one.label, kinds.get(one.name, ""), one.group) for one in found]
    return Listing(entries, value_names(root / "dataset.json"), [])


def classes_of(root: Path) -> dict[str, str]:
    """The class of each image that labels.csv tells, by the image's name; empty where there is no such table."""
    path = root / "labels.csv"
    if not path.is_file():
        return {}
    rows = io.read_labels(path, columns=("file", "label"))
    return {row["file"].removesuffix(".gz").removesuffix(".nii"): row["label"] for row in rows}


def value_names(path: Path) -> dict[int, str]:
    """The names of the label values above 0 in a Decathlon's dataset.json; empty where there is none.

    Raises:
        InvalidImage: one that is not as the Decathlon's.
    """
    if not path.is_file():
        return {}
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))["labels"]
        return {int(value): word(str(name)) for value, name in labels.items() if int(value) > 0}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = "mend or remove it"
        raise InvalidImage(path.name, 'JSON with "labels": {"1": "name"}', type(error).__name__, remedy) from error


def brats(root: Path) -> Listing:
    """BraTS cases, the modalities as channels; the class is the grade where HGG and LGG are there."""
    cases, aside = brain.entries(root, "skip")
    entries = []
    for one in cases:
        grade = next((part for part in one.name.split("/") if part in GRADES), "")
        images = tuple(one.files[name] for name in MODALITIES)
        entries.append(Entry(one.name, images, one.files[brain.MASK], grade, one.name))
    return Listing(entries, TUMOUR, aside)
