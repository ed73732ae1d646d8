"""Which files of a folder belong to a data set: images, image-mask pairs, modalities of patients."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from workbench.data.io.guard import guard
from workbench.data.io.kind import PICTURES, SUFFIXES, kind_of, stem
from workbench.errors import InvalidImage

MASK_ENDINGS = ("_mask", "_segmentation")
SHOWN = 20  # names in one message
Item = TypeVar("Item")


def list_images(root: str | os.PathLike) -> list[Path]:
    """Every image and volume file below a folder, sorted; a file stands for itself.

    A file counts by its extension or, failing that, by its content, so DICOM without extension is found and a
    damaged .png is listed, to be refused with a reason when read. Hidden files and folders (.name) and DICOMDIR
    indexes are skipped; links to folders are not followed.

    Raises:
        InvalidImage: missing, unreadable, or nothing in it that could be an image.
    """
    root = Path(root)
    with guard(root, "folder of images"):
        if not root.is_dir():
            root.stat()
            return [root]
        paths = sorted(path for path in _files(root) if _is_image(path))
    if not paths:
        remedy = "point to the folder that holds them (PNG, JPEG, TIFF, BMP, DICOM, NIfTI)"
        raise InvalidImage(root.name or str(root), "a folder with images in it", "none", remedy)
    return paths


def pairs(root: str | os.PathLike, inputs: str = "images", targets: str = "masks") -> list[tuple[Path, Path]]:
    """Each image with its mask: `images/X.*` and `masks/X.*`, the mask also `X_mask.*` or `X_segmentation.*`.

    Raises:
        InvalidImage: images without mask or masks without image (all named), or two candidates for one name.
    """
    root = Path(root)
    images = _by_name(root / inputs, lambda name: name)
    masks = _by_name(root / targets, _without_ending)
    lacking = [f"{inputs}/{images[name].name} has no mask" for name in sorted(images.keys() - masks.keys())]
    lacking += [f"{targets}/{masks[name].name} has no image" for name in sorted(masks.keys() - images.keys())]
    if lacking:
        remedy = f"give both files of a pair one name ({inputs}/X.png, {targets}/X.png) or remove the single ones"
        raise InvalidImage(root.name or str(root), "a mask for every image", _listed(lacking), remedy)
    return [(images[name], masks[name]) for name in sorted(images)]


def patients(root: str | os.PathLike) -> dict[str, dict[str, Path]]:
    """The files of each patient by modality: `{"patient07": {"FLAIR": path, ...}, ...}`.

    A patient is a folder below `root`, a modality a file in it. Where the file repeats the folder's name
    (`BraTS_001/BraTS_001_flair.nii.gz`) the repetition is dropped.

    Raises:
        InvalidImage: no folders, a folder without images, or two files of one modality.
    """
    root = Path(root)
    with guard(root, "folder of patients"):
        folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        remedy = "give the folder above the patients' folders"
        raise InvalidImage(root.name or str(root), "a folder for each patient", "no folders", remedy)
    return {folder.name: _by_name(folder, lambda name, own=folder.name: _modality(name, own)) for folder in folders}


def read_many(
    paths: Iterable[str | os.PathLike], read: Callable[[Path], Item]
) -> tuple[list[Item], list[tuple[str, str]]]:
    """What `read` makes of each path, and (file name, reason) of each file it refused.

    >>> read_many(["a.png"], lambda path: path.name)
    (['a.png'], [])

    Raises:
        InvalidImage: every file was refused, or there was none.
    """
    good, aside = [], []
    for path in map(Path, paths):
        try:
            good.append(read(path))
        except InvalidImage as error:
            aside.append((path.name, f"expected {error.expected}, found {error.found}; {error.remedy}"))
    if not good:
        found = (
            f"{len(aside)} refused: {_listed(f'{name} ({reason})' for name, reason in aside[:3])}" if aside else "none"
        )
        raise InvalidImage("the files", "at least one that can be read", found, "repair or replace them")
    return good, aside


def _files(root: Path) -> Iterable[Path]:
    def stop(error: OSError) -> None:
        raise error

    for folder, inner, names in os.walk(root, onerror=stop):
        inner[:] = [name for name in inner if not name.startswith(".")]
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _is_image(path: Path) -> bool:
    if not path.is_file() or path.name.upper().startswith("DICOMDIR"):
        return False
    return path.name.lower().endswith(SUFFIXES) or kind_of(path) in (*PICTURES, "DICOM", "NIfTI")


def _by_name(folder: Path, rename: Callable[[str], str]) -> dict[str, Path]:
    """The images of a folder by name (sub-folder and stem), each name once."""
    named = defaultdict(list)
    for path in list_images(folder):
        inner = path.parent.relative_to(folder).as_posix()
        name = rename(stem(path))
        named[name if inner == "." else f"{inner}/{name}"].append(path)
    if double := [" and ".join(path.name for path in paths) for paths in named.values() if len(paths) > 1]:
        raise InvalidImage(folder.name or str(folder), "one file for each name", _listed(double), "keep one of each")
    return {name: paths[0] for name, paths in named.items()}


def _without_ending(name: str) -> str:
    ending = next((e for e in MASK_ENDINGS if name.endswith(e)), "")
    return name.removesuffix(ending)


def _modality(name: str, patient: str) -> str:
    return name.removeprefix(patient).lstrip("_-. ") or name


def _listed(words: Iterable[str]) -> str:
    words = list(words)
    more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return ", ".join(words[:SHOWN]) + more
