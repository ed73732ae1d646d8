"""One region of interest about the optic disc, and how regions become the splits of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from workbench.config import Config, Count, Fraction, Natural, Side
from workbench.data import Cases, Data
from workbench.data.fundus.corruption import corrupt, plan

RIM, CUP = 1, 2  # label values; 0 is the retina around
LABELS = {"cup": (CUP,), "disc": (RIM, CUP)}  # the disc includes the cup
SHOWN = ("image", "label", "spacing")


@dataclass(frozen=True)
class Options(Config):
    source: Literal["phantom"] = "phantom"  # what to use where no root is given
    root: str = ""  # a folder of REFUGE, Drishti-GS or <set>/{train,test}/{image,mask}
    size: Side = 64  # side of the square regions, pixels; 512 at paper scale (follow-up code)
    train: Count = 96  # labelled images of the source camera to train on (card: tiny preset)
    unlabelled: Count = 40  # target images to train on, without labels; more than `train` have no use (card: tiny)
    valid: Count = 12  # source images for choosing settings, corrupted as the training ones: no target label is used
    test: Count = 40  # target images with clean labels (card: tiny preset)
    rho: Fraction = 0.5  # share of the source images with a corrupted label (inferred)
    bias: Fraction = 0.5  # share of the corrupted labels that are all too large; the others err either way (inferred)
    source_set: str = ""  # folder of the source camera's images, such as Training400; needed with a root
    target_set: str = ""  # folder of the target camera's images, such as REFUGE-Validation400; needed with a root
    roi: Fraction = 0.0  # side of the crop in shorter sides of the image; 0: 1/3 of a photograph, all of a ready crop
    data_seed: Natural = 0  # which phantoms are drawn, which labels are corrupted and how; how a folder is split


@dataclass
class Eye:
    """A region (H, W, 3) uint8, its label map (H, W) or None where it must stay unknown, and whose it is."""

    image: np.ndarray
    label: np.ndarray | None
    case: str
    group: str


def assembled(
    name: str, splits: dict[str, list[Eye]], options: Options, aside: list[tuple[str, str]] | None = None
) -> Data:
    """The data set of the splits train, valid (source camera), unlabelled and test (target camera).

    Its spec gives methods that drop doubtful labels the share tau of wrong ones, as the card asks: tau is rho.
    """
    train = labelled(splits["train"], options, stream=0)
    pool = np.random.default_rng([options.data_seed, 2]).permutation(len(splits["unlabelled"]))
    targets = [splits["unlabelled"][i].image for i in np.resize(pool, len(train))]
    train.tensors["target"] = pixels(targets)
    test = Cases(
        {"image": pixels([eye.image for eye in splits["test"]]), "label": maps([eye.label for eye in splits["test"]])}
        | {"spacing": torch.ones(len(splits["test"]), 2)},
        {"case": [eye.case for eye in splits["test"]], "group": [eye.group for eye in splits["test"]]},
    )
    spec = {"size": options.size, "channels": 3, "classes": "disc,cup", "tau": options.rho}
    valid = labelled(splits["valid"], options, stream=1)
    return Data(name, train, valid, test, spec, SHOWN, LABELS, aside=aside or [])


def labelled(eyes: list[Eye], options: Options, stream: int) -> Cases:
    """Source images with their true labels and those that are given out, `stream` 0 for training and 1 for validation.

    Exactly round(rho N) are corrupted, more at a higher rho, never others.
    """
    clean = np.stack([eye.label for eye in eyes])
    given, kinds = relabelled(clean, options, stream)
    tensors = {"image": pixels([eye.image for eye in eyes]), "label": maps(given), "clean": maps(clean)}
    tensors |= {"noisy": torch.tensor([float(bool(kind)) for kind in kinds]), "spacing": torch.ones(len(eyes), 2)}
    table = {"case": [eye.case for eye in eyes], "group": [eye.group for eye in eyes], "corruption": kinds}
    return Cases(tensors, table)


def relabelled(clean: np.ndarray, options: Options, stream: int = 0) -> tuple[np.ndarray, list[str]]:
    """Label maps (N, H, W) with the share rho corrupted, and what was done to each: "" or one of corruption.KINDS."""
    kinds = plan(len(clean), options.rho, options.bias, np.random.default_rng([options.data_seed, stream]))
    rngs = (np.random.default_rng([options.data_seed, stream, item]) for item in range(len(clean)))
    given = [corrupt(*one) if one[1] else one[0] for one in zip(clean, kinds, rngs, strict=True)]
    return np.stack(given), kinds


def pixels(images: list[np.ndarray]) -> torch.Tensor:
    """(B, 3, H, W) uint8."""
    return torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy())


def maps(labels: Sequence[np.ndarray]) -> torch.Tensor:
    """(B, 1, H, W) int16: uint8 would be taken for pixels."""
    return torch.from_numpy(np.stack(labels)[:, None].astype(np.int16))
