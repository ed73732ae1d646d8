"""Which files of a folder belong to which subject: pairs of volumes, Neurite-OASIS, CANDI."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from workbench.data import io
from workbench.data.anatomy3d.subjects import Options
from workbench.errors import InvalidImage

PAIRS = (("images", "labels"), ("images", "masks"), ("imagesTr", "labelsTr"))
ENDINGS = ("_seg", "_label", "_mask", "_segmentation")
OASIS = re.compile(r"(OASIS_OAS1_\d{4})_MR\d")
CANDI = re.compile(r"((?:HC|SS|BPDwPsy|BPDwoPsy)_\d{3})(?!\d)(.*)", re.DOTALL)
VOLUMES = (".nii.gz", ".nii", ".npy.gz", ".npy")
SHOWN = 20  # names in one message


@dataclass(frozen=True)
class Entry:
    """A scan: its name, its file, the file of its structures if there is one, and the subject it is of."""

    name: str
    image: Path
    label: Path | None
    group: str


def entries(root: Path, options: Options) -> list[Entry]:
    """The scans of a folder in the order of their names.

    Raises:
        InvalidImage: none of the known layouts, labels without image, or two files for one name, all of them listed.
    """
    if not root.is_dir():
        raise InvalidImage(root.name or str(root), "a folder", "nothing of that name", "check the spelling of root")
    for folders in PAIRS:
        if (root / folders[0]).is_dir():
            return pairs(root, *folders)
    if any(OASIS.fullmatch(path.name) for path in root.iterdir()):
        return oasis(root, options)
    if found := candi(root):
        return found
    expected = "images/ with labels/, OASIS_OAS1_xxxx_MR1/ folders, or CANDI volumes (HC_001_MR.npy.gz, ...)"
    raise InvalidImage(root.name or str(root), expected, "none of them", "give the folder that holds these")


def pairs(root: Path, inputs: str, targets: str) -> list[Entry]:
    """`images/X.nii.gz` with `labels/X.nii.gz` (or X_seg, X_label, X_mask); an image may lack its label.

    A `labels.csv` with `file` and `subject` (or `patient`) names the subject; else `sub-...` of BIDS names, else each
    file is a subject of its own.
    """
    images = named(root / inputs, root)
    labels = named(root / targets, root, ENDINGS) if (root / targets).is_dir() else {}
    if orphans := sorted(labels[name].name for name in labels.keys() - images.keys()):
        remedy = f"add {inputs}/X for each {targets}/X, or remove them"
        raise InvalidImage(root.name, "an image for every label map", f"none for {listed(orphans)}", remedy)
    known = subjects_of(root)
    groups = {name: known.get(name) or re.match(r"sub-[A-Za-z0-9]+|", name)[0] or name for name in images}
    return [Entry(name, images[name], labels.get(name), groups[name]) for name in sorted(images)]


def subjects_of(root: Path) -> dict[str, str]:
    """The subject of each file that labels.csv names."""
    if not (root / "labels.csv").is_file():
        return {}
    rows = io.read_labels(root / "labels.csv", columns=("file",))
    return {bare(row["file"]): row.get("subject") or row.get("patient") or "" for row in rows}


def oasis(root: Path, options: Options) -> list[Entry]:
    """Neurite-OASIS: slices (`slice_norm`) where dims=2 and there are any, else volumes (`aligned_norm`)."""
    folders = sorted(path for path in root.iterdir() if OASIS.fullmatch(path.name) and path.is_dir())
    flat = options.dims == 2 and any((folder / "slice_norm.nii.gz").is_file() for folder in folders)
    image, kinds = ("slice_norm", (24, 4)) if flat else ("aligned_norm", (35, 4))
    wanted = [f"{image[:-4]}seg{n}.nii.gz" for n in ((options.parcels,) if options.parcels else kinds)]
    label = next((name for name in wanted if any((folder / name).is_file() for folder in folders)), None)
    if label is None:
        found = f"no {' and no '.join(wanted)} in {len(folders)} folders"
        raise InvalidImage(root.name, "label maps", found, f"choose parcels={kinds[0]} or {kinds[1]}, or add the files")
    if lacking := [folder.name for folder in folders if not (folder / f"{image}.nii.gz").is_file()]:
        remedy = "unpack the archive again, or remove these folders"
        raise InvalidImage(root.name, f"{image}.nii.gz in every folder", f"none in {listed(lacking)}", remedy)
    given = {folder: folder / label if (folder / label).is_file() else None for folder in folders}
    return [Entry(f.name, f / f"{image}.nii.gz", given[f], OASIS.fullmatch(f.name)[1]) for f in folders]


def candi(root: Path) -> list[Entry]:
    """CANDI: files named after their subject, that of the label map ending in `seg`; empty where there are none."""
    found: dict[str, dict[bool, list[Path]]] = defaultdict(lambda: {False: [], True: []})
    for path in sorted(path for path in root.rglob("*") if is_volume(path)):
        if match := CANDI.fullmatch(bare(path.name)):
            found[match[1]][match[2].lower().endswith("seg")].append(path)
    wrong = [f"{name} ({len(f[False])} images, {len(f[True])} label maps)" for name, f in found.items() if odd(f)]
    if wrong:
        remedy = "keep X_MR.npy.gz and X_MR_seg.npy.gz, or one NIfTI image and one X_seg.nii.gz"
        raise InvalidImage(root.name, "one image and at most one label map a subject", listed(wrong), remedy)
    return [Entry(name, *f[False], f[True][0] if f[True] else None, name) for name, f in sorted(found.items())]


def odd(files: dict[bool, list[Path]]) -> bool:
    return len(files[False]) != 1 or len(files[True]) > 1


def named(folder: Path, root: Path, endings: tuple[str, ...] = ()) -> dict[str, Path]:
    """The volumes below a folder by their path in it, without extension and ending; each name once."""
    found = defaultdict(list)
    for path in sorted(path for path in folder.rglob("*") if is_volume(path)):
        name = bare(path.relative_to(folder).as_posix())
        found[name.removesuffix(next((e for e in endings if name.endswith(e)), ""))].append(path)
    if double := [" and ".join(path.name for path in paths) for paths in found.values() if len(paths) > 1]:
        raise InvalidImage(folder.name, "one file for each name", listed(double), "keep one of each")
    if not found:
        raise InvalidImage(f"{root.name}/{folder.name}", "NIfTI volumes", "none", "put the .nii.gz files there")
    return {name: paths[0] for name, paths in found.items()}


def is_volume(path: Path) -> bool:
    return path.name.lower().endswith(VOLUMES) and not path.name.startswith(".") and path.is_file()


def bare(name: str) -> str:
    """A name without the extension of a volume.

    >>> bare("HC_001_MR_seg.npy.gz")
    'HC_001_MR_seg'
    """
    return name[: len(name) - len(next((end for end in VOLUMES if name.lower().endswith(end)), ""))]


def listed(words: Iterable[str]) -> str:
    words = list(words)
    more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return ", ".join(words[:SHOWN]) + more


def label_names(root: Path, label: Path | None) -> dict[int, str]:
    """The names of Neurite-OASIS's label values, from seg35_labels.txt and its like; empty where there is none."""
    number = re.search(r"seg(\d+)", label.name) if label else None
    path = root / f"seg{number[1]}_labels.txt" if number else None
    if path is None or not path.is_file():
        return {}
    rows = [line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    return {int(row[0]): word(row[1]) for row in rows if len(row) > 1 and row[0].isdecimal() and int(row[0]) > 0}


def word(name: str) -> str:
    """A name that can stand in a list and in a metric: lower case, letters, digits and underscores.

    >>> word("Left-Cerebral-Cortex")
    'left_cerebral_cortex'
    """
    return re.sub(r"\W+", "_", name.strip().lower()).strip("_")
