"""Colour anatomy: grey image in, colour image out, with a foreground and a background painted black or white.

`phantom()` draws bodies whose organs come in pairs of equal grey and different colour, told apart by texture or by
position; `samples()` cuts blocks from the colour medical images that scikit-image carries; `load(root)` reads a
folder of colour images. All three return `Data` whose batches hold

    image       (B, 1, H, W)  the grey input: Rec. 601 luma of the target, in [0, 1]
    target      (B, 3, H, W)  sRGB, in [0, 1]
    foreground  (B, 1, H, W)  1 inside the body, for scoring
    pseudo      (B, 1, H, W)  the foreground guessed from the colours alone, for training
    white       (B,)          1 where the background was painted white, 0 where black
    region      (B, K)        shares of K tissue or region classes, summing to 1 (ChromaGAN's class term)
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from scipy import ndimage

from workbench.config import Config, Count, Natural, Side
from workbench.data import Cases, Data, io
from workbench.errors import InvalidImage

LUMA = np.array([0.299, 0.587, 0.114])  # Rec. 601
SHOWN = ("image", "target", "foreground")


@dataclass(frozen=True)
class Options(Config):
    source: Literal["phantom", "samples"] = "phantom"  # what to use where no root is given
    root: str = ""  # a folder of colour images of your own: images/ with masks/ and labels.csv if present
    size: Side = 64  # side of the square images, pixels
    train: Count = 96  # images to train on (card: tiny preset)
    test: Count = 24  # images to test on, each on black and on white (card: tiny preset)
    valid: Count = 12  # images for choosing settings, apart from both (inferred)
    background: Literal["both", "black", "white", "keep"] = "both"  # what is painted outside the foreground
    data_seed: Natural = 0  # which phantoms are drawn; how a folder is split


@dataclass
class Slice:
    """One colour image (H, W, 3) in [0, 1], its foreground (H, W) bool, class shares (K,), and its group."""

    color: np.ndarray
    foreground: np.ndarray
    region: np.ndarray
    case: str
    group: str


# ---------------------------------------------------------------- phantom

# Three pairs of organs. Both of a pair have the same luma and the offsets have none, so that grey tells nothing.
PAIRS = (
    # luma, offset of one, offset of the other, how they are told apart
    (0.38, (0.26, -0.12, -0.06), (-0.10, -0.03, 0.42), "texture"),
    (0.52, (0.30, -0.17, 0.09), (-0.22, 0.13, -0.09), "texture"),
    (0.66, (0.18, -0.02, -0.37), (-0.16, 0.02, 0.32), "side"),
)
MUSCLE = (0.45, (0.12, -0.05, -0.06))
CLASSES = 2 * len(PAIRS) + 1


def phantom(options: Options = Options()) -> Data:
    """Bodies with 3 to 5 organs, on black or white with clutter; no two cases share their random numbers."""
    counts = {"train": options.train, "valid": options.valid, "test": options.test}
    splits = {}
    for number, (name, count) in enumerate(counts.items()):
        rngs = [np.random.default_rng([options.data_seed, number, item]) for item in range(count)]
        slices = [body(rng, options.size, f"{name}-{item:04d}") for item, rng in enumerate(rngs)]
        splits[name] = cases(slices, options, every=name != "train", clutter=True)
    return Data("phantom", **splits, spec={"size": options.size, "regions": CLASSES}, shown=SHOWN)


def body(rng: np.random.Generator, size: int, case: str) -> Slice:
    """One phantom: an ellipse of muscle with organs, each pixel coloured as its class says."""
    classes = np.full((size, size), -1)
    outline = blob(rng, size, center=rng.uniform(0.45, 0.55, 2), radii=rng.uniform(0.30, 0.40, 2))
    classes[outline] = CLASSES - 1
    kinds = rng.permutation(CLASSES - 1)[: rng.integers(3, 6)]
    for kind in kinds:
        classes[organ(rng, size, kind) & ndimage.binary_erosion(outline, iterations=max(1, size // 32))] = kind
    color = np.zeros((size, size, 3))
    for kind in np.unique(classes[outline]):
        color[classes == kind] = paint(rng, size, int(kind))[classes == kind]
    region = np.bincount(classes[outline], minlength=CLASSES) / outline.sum()
    return Slice(np.clip(color, 0, 1), outline, region, case, case)


def organ(rng: np.random.Generator, size: int, kind: int) -> np.ndarray:
    """The outline of an organ; the members of a pair told apart by side keep to their side of the body."""
    center = rng.uniform(0.30, 0.70, 2)
    if PAIRS[kind // 2][3] == "side":
        center[1] = rng.uniform(0.27, 0.41) if kind % 2 == 0 else rng.uniform(0.59, 0.73)
    return blob(rng, size, center=center, radii=rng.uniform(0.09, 0.16, 2))


def blob(rng: np.random.Generator, size: int, *, center: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """(H, W) bool: an ellipse with a wavy outline; center and radii are in parts of the side."""
    y, x = np.mgrid[:size, :size] / size
    dy, dx = (y - center[0]) / radii[0], (x - center[1]) / radii[1]
    angle, waves = np.arctan2(dy, dx), np.zeros((size, size))
    for frequency in (2, 3, 4):
        waves += rng.uniform(0, 0.07) * np.cos(frequency * angle + rng.uniform(0, 2 * np.pi))
    return np.hypot(dy, dx) < 1 + waves


def paint(rng: np.random.Generator, size: int, kind: int) -> np.ndarray:
    """(H, W, 3): the colour of a class with its texture; texture and noise change the luma only, never the offset."""
    luma, *offsets, cue = (*MUSCLE, "none") if kind == CLASSES - 1 else PAIRS[kind // 2]
    offset = np.array(offsets[kind % 2 if len(offsets) > 1 else 0])
    offset = offset - offset @ LUMA  # a step along grey (1, 1, 1) takes away what is left of its luma
    grey = luma + 0.015 * rng.standard_normal((size, size))
    if cue == "texture":
        grey += 0.06 * (stripes(rng, size) if kind % 2 == 0 else speckle(rng, size))
    return grey[..., None] + offset


def stripes(rng: np.random.Generator, size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    angle = rng.uniform(0, np.pi)
    return np.sqrt(2) * np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / 5 + rng.uniform(0, 2 * np.pi))


def speckle(rng: np.random.Generator, size: int) -> np.ndarray:
    noise = ndimage.gaussian_filter(rng.standard_normal((size, size)), 1.2)
    return noise / noise.std()


def add_clutter(rng: np.random.Generator, image: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """The image with a neutral tray and specks of dust painted into its background."""
    size, out = len(image), image.copy()
    background, outside = ~foreground, ~ndimage.binary_dilation(foreground, iterations=2)
    row, left, right = rng.uniform(0.88, 0.93), *rng.uniform((0.1, 0.7), (0.3, 0.9))
    tray = np.zeros_like(foreground)
    tray[int(row * size) : int(row * size) + max(2, size // 32), int(left * size) : int(right * size)] = True
    out[tray & outside] = rng.uniform(0.35, 0.65)
    out[(rng.random(foreground.shape) < 0.01) & outside] = rng.uniform(0.3, 0.7)
    noise = 0.02 * np.abs(rng.standard_normal(foreground.shape))[..., None]
    return np.where(background[..., None], np.abs(out - noise), out)


# ---------------------------------------------------------------- bundled samples


def samples(options: Options = Options()) -> Data:
    """Blocks of scikit-image's `retina.jpg` (fundus) and `ihc.png` (stained colon): real colours, no download.

    Each image is cut into a left part to train on, a middle strip to choose settings on and a right part to test on,
    with a gap of half a block between them. Tissue fills nearly every block, so each is trimmed by a smooth random
    outline, as an organ would be: that outline and the tissue together are the foreground, and everything else is
    background.
    """
    from skimage import data, transform

    splits: dict[str, list[Slice]] = {"train": [], "valid": [], "test": []}
    for number, (name, picture, scale) in enumerate(
        (("retina", data.retina(), 0.5), ("ihc", data.immunohistochemistry(), 1.0))
    ):
        scale = scale * options.size / 64
        shape = (round(picture.shape[0] * scale), round(picture.shape[1] * scale))
        picture = transform.resize(picture, (*shape, 3), anti_aliasing=True)
        for split, area in strips(picture, options.size).items():
            splits[split] += list(blocks(area, options, name, number, split))
    wanted = {"train": options.train, "valid": options.valid, "test": options.test}
    made = {name: cases(pick(splits[name], wanted[name]), options, every=name != "train") for name in wanted}
    return Data("samples", **made, spec={"size": options.size, "regions": 2}, shown=SHOWN)


def strips(picture: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """Left, middle and right parts of a picture, with half a block left out between neighbours."""
    width, gap = picture.shape[1], size // 2
    first, second = round(0.55 * width), round(0.55 * width) + round(1.25 * size) + gap
    parts = {"train": (0, first - gap), "valid": (first, second - gap), "test": (second, width)}
    return {name: picture[:, start:stop] for name, (start, stop) in parts.items()}


def blocks(area: np.ndarray, options: Options, name: str, number: int, split: str) -> Iterator[Slice]:
    """The blocks of one part that hold tissue, half overlapping for training and apart for testing."""
    size, step = options.size, options.size // (1 if split == "test" else 2)
    tissue = np.abs(area - border_color(area, name)).max(-1) > 0.12
    tissue = ndimage.binary_erosion(ndimage.binary_closing(tissue, iterations=2), iterations=3)
    for y in range(0, area.shape[0] - size + 1, step):
        for x in range(0, area.shape[1] - size + 1, step):
            window = np.s_[y : y + size, x : x + size]
            rng = np.random.default_rng([options.data_seed, number, y, x, len(split)])
            outline = blob(rng, size, center=rng.uniform(0.45, 0.55, 2), radii=rng.uniform(0.34, 0.44, 2))
            foreground = ndimage.binary_opening(outline & tissue[window], iterations=1)
            if foreground.mean() > 0.25:
                case = f"{name}-{split}-{y:04d}-{x:04d}"
                yield Slice(area[window], foreground, np.eye(2)[number], case, case)


def border_color(area: np.ndarray, name: str) -> np.ndarray:
    """The colour of no tissue: black around a fundus, the glass of a slide (the brightest pixels)."""
    return np.zeros(3) if name == "retina" else np.quantile(area.reshape(-1, 3), 0.98, axis=0)


def pick(slices: list[Slice], count: int) -> list[Slice]:
    """`count` slices spread evenly over those at hand; all of them where there are fewer."""
    return [slices[i] for i in np.linspace(0, len(slices) - 1, min(count, len(slices))).round().astype(int)]


# ---------------------------------------------------------------- a folder

VISIBLE_HUMAN = re.compile(r"(a_)?a?v[mf]\d{4}[a-z]?")  # a_vm1234.raw, avf1432a.png: cryosections, 1 mm or 1/3 mm apart
RAW = (3, 1216, 2048)  # colour planes of a raw cryosection


@dataclass(frozen=True)
class Entry:
    """One file, its mask, the group that must stay in one split, and its class shares."""

    path: Path
    mask: Path | None
    group: str
    region: np.ndarray


def load(root: str | Path, options: Options = Options()) -> Data:
    """Colour images below a folder: PNG, JPEG, TIFF, DICOM, several pages too, and raw planes of the Visible Human.

    Each is fitted into a square. `images/` with `masks/` (same stems) gives the foreground; otherwise it is told from
    the colour of the border. A `labels.csv` names groups that stay together (`patient`, `lesion_id` or `group`) and
    classes (`label` or `dx`). Without it, files in the order of their names are kept together in contiguous blocks,
    neighbouring blocks one file apart. Files that cannot be read are set aside with the reason.

    Raises:
        InvalidImage: no folder, no readable colour image, or too few for three splits.
    """
    root = Path(root)
    splits, aside = readable(root, options)
    made = {}
    for name, chosen in splits.items():
        made[name] = cases([one for _, pages in chosen for one in pages], options, every=name != "train")
    return Data(
        root.name, **made, spec={"size": options.size, "regions": regions_of(made["train"])}, shown=SHOWN, aside=aside
    )


def regions_of(part: Cases) -> int:
    return part.tensors["region"].shape[1]


def entries(root: Path) -> list[Entry]:
    """The images of a folder in natural order with what is known of each."""
    folder = root / "images" if (root / "images").is_dir() else root
    raw = sorted(folder.rglob("*.raw")) if folder.is_dir() else []
    paths = sorted(raw or io.list_images(folder), key=natural)
    masks = dict(io.pairs(root)) if (root / "masks").is_dir() else {}
    labels = read_table(root / "labels.csv") if (root / "labels.csv").is_file() else {}
    cryosections = all(VISIBLE_HUMAN.fullmatch(path.stem) for path in paths)
    classes = sorted({row.get("label", row.get("dx", "")) for row in labels.values()} or {""})
    found = []
    for number, path in enumerate(paths):
        row = row_of(path, labels, folder, root) if labels else {}
        group = row.get("patient") or row.get("lesion_id") or row.get("group") or block(number, len(paths))
        if cryosections:
            region = np.eye(8)[number * 8 // len(paths)]
        else:
            region = np.eye(len(classes))[classes.index(row.get("label", row.get("dx", classes[0])))]
        found.append(Entry(path, masks.get(path), group, region))
    return [entry for entry in found if entry.group]


def natural(path: Path) -> list:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", str(path))]


def block(number: int, count: int) -> str:
    """The contiguous block of about a twentieth that a file belongs to; the last of a block is left out as a gap."""
    length = max(1, round(count / 20))
    return "" if length > 3 and number % length == length - 1 else f"block-{number // length:04d}"


def read_table(path: Path) -> dict[str, dict[str, str]]:
    """labels.csv by the image's path without extension, and by its bare name where no other row has that.

    The image's column is `file`, `image_id` or `image`.
    """
    rows = io.read_labels(path, columns=())
    key = next((name for name in ("file", "image_id", "image") if rows and name in rows[0]), None)
    if key is None:
        found = ", ".join(rows[0]) if rows else "no rows"
        raise InvalidImage(path.name, "a column file, image_id or image", found, "name the column of the images")
    named = [(bare(Path(row[key])), row) for row in rows]
    counts = Counter(path.name for path, _ in named)
    short = {path.name: row for path, row in named if counts[path.name] == 1}
    return short | {path.as_posix(): row for path, row in named}


def row_of(path: Path, labels: dict[str, dict[str, str]], *folders: Path) -> dict[str, str]:
    """The row of an image: by its path below one of the folders, else by its name; an empty one where there is none."""
    keys = [bare(path.relative_to(folder)).as_posix() for folder in folders] + [bare(path).name]
    return next((labels[key] for key in keys if key in labels), {})


def bare(path: Path) -> Path:
    """A path without the extension of an image; the dots of DICOM identifiers stay."""
    return path.parent / io.kind.stem(path).removesuffix(".raw")


def readable(root: Path, options: Options) -> tuple[dict[str, list[tuple[Entry, list[Slice]]]], list[tuple[str, str]]]:
    """The files of each split with their slices, and those set aside; dealt anew where a split would lose all files."""
    found, aside = entries(root), []
    while True:
        splits = deal(found, options, aside)
        known = {entry.path: entry for chosen in splits.values() for entry in chosen}
        pages, bad = io.read_many(known, lambda path, known=known: (path, list(slices_of(known[path], root, options))))
        read, aside = dict(pages), aside + bad
        kept = {name: [(e, read[e.path]) for e in chosen if e.path in read] for name, chosen in splits.items()}
        if all(kept.values()):
            return kept, aside
        found = [entry for entry in found if entry.path in read or entry.path not in known]


def deal(found: list[Entry], options: Options, aside: Sequence[tuple[str, str]] = ()) -> dict[str, list[Entry]]:
    """Whole groups dealt to train, valid and test in proportion to the counts asked for, then so many of each."""
    wanted = {"test": options.test, "train": options.train, "valid": options.valid}
    groups = sorted({entry.group for entry in found})
    if len(groups) < 3:
        remedy = "give a folder with at least 3 images of different patients; ten or more make sense"
        refused = "".join(f", and {name} that cannot be read ({reason})" for name, reason in aside[:1])
        counts = f"{len(found)} in {len(groups)}{refused}"
        raise InvalidImage("the folder", "at least 3 groups of images", counts, remedy)
    order = np.random.default_rng(options.data_seed).permutation(len(groups))
    edges = np.cumsum([0, *wanted.values()]) / sum(wanted.values()) * len(groups)
    ranks = np.arange(4)  # every split gets a group, however uneven the counts
    edges = np.maximum.accumulate(np.round(edges).astype(int) - ranks) + ranks
    edges = np.minimum(edges, len(groups) - ranks[::-1])
    splits = {}
    for name, first, last in zip(wanted, edges, edges[1:], strict=False):
        chosen = {groups[i] for i in order[first:last]}
        splits[name] = pick([entry for entry in found if entry.group in chosen], max(1, wanted[name]))
    return splits


def slices_of(entry: Entry, root: Path, options: Options) -> Iterator[Slice]:
    """The pages of one file as squares with their foregrounds."""
    pages = [raw_planes(entry.path)] if entry.path.suffix == ".raw" else io.read_pages(entry.path)
    for number, page in enumerate(pages):
        if page.ndim == 2 or np.ptp(page, axis=-1).max() < 3 / 255:
            remedy = (
                "the target must have colours; to colorize grey images train on colour ones and use `workbench predict`"
            )
            raise InvalidImage(entry.path.name, "a colour image", "a grey image", remedy)
        color, _ = fitted(page, options.size)
        if entry.mask:
            foreground = fitted_mask(foreground_of(entry.mask, page.shape[:2]), options.size)
        else:
            foreground = stained(color) & fitted_mask(np.ones(page.shape[:2], bool), options.size)
        if not foreground.any():
            raise InvalidImage(
                entry.path.name, "a foreground", "an empty mask", "correct its mask or leave the image out"
            )
        identity = hashlib.sha256(f"{entry.path.relative_to(root)}#{number}".encode()).hexdigest()[:10]
        group = hashlib.sha256(entry.group.encode()).hexdigest()[:10]
        yield Slice(color, foreground, entry.region, identity, group)


def foreground_of(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool from a mask file: the white of a black-and-white picture, grey palettes too, or labels above 0."""
    labels, shown = io.read_mask(path, shape), io.read_image(path)
    grey = shown if shown.ndim == 2 else shown[..., 0] if not np.ptp(shown, axis=-1).any() else None
    return grey > 0.5 if grey is not None and grey.max() > 0.5 else labels > 0


def raw_planes(path: Path) -> np.ndarray:
    expected = int(np.prod(RAW))
    if path.stat().st_size != expected:
        found = f"{path.stat().st_size} bytes"
        raise InvalidImage(path.name, f"{expected} bytes (3 planes of 1216 x 2048)", found, "convert it to PNG")
    return np.fromfile(path, np.uint8).reshape(RAW).transpose(1, 2, 0).astype(np.float32) / 255


def fitted(image: np.ndarray, size: int) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """(H, W, C) scaled so that the longer side is `size`, centred on a square that continues the border's colour.

    Also returns where the image lies in it: top, left, height, width.
    """
    height, width = (max(1, round(side * size / max(image.shape[:2]))) for side in image.shape[:2])
    planes = torch.from_numpy(np.ascontiguousarray(image, np.float32)).permute(2, 0, 1)[None]
    small = torch.nn.functional.interpolate(planes, (height, width), mode="bilinear", antialias=True)
    small = small[0].permute(1, 2, 0).clamp(0, 1).numpy()
    top, left = (size - height) // 2, (size - width) // 2
    out = np.empty((size, size, image.shape[2]), np.float32)
    out[:] = border(small)
    out[top : top + height, left : left + width] = small
    return out, (top, left, height, width)


def fitted_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """(H, W) bool, fitted as its image is; outside it is background."""
    grown, (top, left, height, width) = fitted(mask[..., None].astype(np.float32), size)
    inside = np.zeros((size, size), bool)
    window = np.s_[top : top + height, left : left + width]
    inside[window] = grown[window][..., 0] > 0.5
    return inside


def check(root: str | Path, options: Options = Options()) -> Iterator[str]:
    """What `load` would make of a folder: each file's case id, split and group, or why it is set aside."""
    root = Path(root)
    splits, aside = readable(root, options)
    count = 0
    for name, chosen in splits.items():
        for entry, pages in chosen:
            for one in pages:
                count += 1
                yield f"{one.case}  {name:<5}  {entry.group:<24}  {entry.path.relative_to(root)}"
    for name, reason in aside:
        yield f"set aside: {name}: {reason}"
    yield f"{count} colour images can be used, {len(aside)} files are set aside"


# ---------------------------------------------------------------- foreground, background, cases


def border(color: np.ndarray) -> np.ndarray:
    """The median colour of the outermost pixels."""
    return np.median(np.concatenate([color[0], color[-1], color[:, 0], color[:, -1]]), axis=0)


def stained(color: np.ndarray) -> np.ndarray:
    """(H, W) bool: tissue told from background by Otsu's threshold (inferred).

    Where the border is light (a slide, skin) tissue is what absorbs, by its darkest channel; where it is dark (a
    fundus, a cryosection in its block) tissue is what differs from the border's colour. Holes under 1 % of the image
    are filled.
    """
    from skimage.filters import threshold_otsu
    from skimage.morphology import remove_small_holes

    light = border(color) @ LUMA > 0.5
    signal = 1 - color.min(-1) if light else np.abs(color - border(color)).max(-1)
    tissue = ndimage.binary_opening(signal > threshold_otsu(signal), iterations=1)
    return remove_small_holes(tissue, max_size=tissue.size // 100)


def pseudo_foreground(color: np.ndarray, threshold: float = 0.1, one_body: bool = False) -> np.ndarray:
    """(H, W) bool: what is not background, told from the colour image alone (card, section 4: threshold).

    A pixel counts where any channel is further than `threshold` from the border's colour. For `one_body` among clutter,
    specks and parts smaller than a quarter of the largest (trays, dust) are dropped and holes filled.
    """
    differs = np.abs(color - border(color)).max(-1) > threshold
    if not one_body:
        return differs
    parts, _ = ndimage.label(ndimage.binary_opening(differs))
    areas = np.bincount(parts.ravel(), minlength=2)[1:]
    keep = 1 + np.flatnonzero(areas >= max(areas.max() / 4, 1))
    return ndimage.binary_fill_holes(np.isin(parts, keep))


def cases(slices: list[Slice], options: Options, *, every: bool, clutter: bool = False) -> Cases:
    """The slices with their backgrounds painted: `every` one on black and on white, otherwise by turns."""
    shown = [(one, white) for n, one in enumerate(slices) for white in backgrounds(options.background, n, every)]
    keys = ("image", "target", "foreground", "pseudo")
    stacks: dict[str, list[np.ndarray]] = {key: [] for key in keys}
    for one, white in shown:
        color = one.color if white is None else painted(one, white, clutter)
        target = np.round(color * 255).astype(np.uint8)
        stacks["target"].append(target.transpose(2, 0, 1))
        stacks["image"].append(np.round(target @ LUMA).astype(np.uint8)[None])
        stacks["foreground"].append(one.foreground[None].astype(np.uint8) * 255)
        pseudo = pseudo_foreground(target / 255, one_body=clutter)
        stacks["pseudo"].append(pseudo[None].astype(np.uint8) * 255)
    tensors = {key: torch.from_numpy(np.stack(stack)) for key, stack in stacks.items()}
    names = {True: "white", False: "black", None: "kept"}
    table = {
        "case": [f"{one.case}-{names[white]}" for one, white in shown],
        "group": [one.group for one, _ in shown],
        "background": [names[white] for _, white in shown],
    }
    tensors["white"] = torch.tensor([bool(white) for _, white in shown])
    tensors["region"] = torch.from_numpy(np.stack([one.region for one, _ in shown])).float()
    return Cases(tensors, table)


def backgrounds(which: str, number: int, every: bool) -> list[bool | None]:
    if which == "both":
        return [False, True] if every else [number % 2 == 1]
    return {"black": [False], "white": [True], "keep": [None]}[which]


def painted(one: Slice, white: bool, clutter: bool) -> np.ndarray:
    color = np.where(one.foreground[..., None], one.color, float(white))
    if clutter:
        seed = int.from_bytes(hashlib.sha256(one.case.encode()).digest()[:4])
        color = add_clutter(np.random.default_rng([seed, white]), color, one.foreground)
    return np.clip(color, 0, 1)
