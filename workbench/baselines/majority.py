"""Majority: the floor that says of every volume what is most frequent, and plays with the cube by chance.

Of the classes it knows how often each was in training; it calls every voxel background and every cube not turned, and
guesses one of K permutations. What a network gains must be seen above this.

Source: the card of Rubik's cube recovery asks for the rates of chance (inferred). There is nothing to train; the
puzzles are those of the pretext.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from workbench import method, metrics
from workbench.config import Count
from workbench.method import Batch, Update
from workbench.models import classifier, cubes
from workbench.models.cubes import Rules


@dataclass(frozen=True)
class Config(method.Config):
    classes: str = ""  # names of the classes, from the data
    structures: str = ""  # names of the label values 1, 2, ..., from the data
    task: Literal["classification", "segmentation"] = "classification"  # what is to be told, from the data
    permutations: Count = 24  # K, of the pretext (card: tiny preset)


TINY = {"train": 160, "labelled": 32, "valid": 48, "test": 200, "epochs": 1, "batch": 8, "valid_every": 0}
DEMO = TINY
PAPER = {"permutations": 100, "epochs": 1}


class Majority(method.Method):
    """predict: `logits` (B, K), the logarithms of the classes' shares in training; or `mask` (B, 1, *S), all 0."""

    Config = Config
    data = "headct"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.register_buffer("counts", torch.zeros(len(config.classes.split(","))))

    def updates(self, batch: Batch) -> Iterator[Update]:
        """Count the batch; no loss."""
        known = batch["class"][batch["class"] >= 0]
        part = F.one_hot(known, len(self.counts)).sum(0).float()
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(part)
        self.counts += part
        yield from ()

    def predict(self, batch: Batch) -> Batch:
        if self.config.task == "segmentation":
            return {"mask": torch.zeros_like(batch["label"], dtype=torch.float32)}
        shares = (self.counts + 1) / (self.counts + 1).sum()
        return {"logits": shares.log().expand(len(batch["image"]), -1)}

    def score(self, batch: Batch, prediction: Batch) -> Batch:
        found = played(batch["number"], self.config.permutations)
        if self.config.task == "segmentation":
            return found | metrics.segmentation(batch, prediction, metrics.classes(self.config.structures))
        return found | classifier.scores(batch, prediction)

    def pooled(self, scores: Batch) -> Batch:
        return classifier.pooled(scores) if "called" in scores else {}


def played(numbers: Tensor, permutations: int) -> Batch:
    """`order`, the rate of chance, and `orientation`, that of "not turned" in the puzzles of these cases, (B,)."""
    draw = cubes.drawn(numbers, 1 + 5 * cubes.CUBES)
    turn = cubes.targets(draw, permutations, Rules(0, 0))[1]
    return {"order": torch.full((len(turn),), 1 / permutations), "orientation": 1 - turn.mean((1, 2))}
