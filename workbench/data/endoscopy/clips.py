"""Clips of two centres, and how they become the splits of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from skimage.color import rgb2lab
from torch import Tensor

from workbench.config import Bound, Config, Count, Natural, Side, Weight
from workbench.data import Cases, Data

SHOWN = ("image", "label", "length", "spacing")
LEVELS = 256  # of 8-bit intensities
SPLITS = ("train", "valid", "test")
CONSTANT = ("palette", "tone")
STRANGERS = {
    "image": "stranger", "length": "stranger_length",
    "target": "target_stranger", "target_length": "target_stranger_length",
}  # fmt: skip
CENTRES = ("image", "target")  # who is translated, and to whom; the segmentor is at home with the second


@dataclass(frozen=True)
class Options(Config):
    source: Literal["phantom"] = "phantom"  # what to use where no root is given
    root: str = ""  # a folder of CVC-ClinicDB, ETIS-Larib, CamVid, frame folders or video files
    size: Side = 64  # side that frames are scaled to, pixels; 256 at paper scale (follow-up code)
    frames: Annotated[int, Bound(2)] = 8  # of a clip, at most; longer videos are cut into several (card: tiny preset)
    train: Count = 16  # clips of each centre to train on; the card's tiny preset has 8, too few looks to learn from
    valid: Count = 4  # clips of each centre for choosing settings; of the translated centre without labels
    test: Count = 12  # clips of each centre (inferred)
    shift: Weight = 1.0  # how far each phantom video of the translated centre is off in colour; 0: as the other centre
    source_set: str = ""  # folder of the centre whose videos are translated, such as ETIS; needed with a root
    target_set: str = ""  # folder of the centre where the segmentor is trained, such as CVC; needed with a root
    sequences: Literal["table", "shots"] = "table"  # which frame is of which video: as a table says, or by likeness
    data_seed: Natural = 0  # which phantoms are drawn; how a folder is split


@dataclass
class Clip:
    """Consecutive frames (T, H, W, 3) uint8 of one video.

    `label` (T, H, W) int16 is None where it is unknown or must stay so; `flow` (T - 1, 2, H, W) the motion in pixels,
    frame t + 1 at x being frame t at x + flow, or None.
    """

    frames: np.ndarray
    label: np.ndarray | None
    flow: np.ndarray | None
    case: str
    group: str


@dataclass(frozen=True)
class Meetings(Cases):
    """Items in which a clip of one centre meets a clip of the other.

    `tensors` have the clips of their own centre first, keys that begin with `target` those of the target centre;
    `places` (items, 4) says which clip of either centre an item has, and which stranger of each: a clip of the same
    centre from another video. `palette` and `tone` are the same for all items.
    """

    places: Tensor

    def __len__(self) -> int:
        return len(self.places)

    def __getitems__(self, items: Sequence[int]) -> dict[str, Tensor]:
        places = self.places[torch.as_tensor(items)].unbind(1)
        taken = {key: t.expand(len(items), *t.shape) for key, t in self.tensors.items() if key in CONSTANT}
        for key, tensor in self.tensors.items():
            side = key.startswith("target")
            if key not in CONSTANT:
                taken[key] = tensor[places[side]]
            if key in STRANGERS:
                taken[STRANGERS[key]] = tensor[places[2 + side]]
        return {key: t.float().div_(255) if t.dtype == torch.uint8 else t for key, t in taken.items()}


def assembled(
    name: str, splits: dict[str, dict[str, list[Clip]]], options: Options, aside: list[tuple[str, str]] | None = None,
    labels: dict[str, tuple[int, ...]] | None = None,
) -> Data:  # fmt: skip
    """The data set of the clips by split and centre.

    An epoch of training has every clip of the one centre meet every clip of the other; in valid and test each clip to
    be translated comes once, the clips of the target centre in turn.
    """
    labels = labels or {"polyp": (1,)}
    colors = {"palette": palette_of(splits["train"]["target"]), "tone": tone_of(splits["train"]["target"])}
    parts = {split: met(split, splits[split], colors, options) for split in SPLITS}
    spec = {"size": options.size, "classes": ",".join(labels)}
    return Data(name, *parts.values(), spec, SHOWN, labels, aside=aside or [])


def met(split: str, clips: dict[str, list[Clip]], colors: dict[str, Tensor], options: Options) -> Meetings:
    """One split, in which the items of `pairs` are formed."""
    own, others = (clips[centre] for centre in CENTRES)
    tensors = stacked(own, options, "") | stacked(others, options, "target_") | colors
    if split == "train":
        tensors.pop("flow", None)
        pairs = [(i, j) for i in range(len(own)) for j in range(len(others))]
    else:
        pairs = [(i, i % len(others)) for i in range(len(own))]
    if split == "valid":  # settings are chosen without a label of the translated centre
        tensors["label"] = torch.full_like(tensors["label"], -1)
    places = torch.tensor([(i, j, stranger(own, i), stranger(others, j)) for i, j in pairs])
    table = {"case": [own[i].case for i, _ in pairs], "group": [own[i].group for i, _ in pairs]}
    return Meetings(tensors, table, places)


def stranger(clips: list[Clip], own: int) -> int:
    """The next clip, in turn, that is of another video; the clip itself where all are of one."""
    following = [*range(own + 1, len(clips)), *range(own)]
    return next((i for i in following if clips[i].group != clips[own].group), own)


def stacked(clips: list[Clip], options: Options, prefix: str) -> dict[str, Tensor]:
    """The clips as tensors, shorter ones padded with their last frame, and how many frames are theirs."""
    image = torch.from_numpy(np.stack([padded(clip.frames, options.frames) for clip in clips]))
    labels = [np.full(c.frames.shape[:3], -1, np.int16) if c.label is None else c.label for c in clips]
    label = torch.from_numpy(np.stack([padded(one, options.frames) for one in labels]))
    lengths = torch.tensor([len(clip.frames) for clip in clips])
    made: dict[str, Any] = {f"{prefix or 'image'}".rstrip("_"): image.movedim(-1, 1).contiguous()}
    made |= {f"{prefix}label": label[:, None].contiguous(), f"{prefix}length": lengths}
    if prefix:
        return made
    made["spacing"] = torch.ones(len(clips), 3)
    if all(clip.flow is not None for clip in clips):
        flows = [padded(clip.flow, options.frames - 1) for clip in clips]
        made["flow"] = torch.from_numpy(np.stack(flows)).movedim(2, 1).contiguous()
    return made


def padded(frames: np.ndarray, count: int) -> np.ndarray:
    """(T, ...) -> (count, ...), the last one repeated."""
    return np.concatenate([frames, np.repeat(frames[-1:], count - len(frames), 0)])


def palette_of(clips: list[Clip]) -> Tensor:
    """The share of every 8-bit intensity by channel, (3, 256) float32, each clip counting alike."""
    shares = np.zeros((3, LEVELS))
    for clip in clips:
        for channel in range(3):
            counts = np.bincount(clip.frames[..., channel].ravel(), minlength=LEVELS)
            shares[channel] += counts / counts.sum() / len(clips)
    return torch.from_numpy(shares.astype(np.float32))


def tone_of(clips: list[Clip]) -> Tensor:
    """Mean and standard deviation of L*, a*, b* over all pixels, (2, 3) float32, each clip counting alike."""
    colors = [rgb2lab(clip.frames).reshape(-1, 3) for clip in clips]
    means, squares = (np.mean([(lab**power).mean(0) for lab in colors], 0) for power in (1, 2))
    return torch.from_numpy(np.stack([means, np.sqrt(squares - means**2)]).astype(np.float32))
