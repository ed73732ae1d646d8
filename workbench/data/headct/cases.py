"""One volume with what is known of it, and how volumes become the splits of a data set."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from workbench.config import Config, Count, Natural, Side
from workbench.data import Cases, Data
from workbench.data.io.kind import hashed
from workbench.errors import InvalidParameter

UNKNOWN = -1
SHOWN = {"classification": ("image", "class"), "segmentation": ("image", "label", "spacing")}
FACTOR = 8  # every side is a multiple: it is cut into two cells, and networks halve it up to three times
SPLITS = ("train", "valid", "test")
TASKS = {"class": "classification", "structures": "segmentation"}


@dataclass(frozen=True)
class Options(Config):
    source: Literal["phantom"] = "phantom"  # what to use where no root is given
    root: str = ""  # BraTS, images/ + labels/, a folder for each class, or a 3D MedMNIST .npz
    target: Literal["auto", "class", "structures"] = "auto"  # what is to be told; auto: the class where there are any
    size: Side = 32  # side of the volumes, voxels (card: tiny preset)
    grid: str = ""  # other sides, multiples of 8: 40x56x40; a cube of `size` where empty
    train: Count = 160  # volumes to train on (card: tiny preset)
    labelled: Natural = 0  # training volumes whose labels are given out, fewer contained in more; 0 is all
    part: Literal["labelled", "unlabelled"] = "labelled"  # train on those alone, or on all without any label
    valid: Count = 48  # volumes for choosing settings, of other patients (inferred)
    test: Count = 64  # volumes to test on, of other patients (card: tiny preset; 200 in its experiment)
    window: str = ""  # CT in folders: what is shown black and white, 0,80 HU; by percentiles where empty
    crop: bool = True  # folders: cut to the box of what is not background, so that no cube is empty (inferred)
    data_seed: Natural = 0  # which phantoms are drawn, how patients are dealt, whose labels are given out

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sides, self.limits  # noqa: B018  both refuse what cannot be

    @property
    def sides(self) -> tuple[int, int, int]:
        """X, Y and Z of every volume, voxels."""
        words = re.split("[x,]", self.grid) if self.grid else [str(self.size)] * 3
        sides = tuple(int(word) if word.strip().isdecimal() else 0 for word in words)
        if len(sides) != 3 or not all(side > 0 and side % FACTOR == 0 for side in sides):
            raise InvalidParameter("grid", f"3 sides, multiples of {FACTOR}", repr(self.grid), "give grid=40x56x40")
        return sides

    @property
    def limits(self) -> tuple[float, float] | None:
        """The grey values shown black and white, where they are given."""
        if not self.window:
            return None
        words = self.window.split(",")
        numbers = [float(word) for word in words if re.fullmatch(r"\s*-?\d+(\.\d*)?\s*", word)]
        if len(words) != 2 or len(numbers) != 2 or numbers[0] >= numbers[1]:
            raise InvalidParameter("window", "the lower and the upper value", repr(self.window), "give window=0,80")
        return numbers[0], numbers[1]


DEFAULT = Options()


@dataclass(frozen=True)
class Head:
    """A volume (C, X, Y, Z) uint8, its class or UNKNOWN, its structures (X, Y, Z) int16 or none, mm a voxel, an id, and
    whose it is."""

    image: np.ndarray
    kind: int
    label: np.ndarray | None
    spacing: tuple[float, float, float]
    case: str
    group: str


def balanced_order(kinds: Sequence[int], rng: np.random.Generator) -> list[int]:
    """The items of known class (all where no class is known), so that every beginning holds as many of each.

    Classes take turns, each with its items in an order drawn once: a smaller subset is contained in a larger one.

    >>> kinds = [0, 0, 0, 1, 1, -1]
    >>> sorted(kinds[i] for i in balanced_order(kinds, np.random.default_rng(0))[:4])
    [0, 0, 1, 1]
    """
    places = rng.permutation(len(kinds))
    known = sorted(set(kinds) - {UNKNOWN}) or [UNKNOWN]
    ranks = {kind: [int(i) for i in places if kinds[i] == kind] for kind in known}
    turns = range(max(map(len, ranks.values())))
    return [items[turn] for turn in turns for items in ranks.values() if turn < len(items)]


def blank(one: Head) -> Head:
    return replace(one, kind=UNKNOWN, label=None)


def told(one: Head, task: str) -> bool:
    """Whether it is known what the task asks for."""
    return one.kind != UNKNOWN if task == "classification" else one.label is not None


def training(heads: Sequence[Head], options: Options, task: str) -> list[Head]:
    """The training volumes that are used: all without labels, or those whose labels are given out."""
    if options.part == "unlabelled":
        return [blank(one) for one in heads]
    known = [one for one in heads if told(one, task)]
    order = balanced_order([one.kind for one in known], np.random.default_rng([options.data_seed, 11]))
    return [known[i] for i in order[: options.labelled or None]]


def assembled(
    name: str,
    splits: Mapping[str, Sequence[Head]],
    classes: Sequence[str],
    structures: Sequence[str],
    options: Options,
    **rest: Any,
) -> Data:
    """The data set of these volumes.

    Raises:
        InvalidParameter: a target that there is not.
    """
    known = {"class": len(classes) > 1, "structures": bool(structures)}
    target = options.target if options.target != "auto" else "class" if known["class"] else "structures"
    if not known[target] and options.part == "labelled":
        found = " and ".join(key for key, there in known.items() if there) or "neither classes nor structures"
        remedy = "choose another target, add labels, or pre-train with part=unlabelled"
        raise InvalidParameter("target", f"a {target} for every labelled volume", f"{found} in {name}", remedy)
    used = dict(splits) | {"train": training(splits["train"], options, TASKS[target])}
    made = {split: cases(heads) for split, heads in used.items()}
    spec = {"grid": "x".join(map(str, options.sides)), "size": max(options.sides), "task": TASKS[target]}
    spec |= {"channels": made["train"].tensors["image"].shape[1]}
    spec |= {"classes": ",".join(classes), "structures": ",".join(structures)}
    labels = {key: (value,) for value, key in enumerate(structures, 1)}
    if target == "class":
        labels = {key: (value,) for value, key in enumerate(classes)}
        rest["truth"] = "class" if options.part == "labelled" else ""
    return Data(name, **made, spec=spec, shown=SHOWN[TASKS[target]], labels=labels, **rest)


def cases(heads: Sequence[Head]) -> Cases:
    sides = heads[0].image.shape[1:]
    none = np.full(sides, UNKNOWN, np.int16)
    tensors = {
        "image": torch.from_numpy(np.stack([one.image for one in heads])),
        "class": torch.tensor([one.kind for one in heads]),
        "label": torch.from_numpy(np.stack([none if one.label is None else one.label for one in heads])[:, None]),
        "spacing": torch.tensor([one.spacing for one in heads], dtype=torch.float32),
        "number": torch.tensor([int(hashed(one.case), 16) for one in heads]),
    }
    return Cases(tensors, {key: [getattr(one, key) for one in heads] for key in ("case", "group")})
