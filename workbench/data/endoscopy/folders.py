"""Videos of two centres in folders: what is read, what is set aside, and which split has what."""

import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.registration import optical_flow_ilk

from workbench.data import Data, io
from workbench.data.anatomy.folders import foreground_of
from workbench.data.endoscopy.clips import CENTRES, SPLITS, Clip, Options, assembled
from workbench.data.endoscopy.layouts import CAMVID, MOVIES, Found, Frame, Video, find, frames_of
from workbench.data.endoscopy.layouts import centre as videos_in
from workbench.data.io.guard import guard
from workbench.data.io.kind import hashed
from workbench.errors import InvalidImage, InvalidParameter, unknown

RADIUS = 5  # of the window in which motion is estimated, pixels
COLORED = ("RGB", "RGBA", "P")  # what Pillow calls a picture in red, green and blue
VOID = len(CAMVID)  # CamVid's value of what is not labelled


def load(root: str | Path, options: Options) -> Data:
    """The centres `source_set`, which is translated, and `target_set`, where the segmentor is trained.

    Videos are dealt to the splits whole and cut into clips of at most `frames` frames. Labels of the translated centre
    may be missing; in the test they are scored where they are there. Its motion is estimated from the frames. Videos
    that cannot be used are set aside with the reason.

    Raises:
        InvalidParameter: source_set or target_set missing, unknown or equal.
        InvalidImage: no known layout, frames and masks that do not pair (all named), a target centre without masks, or
            too few videos.
    """
    root = Path(root)
    sets = chosen(find(root, options.sequences), options)
    aside: list[tuple[str, str]] = []
    splits: dict[str, dict[str, list[Clip]]] = {split: {} for split in SPLITS}
    for centre, found in sets.items():
        for split, videos in dealt(centre, usable(found, aside), options).items():
            clips = [clip for video in videos for clip in clips_of(video, root, options, centre)]
            splits[split][centre] = clips[: getattr(options, split)]
    name = f"{options.source_set}-to-{options.target_set}"
    return assembled(name, splits, options, aside, sets["target"].labels)


def chosen(sets: dict[str, Found], options: Options) -> dict[str, Found]:
    """The two centres, by the part that they play."""
    names = {"source_set": options.source_set, "target_set": options.target_set}
    for key, name in names.items():
        if not name:
            raise InvalidParameter(key, f"one of {', '.join(sorted(sets))}", "none", f"give {key}=NAME")
        if name not in sets:
            raise unknown(key, name, sets)
    if options.source_set == options.target_set:
        raise InvalidParameter("target_set", "another centre than source_set", options.target_set, "choose two centres")
    two = dict(zip(CENTRES, (sets[name] for name in names.values()), strict=True))
    if lacking := [f"{name}: {what}" for name in names.values() for what in sets[name].lacking]:
        remedy = "give both files of a pair one name, or remove the single ones"
        shown = ", ".join(lacking[:20]) + (f" and {len(lacking) - 20} more" if len(lacking) > 20 else "")
        raise InvalidImage("the masks", "a mask for every frame and a frame for every mask", shown, remedy)
    if not two["target"].labelled:
        remedy = "add its masks, or choose another target_set"
        raise InvalidImage(options.target_set, "masks for the segmentor to learn from", "none", remedy)
    return two


# ---------------------------------------------------------------- splits


def usable(found: Found, aside: list[tuple[str, str]]) -> list[Video]:
    """The videos that pass `examine`; the others are added to `aside`.

    Raises:
        InvalidImage: the first refusal, where there is none that passes.
    """
    good, refused = [], []
    for video in found.videos:
        try:
            examine(video)
            good.append(video)
        except InvalidImage as error:
            refused.append(error)
            aside.append((video.name, f"expected {error.expected}, found {error.found}; {error.remedy}"))
    if not good and refused:
        raise refused[0]
    return good


def dealt(centre: str, videos: list[Video], options: Options) -> dict[str, list[Video]]:
    """The videos of a centre for each split, in a shuffled order and in proportion to the clips asked for.

    Raises:
        InvalidImage: fewer videos than splits.
    """
    if len(videos) < len(SPLITS):
        found = f"{len(videos)} that can be used"
        where = {"image": options.source_set, "target": options.target_set}[centre]
        raise InvalidImage(where, "at least three videos, one for each split", found, "give more of them")
    order = np.random.default_rng([options.data_seed, 6]).permutation(len(videos))
    wanted = np.cumsum([0, *(getattr(options, split) for split in SPLITS)])
    edges = np.round(wanted / wanted[-1] * len(videos)).astype(int)
    ranks = np.arange(len(edges))  # every split gets a video, however uneven the counts
    edges = np.minimum(np.maximum.accumulate(edges - ranks) + ranks, len(videos) - ranks[::-1])
    spans = zip(SPLITS, edges, edges[1:], strict=False)
    return {split: [videos[i] for i in order[first:last]] for split, first, last in spans}


# ---------------------------------------------------------------- one video


def examine(video: Video) -> None:
    """Whether frames can be used, without keeping them.

    Raises:
        InvalidImage: fewer than two frames, gaps in their numbers, several sizes, not RGB, or without content.
    """
    if video.movie is None:
        if len(video.frames) < 2:
            raise InvalidImage(video.name, "at least two frames", str(len(video.frames)), "leave this video out")
        check_numbers(video)
    check_frames(video.name, pictures(video), [path.name for path in video.paths])


def check_numbers(video: Video) -> None:
    """Every step from number to number as long as the shortest; CamVid's blocks are exempt, their rate varies.

    Raises:
        InvalidImage: naming where numbers are missing.
    """
    numbers = np.array([frame.number for frame in video.frames])
    steps = np.diff(numbers)
    if (numbers < 0).any() or (steps == 0).any():
        remedy = "name them 0001.png, 0002.png, ..."
        raise InvalidImage(video.name, "frames that are numbered, each number once", "others", remedy)
    gaps = np.flatnonzero(steps > steps.min())
    if len(gaps) and video.frames[0].image.parent.name not in ("train", "val", "test"):
        found = f"a gap after {video.frames[gaps[0]].image.name}" + (f" and {len(gaps) - 1} more" * (len(gaps) > 1))
        remedy = "add the missing frames, or cut the video there into two"
        raise InvalidImage(video.name, "frames numbered without a gap", found, remedy)


def check_frames(name: str, frames: list[np.ndarray], names: list[str]) -> None:
    """Frames (H, W, 3) of one size, each with content, and not all alike.

    Raises:
        InvalidImage: as they say.
    """
    names = names if len(names) == len(frames) else [f"{names[0]}, frame {number}" for number in range(len(frames))]
    shape = frames[0].shape[:2]
    for frame, own in zip(frames, names, strict=True):
        if frame.shape[:2] != shape:
            expected, found = (f"{height} x {width} pixels" for height, width in (shape, frame.shape[:2]))
            raise InvalidImage(own, f"{expected}, as the first frame of {name}", found, "export all at one size")
        if np.ptp(frame.reshape(-1, 3), 0).max() == 0:
            raise InvalidImage(own, "a picture", f"one colour in every pixel, in {name}", "leave such frames out")
    if len(frames) < 2:
        raise InvalidImage(name, "at least two frames", str(len(frames)), "leave this video out")
    if all(np.array_equal(frames[0], frame) for frame in frames[1:]):
        raise InvalidImage(name, "frames that differ", f"the same picture {len(frames)} times", "leave this video out")


def pictures(video: Video) -> list[np.ndarray]:
    """All frames (H, W, 3) uint8."""
    return decoded(video.movie) if video.movie else [picture(frame) for frame in video.frames]


def picture(frame: Frame) -> np.ndarray:
    """One frame (H, W, 3) uint8.

    Raises:
        InvalidImage: unreadable, grey, or in another colour space than RGB.
    """
    with guard(frame.image, "image"), Image.open(frame.image) as opened:
        mode = opened.mode
    if mode not in COLORED:
        grey = mode in ("1", "L", "LA") or mode.startswith(("I", "F"))
        found = "a grey picture" if grey else f"a picture in {mode}"
        raise InvalidImage(frame.image.name, "a frame in RGB", found, "export the frames as RGB PNG")
    return np.round(255 * io.read_image(frame.image, color=True)).astype(np.uint8)


def decoded(path: Path) -> list[np.ndarray]:
    """All frames of a video file, by imageio with PyAV or FFmpeg.

    Raises:
        InvalidImage: no decoder is installed, or the file cannot be decoded.
    """
    plugins = {"av": "pyav", "imageio_ffmpeg": "FFMPEG"}
    plugin = next((name for module, name in plugins.items() if importlib.util.find_spec(module)), None)
    if plugin is None:
        remedy = "pip install av, or turn it into a folder of frames: ffmpeg -i FILE FOLDER/%05d.png"
        raise InvalidImage(path.name, "a decoder of video files", "none installed", remedy)
    from imageio import v3

    with guard(path, "video"):
        return list(v3.imread(path, plugin=plugin)[..., :3])


# ---------------------------------------------------------------- videos to be translated


def films(source: Path) -> list[Video]:
    """The videos of a folder: a film file, a folder of frames, or a folder of either; frames need no masks.

    Raises:
        InvalidImage: none.
    """
    if source.is_file():
        if source.suffix.lower() not in MOVIES:
            expected, remedy = f"a video file ({', '.join(MOVIES)}) or a folder", "give the folder of the frames"
            raise InvalidImage(source.name, expected, f"a file of the kind {source.suffix or 'none'}", remedy)
        return [Video(source.stem, movie=source)]
    if own := frames_of(source):
        return [Video(source.name, tuple(own))]
    found = videos_in(source, "shots") if source.is_dir() else None
    if found is None:
        raise InvalidImage(source.name or str(source), "frames, folders of frames or video files", "none", "give one")
    return found.videos


def unseen(video: Video, options: Options) -> tuple[np.ndarray, np.ndarray]:
    """A video for a trained network: its frames (T, H, W, 3) uint8, and scaled to squares (T, S, S, 3).

    Raises:
        InvalidImage: frames that cannot be used (see `examine`).
    """
    examine(video)
    frames = np.stack(pictures(video))
    return frames, np.stack([scaled(frame, options.size) for frame in frames])


# ---------------------------------------------------------------- clips


def clips_of(video: Video, root: Path, options: Options, centre: str) -> Iterator[Clip]:
    """The video in clips of nearly equal length, whole frames scaled to squares of the size asked for."""
    frames = np.stack([scaled(frame, options.size) for frame in pictures(video)])
    labels = [label_of(frame, options.size) for frame in video.frames if frame.mask]
    label = np.stack(labels) if labels and len(labels) == len(frames) else None
    group = hashed(f"{centre}/{video.name}")
    for number, part in enumerate(np.array_split(np.arange(len(frames)), math.ceil(len(frames) / options.frames))):
        if len(part) < 2:  # what is left of an odd number of frames in clips of two
            continue
        own = video.paths[0].relative_to(root).as_posix()
        case = hashed(f"{own}#{number}")
        flow = motion(frames[part]) if centre == "image" else None
        yield Clip(frames[part], None if label is None else label[part], flow, case, group)


def scaled(picture: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR))


def label_of(frame: Frame, size: int) -> np.ndarray:
    """The label map (size, size) int16 of a frame: 1 for polyp, or CamVid's classes from 1 with 0 for what is none."""
    with guard(frame.image, "image"), Image.open(frame.image) as opened:
        shape = opened.size[::-1]
    if frame.mask.parent.name.endswith("annot"):
        values = io.read_mask(frame.mask, shape)
        if values.max() > VOID:
            found = f"{int(values.max())}"
            raise InvalidImage(frame.mask.name, f"values from 0 to {VOID}", found, "use the masks of SegNet's tutorial")
        coded = Image.fromarray(np.where(values == VOID, 0, values + 1).astype(np.uint8))
        return np.asarray(coded.resize((size, size), Image.Resampling.NEAREST), np.int16)
    return (scaled(255 * foreground_of(frame.mask, shape).astype(np.uint8), size) > 127).astype(np.int16)


def motion(frames: np.ndarray) -> np.ndarray:
    """Estimated motion (T - 1, 2, H, W) in pixels: frame t + 1 at x is frame t at x + motion.

    Source: the iterative Lucas-Kanade of scikit-image, on luma.
    """
    luma = frames.astype(np.float32) @ (np.array([0.299, 0.587, 0.114], np.float32) / 255)
    pairs = zip(luma[1:], luma, strict=False)
    return np.stack([optical_flow_ilk(later, sooner, radius=RADIUS) for later, sooner in pairs]).astype(np.float32)


# ---------------------------------------------------------------- check


def check(root: str | Path, options: Options) -> Iterator[str]:
    """What `load` would make of a folder: its centres, each video with its split, or why it is set aside."""
    root = Path(root)
    sets = find(root, options.sequences)
    for name, found in sets.items():
        masks = sum(bool(frame.mask) for video in found.videos for frame in video.frames)
        yield f"{name}: {len(found.videos)} videos, {masks} masks, {len(found.lacking)} without a partner"
    if not (options.source_set and options.target_set):
        yield f"choose the centres: source_set and target_set, each one of {', '.join(sorted(sets))}"
        return
    aside: list[tuple[str, str]] = []
    for centre, found in chosen(sets, options).items():
        for split, videos in dealt(centre, usable(found, aside), options).items():
            for video in videos:
                count, first = len(video.frames) or "all", video.paths[0].relative_to(root)
                yield f"{centre:<6}  {split:<5}  {video.name}: {count} frames, from {first} on"
    for name, reason in aside:
        yield f"set aside: {name}: {reason}"
