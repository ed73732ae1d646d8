"""Photographs of two cameras in folders: whose is whose, the region about the disc, and what is set aside."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from workbench.data import Data, io
from workbench.data.fundus.layouts import Found, Photo, find, read_label
from workbench.data.fundus.rois import Eye, Options, assembled
from workbench.data.io.kind import hashed
from workbench.errors import InvalidImage, InvalidParameter, unknown

PHOTOGRAPH = 1 / 3  # side of the crop in shorter sides; the disc has some 2/5 of it (follow-up code: 1/4 to 1/3)
SEEN = 256  # shorter side of the image in which the disc is looked for, pixels


@dataclass
class Reading:
    """What came of the files: eyes of each split with their photographs, and those set aside with reasons."""

    eyes: dict[str, list[tuple[Photo, Eye]]] = field(default_factory=dict)
    aside: list[tuple[str, str]] = field(default_factory=list)


def load(root: str | Path, options: Options = Options()) -> Data:
    """REFUGE, Drishti-GS or ready crops: `source_set` with labels, `target_set` without, tested on its own labels.

    A set that comes in the parts train and test gives its training and its held-out images from these; any other is
    dealt by subject. A file is a subject, unless labels.csv (columns `image`, `patient`) says more. Training never
    opens a mask of the target. All images are cropped by one rule that looks at no label (see `window`). Labels of
    the source are taken for clean and corrupted as the options say. Files that cannot be used are set aside with the
    reason.

    Raises:
        InvalidParameter: source_set or target_set missing, unknown or equal.
        InvalidImage: no known layout, images and masks that do not pair (all named), or nothing usable for a split.
    """
    root = Path(root)
    reading = read(root, find(root), options)
    splits = {name: [eye for _, eye in pairs] for name, pairs in reading.eyes.items()}
    name = f"{options.source_set}-to-{options.target_set}-rho{options.rho:g}"
    return assembled(name, splits, options, reading.aside)


def read(root: Path, sets: dict[str, Found], options: Options) -> Reading:
    """The eyes of all four splits."""
    source, target = chosen(sets, options)
    check_pairs({options.source_set: source, options.target_set: target}, options)
    whose = subjects(root, [*source.photos, *target.photos])
    known = {whose[photo.image] for photo in target.photos}  # nobody is in both domains
    own = [photo for photo in source.photos if whose[photo.image] not in known]
    reading = Reading()
    for photos, first, second, name in (
        (own, "train", "valid", options.source_set),
        (target.photos, "unlabelled", "test", options.target_set),
    ):
        for split, pairs in deal(photos, whose, first, second, name, options).items():
            reading.eyes[split] = fill(split, pairs, whose, root, options, reading.aside)
    return reading


def chosen(sets: dict[str, Found], options: Options) -> tuple[Found, Found]:
    names = {"source_set": options.source_set, "target_set": options.target_set}
    for key, name in names.items():
        if not name:
            raise InvalidParameter(key, f"one of {', '.join(sorted(sets))}", "none", f"give {key}=NAME")
        if name not in sets:
            raise unknown(key, name, sets)
    if options.source_set == options.target_set:
        remedy = "choose the images of two cameras"
        raise InvalidParameter("target_set", "another set than source_set", repr(options.target_set), remedy)
    return sets[options.source_set], sets[options.target_set]


def check_pairs(sets: dict[str, Found], options: Options) -> None:
    """Every image has its mask and every mask its image; only the target's training images need none.

    Raises:
        InvalidImage: naming all that lack the other.
    """
    lacking = []
    for name, found in sets.items():
        spare = name == options.target_set
        lacking += [
            f"{name}/{photo.image.name} has no mask"
            for photo in found.photos
            if not photo.masks and not (spare and photo.part == "train")
        ]
        lacking += [f"{mask} of {name} has no image" for mask in found.lonely]
    if lacking:
        remedy = "give both files of a pair one name, or remove the single ones"
        raise InvalidImage("the sets", "a mask for every image and an image for every mask", ", ".join(lacking), remedy)


def subjects(root: Path, photos: list[Photo]) -> dict[Path, str]:
    """Whose each photograph is: by labels.csv where there is one, else each another's.

    Raises:
        InvalidImage: photographs without a row (all named).
    """
    keys = {photo.image: photo.image.relative_to(root).with_suffix("").as_posix() for photo in photos}
    if not (root / "labels.csv").is_file():
        return keys
    rows = io.read_labels(root / "labels.csv", columns=("image", "patient"))
    table = {Path(row["image"]).with_suffix("").as_posix(): row["patient"] for row in rows}
    whose = {path: table.get(key) or table.get(path.stem, "") for path, key in keys.items()}
    if lacking := [path.name for path, patient in whose.items() if not patient]:
        raise InvalidImage("labels.csv", "a row for every image", f"none for {', '.join(lacking)}", "add the rows")
    return whose


def deal(
    photos: list[Photo], whose: dict[Path, str], first: str, second: str, name: str, options: Options
) -> dict[str, list[Photo]]:
    """The photographs of a set for two splits in a shuffled order, no subject in both."""
    rng = np.random.default_rng([options.data_seed, 4, len(first)])
    photos = [photos[i] for i in rng.permutation(len(photos))]
    patients = list(dict.fromkeys(whose[photo.image] for photo in photos))
    if {photo.part for photo in photos} == {"train", "test"}:
        held = {whose[photo.image] for photo in photos if photo.part == "test"}
        later = [photo for photo in photos if photo.part == "test"]
    else:
        share = getattr(options, second) / (getattr(options, first) + getattr(options, second))
        held = set(patients[: max(1, round(share * len(patients)))])
        later = [photo for photo in photos if whose[photo.image] in held]
    sooner = [photo for photo in photos if whose[photo.image] not in held]
    if not sooner or not later:
        remedy = "give more of them, and look at labels.csv"
        raise InvalidImage(name, f"different subjects for {first} and {second}", f"{len(patients)} in all", remedy)
    return {first: sooner, second: later}


def fill(
    split: str, photos: list[Photo], whose: dict[Path, str], root: Path, options: Options, aside: list[tuple[str, str]]
) -> list[tuple[Photo, Eye]]:
    """The first photographs that can be read, as many as the split wants; what is refused is added to `aside`.

    Raises:
        InvalidImage: not one can be read.
    """
    good, refused = [], []
    for photo in photos:
        if len(good) == getattr(options, split):
            break
        try:
            good.append((photo, eye_of(photo, whose[photo.image], root, options, labelled=split != "unlabelled")))
        except InvalidImage as error:
            refused.append((photo.image.name, f"expected {error.expected}, found {error.found}; {error.remedy}"))
    aside += refused
    if not good:
        raise InvalidImage(f"the images for {split}", "one that can be used", ": ".join(refused[0]), "mend the files")
    return good


def eye_of(photo: Photo, whose: str, root: Path, options: Options, *, labelled: bool) -> Eye:
    """The region about the disc, scaled to the size asked for; its mask is opened only where `labelled`."""
    image = np.round(255 * io.read_image(photo.image, color=True)).astype(np.uint8)
    top, left, side = window(image, options.roi or (1.0 if photo.layout == "crops" else PHOTOGRAPH))
    area = np.s_[top : top + side, left : left + side]
    label = None
    if labelled:
        whole = read_label(photo, image.shape[:2])[area]
        label = sum(scaled(255 * (whole >= value).astype(np.uint8), options.size) > 127 for value in (1, 2))
        if not label.any():
            remedy = "set roi=1 or crop the images yourself"
            raise InvalidImage(photo.image.name, "the disc inside the crop", "a crop beside it", remedy)
    case, group = hashed(photo.image.relative_to(root).as_posix()), hashed(whose)
    return Eye(scaled(image[area], options.size), label if label is None else label.astype(np.int16), case, group)


def scaled(image: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def window(image: np.ndarray, part: float) -> tuple[int, int, int]:
    """Top, left and side of the square to crop, `part` of the shorter side of an image (H, W, 3), uint8.

    Centred on the spot inside the field of view that is brightest against its surroundings: where luma blurred by a
    third of a disc's diameter exceeds luma blurred four times as much. No label is used, so that both domains can be
    cropped alike. The whole of a ready crop is its central square.
    """
    height, width = image.shape[:2]
    side = max(1, round(part * min(height, width)))
    factor = max(1, min(height, width) // SEEN)
    luma = np.asarray(Image.fromarray(image).convert("L").reduce(factor), np.float32)
    seen = ndimage.binary_erosion(luma > 20, iterations=max(1, min(luma.shape) // 40))  # the rim of the field glares
    center = np.array([height, width]) / 2
    if part < 1 and seen.any():
        near, far = (blurred(luma, seen, min(luma.shape) * width) for width in (1 / 30, 4 / 30))
        spot = np.argmax(np.where(seen, near - far, -math.inf))
        center = (np.array(np.unravel_index(spot, luma.shape)) + 0.5) * factor
    top, left = (int(np.clip(round(c - side / 2), 0, n - side)) for c, n in zip(center, (height, width), strict=True))
    return top, left, side


def blurred(luma: np.ndarray, seen: np.ndarray, width: float) -> np.ndarray:
    """The mean of what is seen under a Gaussian of that standard deviation."""
    weight = ndimage.gaussian_filter(seen.astype(np.float32), width)
    return ndimage.gaussian_filter(luma * seen, width) / np.maximum(weight, 1e-6)


# ---------------------------------------------------------------- check


def check(root: str | Path, options: Options = Options()) -> Iterator[str]:
    """What `load` would make of a folder: its sets, each file's case id and split, or why it is set aside.

    Where source_set and target_set are not chosen yet, every photograph is opened with its mask.
    """
    root = Path(root)
    sets = find(root)
    for name, found in sets.items():
        masks = sum(bool(photo.masks) for photo in found.photos)
        yield f"{name}: {len(found.photos)} images, {masks} with a mask, {len(found.lonely)} masks without image"
    if options.source_set and options.target_set:
        yield from used(root, read(root, sets, options), sets, options)
        return
    for name, found in sets.items():
        for photo in found.photos:
            try:
                eye_of(photo, "", root, options, labelled=bool(photo.masks))
            except InvalidImage as error:
                yield f"set aside: {name}/{photo.image.name}: expected {error.expected}, found {error.found}"
    yield f"choose the cameras: source_set and target_set, each one of {', '.join(sorted(sets))}"


def used(root: Path, reading: Reading, sets: dict[str, Found], options: Options) -> Iterator[str]:
    paths = set()
    for split, pairs in reading.eyes.items():
        for photo, eye in pairs:
            paths.add(photo.image)
            yield f"{eye.case}  {split:<10}  {photo.image.relative_to(root)}"
    for name, reason in reading.aside:
        yield f"set aside: {name}: {reason}"
    count, bad = sum(len(sets[name].photos) for name in (options.source_set, options.target_set)), len(reading.aside)
    yield f"{len(paths)} images can be used, {bad} are set aside, {count - len(paths) - bad} are not asked for"
