"""How REFUGE, Drishti-GS and BEAL's crops lie in folders, and what the values of their masks mean."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.data import io
from workbench.errors import InvalidImage

REFUGE = {  # folder of photographs -> folder of masks, as the challenge names them
    "Training400": "Annotation-Training400",  # Zeiss
    "REFUGE-Validation400": "REFUGE-Validation400-GT",  # Canon
    "REFUGE-Test400": "REFUGE-Test-GT",  # Canon
    "Test400": "REFUGE-Test-GT",  # the same, as the archive unpacks
}
CODES = {255: 0, 128: 1, 0: 2}  # REFUGE: background, rim, cup
PARTS = {"Training": "GT", "Test": "Test_GT"}  # Drishti-GS: folder of a part -> folder of its soft maps
SOFT = ("ODsegSoftmap", "cupsegSoftmap")
HALF = 127.5  # of 255: a pixel belongs where more than half of the four experts say so


@dataclass(frozen=True)
class Photo:
    """An image file, the files of its mask (none where there is none), its part (train, test or "") and its layout."""

    image: Path
    masks: tuple[Path, ...]
    part: str
    layout: str


@dataclass(frozen=True)
class Found:
    """The photographs of one set, and which of its masks have no image."""

    photos: list[Photo]
    lonely: list[str]


def find(root: Path) -> dict[str, Found]:
    """The sets of images below a folder by name, from every layout that is recognised.

    Raises:
        InvalidImage: no such folder, or none of the layouts in it.
    """
    if not root.is_dir():
        raise InvalidImage(root.name or str(root), "a folder", "none of that name", "check the path")
    sets = dict(refuge(root)) | dict(drishti(root)) | dict(crops(root))
    if not sets:
        expected = (
            "REFUGE (Training400, Annotation-Training400, ...), Drishti-GS (Training/Images, Training/GT) or crops"
        )
        remedy = "give the folder above the sets; crops of your own go to <set>/{train,test}/{image,mask}/X.png"
        raise InvalidImage(root.name, expected, "none of these", remedy)
    return sets


def refuge(root: Path) -> Iterator[tuple[str, Found]]:
    """Photographs in <set>/[Glaucoma/] with <masks>/Disc_Cup_Masks/[Glaucoma/]X.bmp, at any depth below the root."""
    for name, masks in REFUGE.items():
        folder, truth = below(root, name), below(root, masks)
        if folder is not None:
            places = sorted(truth.rglob("Disc_Cup_Masks")) if truth else []
            found = {io.kind.stem(path): (path,) for place in places for path in io.list_images(place)}
            yield name, paired(io.list_images(folder), found, "", "refuge")


def drishti(root: Path) -> Iterator[tuple[str, Found]]:
    """Photographs in Training/Images and Test/Images with GT/X/SoftMap/X_ODsegSoftmap.png and X_cupsegSoftmap.png.

    The average boundaries that come along are not read: soft maps hold the same experts' outlines.
    """
    photos, lonely = [], []
    for part, masks in PARTS.items():
        for folder in sorted(path for path in root.rglob("Images") if path.parent.name == part):
            maps = {}
            for path in sorted((folder.parent / masks).glob(f"*/SoftMap/*_{SOFT[0]}.png")):
                stem = path.name.removesuffix(f"_{SOFT[0]}.png")
                cup = path.with_name(f"{stem}_{SOFT[1]}.png")
                maps[stem] = (path, cup) if cup.is_file() else ()
            found = paired(io.list_images(folder), maps, {"Training": "train", "Test": "test"}[part], "drishti")
            photos, lonely = photos + found.photos, lonely + found.lonely
    if photos:
        yield "Drishti-GS", Found(photos, lonely)


def crops(root: Path) -> Iterator[tuple[str, Found]]:
    """Regions cut out already: <set>/{train,test}/image/X.png with mask/X.png."""
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        photos, lonely = [], []
        for part in ("train", "test"):
            if (folder / part / "image").is_dir():
                masks = folder / part / "mask"
                files = io.list_images(masks) if masks.is_dir() and any(masks.iterdir()) else []
                named = {io.kind.stem(path): (path,) for path in files}
                found = paired(io.list_images(folder / part / "image"), named, part, "crops")
                photos, lonely = photos + found.photos, lonely + found.lonely
        if photos:
            yield folder.name, Found(photos, lonely)


def below(root: Path, name: str) -> Path | None:
    """The uppermost folder of that name in or below the root."""
    folders = [path for path in (root, *root.rglob(name)) if path.name == name and path.is_dir()]
    return min(folders, key=lambda path: (len(path.parts), path), default=None)


def paired(images: list[Path], masks: dict[str, tuple[Path, ...]], part: str, layout: str) -> Found:
    names = {io.kind.stem(path) for path in images}
    photos = [Photo(path, masks.get(io.kind.stem(path), ()), part, layout) for path in images]
    return Found(photos, sorted(files[0].name for stem, files in masks.items() if files and stem not in names))


# ---------------------------------------------------------------- masks


def read_label(photo: Photo, shape: tuple[int, int]) -> np.ndarray:
    """The label map (H, W) int16 of a photograph: 0 background, 1 rim, 2 cup.

    Raises:
        InvalidImage: another size than the image's, values that mean nothing (with their counts), or not all of
            background, rim and cup in it.
    """
    maps = [io.read_mask(path, shape) for path in photo.masks]
    name = photo.masks[0].name
    if photo.layout == "drishti":
        disc, cup = (soft > HALF for soft in maps)
        label = (disc | cup).astype(np.int16) + cup
    elif photo.layout == "refuge":
        label = coded(maps[0], name)
    else:
        label = ranged(maps[0], name)
    present = set(np.unique(label).tolist())
    if not present & {1, 2}:
        raise InvalidImage(name, "a disc", "an empty mask", "draw it, or leave the image out")
    if present != {0, 1, 2}:
        found = "only " + " and ".join(("background", "rim", "cup")[value] for value in sorted(present))
        raise InvalidImage(name, "background, rim and cup", found, "check how the mask was exported")
    return label


def coded(mask: np.ndarray, name: str) -> np.ndarray:
    """REFUGE: 0 cup, 128 rim, 255 background, nothing else."""
    strange = unmapped(mask, tuple(CODES))
    if strange:
        remedy = "export masks without smoothing, compression or resizing"
        raise InvalidImage(name, "the values 0 (cup), 128 (rim) and 255 (background)", strange, remedy)
    table = np.zeros(256, np.int16)
    table[list(CODES)] = list(CODES.values())
    return table[mask]


def ranged(mask: np.ndarray, name: str) -> np.ndarray:
    """BEAL: up to 50 cup, 51 to 200 rim, above background."""
    strange = unmapped(mask, tuple(range(256)))
    if strange:
        raise InvalidImage(name, "values from 0 to 255", strange, "export it as 8-bit grey")
    return np.digitize(mask, [200.5, 50.5]).astype(np.int16)


def unmapped(mask: np.ndarray, known: tuple[int, ...]) -> str:
    """The values of a mask that are not known, each with its count; no more than eight of them."""
    values, counts = np.unique(mask, return_counts=True)
    strange = [f"{v} in {n} pixels" for v, n in zip(values, counts, strict=True) if v not in known]
    return ", ".join(strange[:8]) + (f" and {len(strange) - 8} values more" if len(strange) > 8 else "")
