"""A floor: histograms of gradients in the cells of a grid, and a logistic regression on them.

What stood before networks: edges are counted by direction, weighted by their strength, in each cell of the image, and
scaled so that gain does not matter. A network that does not beat this has learnt no more than where edges lie.

Source: Dalal and Triggs, Histograms of Oriented Gradients for Human Detection, CVPR 2005, with one cell a block; the
grid, the number of bins and the penalty are inferred. With `greys` a histogram of grey values stands beside them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import method
from workbench.config import Count, Natural, Positive, Weight
from workbench.method import Batch, Update
from workbench.models import findings


@dataclass(frozen=True)
class Config(method.Config):
    labels: str = "finding"  # names of the findings, from the data
    cells: Count = 4  # of the grid, along each side (inferred)
    bins: Count = 8  # directions from 0 to 180 degrees (source: 9)
    greys: Natural = 0  # bins of a histogram of grey values over the whole image (inferred: none)
    lr: Positive = 1e-2  # Adam's rate (inferred)
    decay: Weight = 1e-2  # weight decay (inferred)


TINY = {"epochs": 60, "batch": 16}
DEMO = TINY
PAPER = {"cells": 14, "bins": 9, "size": 224}
ABLATIONS = {"greys": {"greys": 16}}


def histograms(image: Tensor, cells: int, bins: int) -> Tensor:
    """Shares of the directions 0 to 180 degrees of the gradients (B, bins x cells x cells) of images (B, 1, S, S).

    A direction is shared between its two nearest bins; each cell has length 1, one without edges almost 0.
    """
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    right, down = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2], padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    strength, place = torch.hypot(right, down), torch.atan2(down, right) % pi / pi * bins
    centers = torch.arange(bins, device=image.device).view(1, -1, 1, 1)
    apart = (place - centers).abs()
    share = (1 - torch.minimum(apart, bins - apart)).clamp_min(0)
    found = F.adaptive_avg_pool2d(strength * share, cells)
    return (found / (found.norm(dim=1, keepdim=True) + 0.01)).flatten(1)


def grey_shares(image: Tensor, bins: int) -> Tensor:
    """The histogram (B, bins) of the grey values of images (B, 1, S, S) in [0, 1]."""
    found = (image.flatten(1) * bins).long().clamp(0, bins - 1)
    return F.one_hot(found, bins).float().mean(1)


class GradHist(method.Method):
    """predict: `score` (B, L), the probability of each finding."""

    Config = Config
    data = "radiograph"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.labels = findings.names(config.labels)
        width = config.bins * config.cells**2 + config.greys
        self.scale = nn.BatchNorm1d(width, affine=False, momentum=None)  # the means of all of training
        self.linear = nn.Linear(width, len(self.labels))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"linear": torch.optim.AdamW(self.parameters(), self.config.lr, weight_decay=self.config.decay)}

    def logits(self, image: Tensor) -> Tensor:
        """(B, L) of images (B, C, S, S) in [0, 1]."""
        c, grey = self.config, image.float().mean(1, keepdim=True)
        parts = [histograms(grey, c.cells, c.bins), *([grey_shares(grey, c.greys)] if c.greys else [])]
        return self.linear(self.scale(torch.cat(parts, 1)).clamp(-5, 5)).float()

    def updates(self, batch: Batch) -> Iterator[Update]:
        yield "linear", findings.known_bce(self.logits(batch["image"]), batch["label"], batch["known"]), {}

    def predict(self, batch: Batch) -> Batch:
        return {"score": self.logits(batch["image"]).sigmoid()}

    def score(self, batch: Batch, prediction: Batch) -> Batch:
        return findings.scores(batch, prediction["score"], self.labels)

    def pooled(self, scores: Batch) -> Batch:
        return findings.pooled(scores, self.labels)
