"""A folder of colour images: what belongs together, what is set aside, and the slices of each file."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.data import Cases, Data, io
from workbench.data.anatomy.slices import SHOWN, Options, Slice, cases, fitted, fitted_mask, pick, stained
from workbench.data.io.kind import hashed
from workbench.errors import InvalidImage

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
    with a file left out between blocks where there are 70 or more. Files that cannot be read are set aside with the
    reason.

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


def pictured(folder: Path) -> bool:
    """Whether a folder holds more than raw planes and tables."""
    return any(path.is_file() and path.suffix not in (".raw", ".csv") for path in folder.rglob("*"))


def entries(root: Path) -> tuple[list[Entry], list[tuple[str, str]]]:
    """The images of a folder in natural order with what is known of each, and those that labels.csv does not name."""
    folder = root / "images" if (root / "images").is_dir() else root
    raw = list(folder.rglob("*.raw")) if folder.is_dir() else []
    paths = sorted([*raw, *([] if raw and not pictured(folder) else io.list_images(folder))], key=natural)
    masks = dict(io.pairs(root)) if (root / "masks").is_dir() else {}
    labels = read_table(root / "labels.csv") if (root / "labels.csv").is_file() else {}
    cryosections = all(VISIBLE_HUMAN.fullmatch(path.stem) for path in paths)
    classes = sorted({row.get("label", row.get("dx", "")) for row in labels.values()} or {""})
    found, aside = [], []
    for number, path in enumerate(paths):
        row = row_of(path, labels, folder, root) if labels else {}
        if labels and not row:
            aside.append((path.name, "expected a row in labels.csv, found none; add one or remove the file"))
            continue
        group = row.get("patient") or row.get("lesion_id") or row.get("group") or block(number, len(paths))
        if cryosections:
            region = np.eye(8)[number * 8 // len(paths)]
        else:
            region = np.eye(len(classes))[classes.index(row.get("label", row.get("dx", classes[0])))]
        found.append(Entry(path, masks.get(path), group, region))
    return found, aside


def natural(path: Path) -> list:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", str(path))]


def block(number: int, count: int) -> str:
    """The contiguous block of about a twentieth that a file belongs to.

    In blocks of four or more the last file is a gap to the next block: it belongs to none.
    """
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
    found, aside = entries(root)
    while True:
        splits = deal([entry for entry in found if entry.group], options, aside)
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
            remedy = "train on colour images; `workbench predict` then colorizes grey ones"
            raise InvalidImage(entry.path.name, "a colour image", "a grey image", remedy)
        color, _ = fitted(page, options.size)
        if entry.mask:
            foreground = fitted_mask(foreground_of(entry.mask, page.shape[:2]), options.size)
        else:
            foreground = stained(color) & fitted_mask(np.ones(page.shape[:2], bool), options.size)
        if not foreground.any():
            found = "an empty mask" if entry.mask else "nothing that differs from the border"
            raise InvalidImage(entry.path.name, "a foreground", found, "give a mask in masks/ or leave the image out")
        identity = hashed(f"{entry.path.relative_to(root)}#{number}")
        group = hashed(entry.group)
        yield Slice(color, foreground, entry.region, identity, group)


def foreground_of(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool from a mask file: more than half white in a grey picture, else labels above 0.

    A palette of greys is read as the picture that it shows, whatever the order of its entries.
    """
    labels, shown = io.read_mask(path, shape), io.read_image(path)
    grey = shown if shown.ndim == 2 else shown[..., 0] if not np.ptp(shown, axis=-1).any() else None
    return grey > 0.5 if grey is not None and grey.max() > 0.5 else labels > 0


def raw_planes(path: Path) -> np.ndarray:
    expected = int(np.prod(RAW))
    if path.stat().st_size != expected:
        found = f"{path.stat().st_size} bytes"
        raise InvalidImage(path.name, f"{expected} bytes (3 planes of 1216 x 2048)", found, "convert it to PNG")
    return np.fromfile(path, np.uint8).reshape(RAW).transpose(1, 2, 0).astype(np.float32) / 255


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
    used = {entry.path for chosen in splits.values() for entry, _ in chosen}
    names = {name for name, _ in aside}
    for entry in entries(root)[0]:
        if entry.path not in used and entry.path.name not in names:
            why = "beyond the counts asked for" if entry.group else "a gap between blocks of neighbours"
            yield f"not used: {entry.path.relative_to(root)}: {why}"
    for name, reason in aside:
        yield f"set aside: {name}: {reason}"
    yield f"{count} colour images can be used, {len(aside)} files are set aside"
