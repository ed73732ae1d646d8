"""How CVC-ClinicDB, ETIS-Larib, CamVid, folders of frames and video files lie in folders, and what is of one video."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from workbench.data import io
from workbench.errors import InvalidImage

POLYP = {"polyp": (1,)}
CAMVID = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
CLOUDY = ("0001TP",)  # of CamVid's sequences; the others are sunny (inferred)
BLOCK = 30  # frames of CamVid that are taken for one video, as its cloudy part is a single sequence
MOVIES = (".mp4", ".avi", ".mov", ".mkv", ".mpg", ".mpeg", ".wmv", ".webm")
PARTS = {"Original": "Ground Truth", "images": "masks"}  # folders of frames and of masks: CVC-ClinicDB, ETIS-Larib
LIKE = 0.7  # least correlation of thumbnails of neighbouring frames of one shot (inferred)


@dataclass(frozen=True)
class Frame:
    """A picture, its mask where there is one, and its number in the file's name (-1 where it has none)."""

    image: Path
    mask: Path | None = None
    number: int = -1


@dataclass(frozen=True)
class Video:
    """The frames of one video in order, or the one file that holds them all."""

    name: str
    frames: tuple[Frame, ...] = ()
    movie: Path | None = None

    @property
    def paths(self) -> list[Path]:
        return [self.movie] if self.movie else [frame.image for frame in self.frames]


@dataclass(frozen=True)
class Found:
    """The videos of one centre, the classes of their masks, and what does not pair."""

    videos: list[Video]
    labels: dict[str, tuple[int, ...]] = field(default_factory=lambda: dict(POLYP))
    lacking: tuple[str, ...] = ()

    @property
    def labelled(self) -> bool:
        return any(frame.mask for video in self.videos for frame in video.frames)


def find(root: Path, sequences: str = "table") -> dict[str, Found]:
    """The centres below a folder by name: each folder in it, or it alone, in any layout that is recognised.

    Raises:
        InvalidImage: no such folder, none of the layouts, or frames of which nothing tells the video.
    """
    if not root.is_dir():
        raise InvalidImage(root.name or str(root), "a folder", "none of that name", "check the path")
    if (root / "train").is_dir() and (root / "trainannot").is_dir():
        return camvid(root)
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    found = {folder.name: centre(folder, sequences) for folder in folders}
    found = {name: one for name, one in found.items() if one is not None}
    if not found:
        expected = "a folder for each centre, with Original and Ground Truth, images and masks, frame folders or videos"
        remedy = "lay them out as <centre>/images/<video>/0001.png with <centre>/masks/<video>/0001.png"
        raise InvalidImage(root.name, expected, "none of these", remedy)
    return found


def centre(folder: Path, sequences: str) -> Found | None:
    """What one folder holds, or None where it is none of the layouts."""
    for place in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        for images, masks in PARTS.items():
            if (place / images).is_dir():
                return paired(folder, place / images, place / masks, sequences)
    movies = sorted(path for path in folder.iterdir() if path.suffix.lower() in MOVIES)
    folders = {path.name: frames_of(path) for path in sorted(folder.iterdir()) if path.is_dir()}
    videos = [Video(name, tuple(frames)) for name, frames in folders.items() if frames]
    videos += [Video(path.stem, movie=path) for path in movies]
    return Found(videos) if videos else None


def paired(folder: Path, images: Path, masks: Path, sequences: str) -> Found:
    """Frames in `images`, in a folder a video or all in one, with masks of the same names."""
    truth = {key_of(path, masks): path for path in io.list_images(masks)} if masks.is_dir() else {}
    frames, keys = defaultdict(list), set()
    for frame in frames_of(images, deep=True):
        key = key_of(frame.image, images)
        keys.add(key)
        whose = frame.image.parent.relative_to(images).as_posix()
        frames[whose].append(Frame(frame.image, truth.get(key), frame.number))
    lacking = [f"{key} has no mask" for key in sorted(keys - truth.keys())] if truth else []
    lacking += [f"mask {key} has no frame" for key in sorted(truth.keys() - keys)]
    loose = frames.pop(".", [])
    videos = [Video(name, tuple(ordered(own))) for name, own in sorted(frames.items())]
    if loose:
        videos += told(folder, images, ordered(loose)) if sequences == "table" else shots(folder, ordered(loose))
    return Found(videos, lacking=tuple(lacking))


def key_of(path: Path, base: Path) -> str:
    """Sub-folder and name of a file without ending and without a mark of masks; a `p` before a number is one too."""
    stem = re.sub(r"(_mask|_segmentation)$", "", io.kind.stem(path))
    stem = re.sub(r"^p(?=\d+$)", "", stem)
    return (path.parent.relative_to(base) / stem).as_posix()


def frames_of(folder: Path, deep: bool = False) -> list[Frame]:
    """The pictures in a folder in the order of their numbers, those in folders below it too where `deep`."""
    paths = [path for path in sorted(folder.rglob("*") if deep else folder.iterdir()) if path.is_file()]
    paths = [path for path in paths if path.name.lower().endswith(io.kind.SUFFIXES) and not path.name.startswith(".")]
    return ordered(Frame(path, None, number_of(path)) for path in paths)


def number_of(path: Path) -> int:
    """The last number in a file's name, -1 where there is none."""
    digits = re.findall(r"\d+", io.kind.stem(path))
    return int(digits[-1]) if digits else -1


def ordered(frames: Iterable[Frame]) -> list[Frame]:
    return sorted(frames, key=lambda frame: (frame.number, frame.image.name))


# ---------------------------------------------------------------- which frames are of one video


def told(folder: Path, images: Path, frames: list[Frame]) -> list[Video]:
    """The videos that a table names: videos.csv (image, video) or metadata.csv (frame_id, sequence_id).

    Raises:
        InvalidImage: no table, or frames without a row (all named).
    """
    for name, columns in (("videos.csv", ("image", "video")), ("metadata.csv", ("frame_id", "sequence_id"))):
        for place in (images.parent, folder):
            if (place / name).is_file():
                rows = io.read_labels(place / name, columns=columns)
                table = {Path(row[columns[0]]).stem: row[columns[1]] for row in rows}
                return by_table(table, frames, name)
    remedy = "add videos.csv (columns image, video), put each video into a folder, or set sequences=shots"
    raise InvalidImage(folder.name, "a table that says which frame is of which video", "none", remedy)


def by_table(table: dict[str, str], frames: list[Frame], name: str) -> list[Video]:
    whose = defaultdict(list)
    for frame in frames:
        whose[table.get(io.kind.stem(frame.image)) or table.get(str(frame.number), "")].append(frame)
    if lacking := whose.pop("", []):
        names = ", ".join(frame.image.name for frame in lacking)
        raise InvalidImage(name, "a row for every frame", f"none for {names}", "add the rows")
    return [Video(video, tuple(own)) for video, own in sorted(whose.items())]


def shots(folder: Path, frames: list[Frame]) -> list[Video]:
    """The videos by likeness: a new one begins where neighbours' thumbnails correlate by less than `LIKE`."""
    videos, before = [[]], None
    for frame in frames:
        small = Image.fromarray(np.uint8(255 * io.read_image(frame.image, color=False))).resize((32, 32))
        thumbnail = np.asarray(small, float)
        if before is not None and not correlation(before, thumbnail) >= LIKE:
            videos.append([])
        videos[-1].append(frame)
        before = thumbnail
    return [Video(f"{folder.name}-{number:03d}", tuple(own)) for number, own in enumerate(videos)]


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's, of two pictures; 0 where one has no contrast."""
    one, other = one - one.mean(), other - other.mean()
    size = np.sqrt((one**2).sum() * (other**2).sum())
    return float((one * other).sum() / size) if size > 0 else 0.0


# ---------------------------------------------------------------- CamVid


def camvid(root: Path) -> dict[str, Found]:
    """CamVid as SegNet's tutorial lays it out: the sets `cloudy` and `sunny`, in blocks of neighbouring frames.

    The published split cuts sequences in time; here the blocks are dealt out anew.
    """
    labels = {name: (value,) for value, name in enumerate(CAMVID, 1)}
    sets: dict[str, list[Video]] = {"cloudy": [], "sunny": []}
    lacking = []
    for part in ("train", "val", "test"):
        images, masks = root / part, root / f"{part}annot"
        truth = {path.stem: path for path in io.list_images(masks)} if masks.is_dir() else {}
        own = frames_of(images) if images.is_dir() else []
        lacking += [f"{part}/{f.image.name} has no mask" for f in own if f.image.stem not in truth]
        lacking += [f"{part}annot/{name}.png has no frame" for name in truth.keys() - {f.image.stem for f in own}]
        for video in blocks(part, [Frame(f.image, truth.get(f.image.stem), f.number) for f in own]):
            sets["cloudy" if video.name.startswith(CLOUDY) else "sunny"].append(video)
    return {name: Found(videos, labels, tuple(sorted(lacking))) for name, videos in sets.items() if videos}


def blocks(part: str, frames: list[Frame]) -> Iterator[Video]:
    sequences = defaultdict(list)
    for frame in frames:
        sequences[frame.image.stem.split("_")[0]].append(frame)
    for name, own in sorted(sequences.items()):
        for start in range(0, len(own), BLOCK):
            yield Video(f"{name}-{part}-{start}", tuple(own[start : start + BLOCK]))
