"""Which files of a folder are which modality of which case: BraTS 2018, or a folder a case with plain names."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from workbench.data.brain.slices import MODALITIES
from workbench.errors import InvalidImage

MASK = "mask"
NAMES = {
    "t2": "t2", "flair": "flair", "t1": "t1", "t1ce": "t1ce", "t1post": "t1ce", "t1gd": "t1ce", "t1c": "t1ce",
    "seg": MASK, "lesion": MASK, "mask": MASK, "tumour": MASK, "tumor": MASK,
}  # fmt: skip
ENDING = re.compile(rf"(?:.*[_-])?({'|'.join(NAMES)})\.nii(?:\.gz)?", re.IGNORECASE)
EXPECTED = "a folder a case with X_flair, X_t1, X_t1ce, X_t2 and X_seg.nii.gz (BraTS 2018), or FLAIR, T1, ... lesion"


@dataclass(frozen=True)
class Entry:
    """A case: its name, which is its folder's path, and its files by modality, the tumour's mask under MASK."""

    name: str
    files: dict[str, Path]

    def __hash__(self) -> int:
        return hash(self.name)


def entries(root: Path, missing: str) -> tuple[list[Entry], list[tuple[str, str]]]:
    """The complete cases of a folder in the order of their names, and those left out with reasons.

    Args:
        missing: `refuse` to raise where a case lacks a file, `skip` to leave it out.

    Raises:
        InvalidImage: no case, no complete one, two files for one modality, or cases that lack files (all are named).
    """
    if not root.is_dir():
        raise InvalidImage(root.name or str(root), "a folder", "nothing of that name", "check the spelling of root")
    found = {folder: files for folder in folders(root) if (files := of_case(folder)).keys() & set(MODALITIES)}
    if not found:
        remedy = "give the folder that holds the cases"
        raise InvalidImage(root.name or str(root), EXPECTED, "no modality of any case", remedy)
    check_single(root, found)
    lacking = {folder: [m for m in (*MODALITIES, MASK) if m not in files] for folder, files in found.items()}
    bare = [f"{named(folder, root)} lacks {' and '.join(names)}" for folder, names in lacking.items() if names]
    if bare and (missing == "refuse" or len(bare) == len(found)):
        remedy = "add the files" if missing == "skip" else "add the files, or leave these cases out with missing=skip"
        raise InvalidImage(root.name, "four modalities and a mask in every case", "; ".join(bare), remedy)
    whole = [Entry(named(f, root), {m: paths[0] for m, paths in found[f].items()}) for f in found if not lacking[f]]
    reason = "expected four modalities and a mask, found no {}; add the file or leave the case out"
    aside = [(named(f, root), reason.format(" and no ".join(names))) for f, names in lacking.items() if names]
    return whole, aside


def folders(root: Path) -> Iterable[Path]:
    """The folder and all below it in the order of their paths: what a file system lists first must not matter."""
    return sorted([root, *(path for path in root.rglob("*") if path.is_dir())])


def of_case(folder: Path) -> dict[str, list[Path]]:
    """The NIfTI files of a folder by the modality that their names end in."""
    files = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if path.is_file() and (match := ENDING.fullmatch(path.name)):
            files[NAMES[match[1].lower()]].append(path)
    return dict(files)


def check_single(root: Path, found: dict[Path, dict[str, list[Path]]]) -> None:
    double = [
        f"{named(folder, root)}: {' and '.join(path.name for path in paths)}"
        for folder, files in found.items()
        for paths in files.values()
        if len(paths) > 1
    ]
    if double:
        raise InvalidImage(root.name, "one file for each modality of a case", "; ".join(double), "keep one of each")


def named(folder: Path, root: Path) -> str:
    return folder.relative_to(root).as_posix() if folder != root else folder.name
