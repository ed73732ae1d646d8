"""One radiograph with what is known of its findings, and how radiographs become the splits of a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from workbench.config import Config, Count, Natural, Side
from workbench.data import Cases, Data
from workbench.errors import InvalidImage, InvalidParameter, unknown

UNKNOWN = -1  # of a finding: neither there nor not there
SHOWN = ("image", "label", "known")
LEAST = 32  # side of an image, pixels: less shows no finding
SPLITS = ("train", "valid", "test")
PIXEL_BYTES = 2  # of a pixel and channel in memory while a data set is put together


def policies(text: str) -> dict[str, str]:
    """What becomes of uncertain findings: ones, zeros or ignore by name, under "" for all others.

    >>> policies("Edema=ones,ignore")
    {'': 'ignore', 'Edema': 'ones'}

    Raises:
        InvalidParameter: another policy, or two for all others.
    """
    found = {"": "zeros"}
    parts = [part.strip() for part in text.split(",") if part.strip()]
    for part in parts:
        name, _, policy = part.rpartition("=")
        if policy not in ("ones", "zeros", "ignore"):
            raise unknown("uncertain", policy, ("ones", "zeros", "ignore"))
        found[name.strip()] = policy
    if sum("=" not in part for part in parts) > 1:
        raise InvalidParameter("uncertain", "one policy for all other findings", repr(text), "name the findings")
    return found


@dataclass(frozen=True)
class Options(Config):
    source: Literal["phantom", "materials", "natural"] = "phantom"  # what to use where no root is given
    root: str = ""  # CheXpert, ChestX-ray14, a plain list with its images, a MedMNIST .npz or a store: site a
    root_b: str = ""  # the same of a second set: site b
    site: Literal["a", "b"] = "a"  # where the images were taken: gain, gamma, blur and noise differ
    size: Side = 64  # side of the square images, pixels; 224 at paper scale (cards)
    train: Count = 512  # images to train on (card of c2l: tiny preset)
    labelled: Natural = 0  # training images whose labels are given out, fewer contained in more; 0 is all
    part: Literal["labelled", "unlabelled"] = "labelled"  # train on those alone, or on all images without any label
    valid: Count = 100  # images for choosing settings, of other patients (inferred)
    test: Count = 200  # images to test on, of other patients (card of c2l: tiny preset)
    labels: str = ""  # findings to use, separated by commas; all that there are where empty
    uncertain: str = "Atelectasis=ones,Edema=ones,zeros"  # -1 in a table: ones, zeros or ignore (inferred)
    views: Literal["frontal", "all"] = "frontal"  # of a table that tells them (inferred)
    official: bool = False  # test on the images that the set's own lists keep for that, not on patients dealt anew
    data_seed: Natural = 0  # which phantoms are drawn, how patients are dealt, whose labels are given out

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < LEAST:
            raise InvalidParameter("size", f"at least {LEAST} pixels", str(self.size), "a finding is not seen in less")
        policies(self.uncertain)


DEFAULT = Options()


@dataclass
class Picture:
    """An image (C, S, S) uint8, its findings (L,) 1, 0 or UNKNOWN, and whose it is."""

    image: np.ndarray
    findings: np.ndarray
    case: str
    group: str


def chosen_labels(options: Options, known: Sequence[str]) -> list[str]:
    """The findings asked for, in the order of `known`.

    Raises:
        InvalidParameter: one that there is not, with the nearest.
    """
    asked = [name.strip() for name in options.labels.split(",") if name.strip()]
    for name in asked:
        if name not in known:
            raise unknown("labels", name, known)
    return [name for name in known if not asked or name in asked]


def balanced_order(findings: np.ndarray, rng: np.random.Generator) -> list[int]:
    """The items of findings (N, L), 1, 0 or UNKNOWN, so that every beginning holds as much of each as it can.

    The next item is the first unused one, in an order drawn once, that shows the finding (or its absence) that has so
    far been shown least; so a smaller subset is contained in a larger one.
    """
    order = rng.permutation(len(findings))
    wanted = [(column, value) for column in range(findings.shape[1]) for value in (1, 0)]
    waiting = {key: [int(i) for i in order[::-1] if findings[i, key[0]] == key[1]] for key in wanted}
    counts, used, chosen = dict.fromkeys(wanted, 0), set(), []
    while len(chosen) < len(order):
        for queue in waiting.values():
            while queue and queue[-1] in used:
                queue.pop()
        open_keys = [key for key in wanted if waiting[key]]
        if not open_keys:
            return chosen + [int(i) for i in order if int(i) not in used]
        item = waiting[min(open_keys, key=counts.__getitem__)].pop()
        used.add(item)
        chosen.append(item)
        for column, value in wanted:
            counts[column, value] += int(findings[item, column] == value)
    return chosen


def cuts(title: str, groups: int, images: int, wanted: Sequence[int]) -> np.ndarray:
    """Where the splits begin and end among so many patients, in proportion to the counts that are wanted.

    Raises:
        InvalidImage: fewer patients than splits.
    """
    if groups < len(wanted):
        found = f"{groups} with {images} images"
        raise InvalidImage(title, f"at least {len(wanted)} patients", found, "give more; ten or more make sense")
    edges = np.round(np.cumsum([0, *wanted]) / sum(wanted) * groups).astype(int)
    ranks = np.arange(len(edges))  # every split gets a patient, however uneven the counts
    return np.minimum(np.maximum.accumulate(edges - ranks) + ranks, groups - ranks[::-1])


def training(pictures: Sequence[Picture], options: Options) -> list[Picture]:
    """The training images that are used: all without labels, or those whose labels are given out."""
    if options.part == "unlabelled":
        blank = np.full_like(pictures[0].findings, UNKNOWN)
        return [Picture(one.image, blank, one.case, one.group) for one in pictures]
    if not options.labelled or options.labelled >= len(pictures):
        return list(pictures)
    findings = np.stack([one.findings for one in pictures])
    order = balanced_order(findings, np.random.default_rng([options.data_seed, 11]))
    return [pictures[i] for i in order[: options.labelled]]


def assembled(
    name: str, splits: Mapping[str, Sequence[Picture]], labels: Sequence[str], options: Options, **rest: Any
) -> Data:
    """The data set of these images; its spec names the findings and counts training images and channels."""
    made = {split: cases(training(own, options) if split == "train" else own) for split, own in splits.items()}
    channels = made["train"].tensors["image"].shape[1]
    spec = {"size": options.size, "channels": channels, "labels": ",".join(labels), "images": len(made["train"])}
    named = {name: (column,) for column, name in enumerate(labels)}
    return Data(name, **made, spec=spec, shown=SHOWN, labels=named, truth="label", **rest)


def cases(pictures: Sequence[Picture]) -> Cases:
    findings = torch.from_numpy(np.stack([one.findings for one in pictures]).astype(np.float32))
    tensors = {"image": torch.from_numpy(np.stack([one.image for one in pictures]))}
    tensors |= {"label": (findings == 1).float(), "known": (findings != UNKNOWN).float()}
    return Cases(tensors, {key: [getattr(one, key) for one in pictures] for key in ("case", "group")})
