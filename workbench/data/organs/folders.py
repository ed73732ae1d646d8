"""A folder of images or volumes with masks: its layout, what is set aside, and the slices of each split."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

import numpy as np

from workbench.data import Data, io
from workbench.data.anatomy.folders import block, deal, foreground_of, natural, read_table, row_of
from workbench.data.anatomy.slices import pick
from workbench.data.io.kind import hashed
from workbench.data.io.nifti import free_memory
from workbench.data.organs.slices import DEFAULT, Options, Slice, assembled, fitted
from workbench.data.organs.volumes import cut, organ_in
from workbench.errors import InvalidImage

NIFTI = (".nii", ".nii.gz")
KITS_LABELS, KITS_WINDOW = (0, 1, 2), "-80,300"  # background, kidney, tumour; HU (inferred: soft tissue)
ACDC_LABELS = (0, 1, 2, 3)  # background, right ventricle, myocardium, left ventricle
ACDC_FRAME = re.compile(r"(patient\d+)_frame\d+\.nii(\.gz)?")
PIXEL_BYTES = 8  # of a slice in memory while a data set is put together

Aside = list[tuple[str, str]]


@dataclass(frozen=True)
class Entry:
    """One image or volume, its mask, the group that must stay in one split, and what its layout says of it."""

    path: Path
    mask: Path
    group: str
    title: str
    known: tuple[int, ...] = ()
    window: str = ""


def load(root: str | Path, options: Options = DEFAULT) -> Data:
    """Grey images with masks below a folder, or slices of volumes with masks, each fitted into a square.

    Layouts: `images/` with `masks/` or `labels/` of the same stems (pictures, whose colours become luma, or NIfTI
    volumes); KiTS19, `case_00000/imaging.nii.gz` with `segmentation.nii.gz`; ACDC, `patient001_frame01.nii.gz` with
    `patient001_frame01_gt.nii.gz`. A `labels.csv` names groups that stay together (`patient`, `lesion_id` or
    `group`); without it a volume is a group, pictures in the order of their names are kept together in blocks.
    Black and white are the values that 0.5 and 99.5 % of a volume lie below, -80 and 300 HU in KiTS19, or
    `options.window`. Each split takes as few slices of a volume as give the number asked for, at most
    `options.slices`. Cases that cannot be read, or whose mask is empty, full or on another grid, are set aside.

    Raises:
        InvalidImage: no such layout, images without mask or masks without image, no readable case, too few for three
            splits, or more slices than fit in memory.
    """
    root = Path(root)
    check_memory(options)
    splits, aside = readable(root, options)
    slices = {name: [one for _, one in rows] for name, rows in splits.items()}
    return assembled(root.name, slices, options, aside=aside)


def check_memory(options: Options) -> None:
    """Raises InvalidImage where the slices asked for cannot fit."""
    count = options.train + options.valid + options.test
    need, free = count * options.size**2 * PIXEL_BYTES, free_memory()
    if need > free:
        side = options.size
        found = f"{count} of {side} x {side} pixels, about {need >> 20} MB, with {free >> 20} MB free"
        raise InvalidImage("the folder", "slices that fit in memory", found, "choose a smaller size=, train= or test=")


# ---------------------------------------------------------------- layouts


def entries(root: Path) -> tuple[list[Entry], Aside]:
    """The cases of a folder, and those that cannot be used.

    Raises:
        InvalidImage: no layout that is known.
    """
    if (root / "images").is_dir():
        return pairs(root)
    for layout in (kits, acdc):
        found, aside = layout(root)
        if found or aside:
            return found, aside
    io.list_images(root)  # a folder that is missing or holds no image is told as such
    expected = "images/ with masks/ or labels/, or the folders of KiTS19 or ACDC"
    remedy = "put images and masks of the same names into images/ and masks/"
    raise InvalidImage(root.name or str(root), expected, "images in another layout", remedy)


def pairs(root: Path) -> tuple[list[Entry], Aside]:
    """Files of images/ with those of masks/ or labels/, in natural order."""
    targets = next((name for name in ("masks", "labels") if (root / name).is_dir()), None)
    if targets is None:
        raise InvalidImage(root.name, "masks/ or labels/ beside images/", "neither", "add the masks")
    labels = read_table(root / "labels.csv") if (root / "labels.csv").is_file() else {}
    files = sorted(io.pairs(root, targets=targets), key=lambda pair: natural(pair[0]))
    found, aside = [], []
    for number, (path, mask) in enumerate(files):
        row = row_of(path, labels, root / "images", root)
        if labels and not row:
            aside.append((path.name, "expected a row in labels.csv, found none; add one or remove the file"))
            continue
        own = str(path.relative_to(root)) if path.name.lower().endswith(NIFTI) else block(number, len(files))
        group = row.get("patient") or row.get("lesion_id") or row.get("group") or own
        found.append(Entry(path, mask, group, path.name))
    return found, aside


def kits(root: Path) -> tuple[list[Entry], Aside]:
    folders = sorted(root.glob("case_*")) or sorted(root.glob("*/case_*"))
    files = [(path.name, path / "imaging.nii.gz", path / "segmentation.nii.gz") for path in folders]
    found, aside = complete(files)
    return [Entry(path, mask, name, name, KITS_LABELS, KITS_WINDOW) for name, path, mask in found], aside


def acdc(root: Path) -> tuple[list[Entry], Aside]:
    files = {}
    for path in sorted(root.rglob("patient*_frame*.nii*")):
        path = path.with_name(path.name.replace("_gt.nii", ".nii"))
        files[path] = (path.name, path, path.with_name(path.name.replace(".nii", "_gt.nii")))
    found, aside = complete([row for path, row in files.items() if ACDC_FRAME.fullmatch(path.name)])
    return [Entry(path, mask, name.split("_")[0], name, ACDC_LABELS) for name, path, mask in found], aside


def complete(files: list[tuple[str, Path, Path]]) -> tuple[list[tuple[str, Path, Path]], Aside]:
    """Those of which both files are there; test cases of a challenge come without masks."""
    lacking = [(name, path.name if mask.is_file() else mask.name) for name, path, mask in files
               if not (path.is_file() and mask.is_file())]  # fmt: skip
    aside = [(name, f"expected image and mask, found no {file}; add it or remove the case") for name, file in lacking]
    return [row for row in files if row[1].is_file() and row[2].is_file()], aside


# ---------------------------------------------------------------- splits


def readable(root: Path, options: Options) -> tuple[dict[str, list[tuple[Entry, Slice]]], Aside]:
    """The slices of each split with their cases, and those set aside; dealt anew where a split would lose all."""
    found, aside = entries(root)
    while True:
        splits, bad = {}, {}
        for name, chosen in deal([entry for entry in found if entry.group], options, aside).items():
            count = getattr(options, name)
            share = min(options.slices, ceil(count / len(chosen)))
            rows = [(entry, one) for entry in chosen for one in tried(entry, share, root, options, bad)]
            splits[name] = pick(rows, count)
        aside = aside + [(entry.title, reason) for entry, reason in bad.items()]
        if all(splits.values()):
            return splits, aside
        found = [entry for entry in found if entry not in bad]


def tried(entry: Entry, share: int, root: Path, options: Options, bad: dict[Entry, str]) -> list[Slice]:
    """The slices of one case; none, and the reason in `bad`, where it cannot be used."""
    try:
        return slices_of(entry, share, root, options)
    except InvalidImage as error:
        where = "" if error.where == entry.title else f"{error.where}: "
        bad[entry] = f"{where}expected {error.expected}, found {error.found}; {error.remedy}"
        return []


def slices_of(entry: Entry, share: int, root: Path, options: Options) -> list[Slice]:
    """One picture, or up to `share` slices of a volume, fitted; slices whose organ is lost by that are left out.

    Raises:
        InvalidImage: no sound image and mask, or no organ left at this size.
    """
    name = entry.path.relative_to(root).as_posix()
    if not entry.path.name.lower().endswith(NIFTI):
        raw = [(0, picture(entry, options))]
    else:
        rng = np.random.default_rng([options.data_seed, *hashlib.sha256(name.encode()).digest()])
        chosen = options if options.window else replace(options, window=entry.window)
        raw = list(cut(entry.path, entry.mask, entry.known, share, chosen, rng))
    made = []
    for number, one in raw:
        small = fitted(one, options.size)
        if small.mask.any() or not one.mask.any():
            small.case, small.group = f"{hashed(name)}-{number:03d}", hashed(entry.group)
            made.append(small)
    if not made:
        expected, remedy = (
            f"an organ that is seen at size={options.size}",
            "choose a larger size= or leave the case out",
        )
        raise InvalidImage(entry.mask.name, expected, "less than half a pixel of it", remedy)
    return made


def picture(entry: Entry, options: Options) -> Slice:
    image = io.read_image(entry.path, color=False)
    if options.values:
        labels = io.read_mask(entry.mask, image.shape)
    else:
        labels = foreground_of(entry.mask, image.shape).astype(int)
    return Slice(image, organ_in(entry.mask, labels, (), options.values), None)


def check(root: str | Path, options: Options = DEFAULT) -> Iterator[str]:
    """What `load` would make of a folder: each slice's case id, split and group, or why a case is set aside."""
    root = Path(root)
    splits, aside = readable(root, options)
    used, titles = set(), {title for title, _ in aside}
    for name, rows in splits.items():
        for entry, one in rows:
            used.add(entry)
            yield f"{one.case}  {name:<5}  {entry.group:<24}  {entry.path.relative_to(root)}"
    for entry in entries(root)[0]:
        if entry not in used and entry.title not in titles:
            why = "beyond the counts asked for" if entry.group else "a gap between blocks of neighbours"
            yield f"not used: {entry.path.relative_to(root)}: {why}"
    for title, reason in aside:
        yield f"set aside: {title}: {reason}"
    yield f"{sum(map(len, splits.values()))} slices of {len(used)} cases can be used, {len(aside)} cases are set aside"
