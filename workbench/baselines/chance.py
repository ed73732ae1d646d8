"""Chance: the floor that scores traced nodes at random, at the same false-alert rate as all others.

An alert somewhere on a tree has some chance of lying near an error. What this floor detects is what the tolerance and
the false-alert rate give away.

Source: the card of neuronqc asks for it (inferred); there is nothing to train. The random number of a node derives from
its place, so a node gets the same one in every batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench import method
from workbench.config import Fraction
from workbench.method import Batch, Update
from workbench.models import tracing


@dataclass(frozen=True)
class Config(method.Config):
    rate: Fraction = 0.014  # false-alert rate on validation neurons that fixes the threshold (paper: 1.4 %)


TINY = {"epochs": 1, "batch": 32, "valid_every": 0}
DEMO = TINY | {"size": 64, "step": 1.5, "train": 20, "valid": 4, "test": 6}
PAPER = DEMO | {"near": 3, "box": 64}


def scattered(nodes: Tensor) -> Tensor:
    """A number in [0, 1) for each point (..., 3), spread evenly whatever the points' order is."""
    mixed = nodes.double() @ torch.tensor([12.9898, 78.233, 37.719], dtype=torch.float64, device=nodes.device)
    return (mixed.sin() * 43758.5453).frac().abs().float()


class Chance(method.Method):
    """predict: `score` (B, V, N) in [0, 1), at random; `mask` (B, 1, N), its alerts, 0 or 1."""

    Config = Config
    data = "neuron"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.register_buffer("threshold", torch.tensor(0.5))

    def updates(self, batch: Batch) -> Iterator[Update]:
        yield from ()

    def predict(self, batch: Batch) -> Batch:
        return tracing.outcome(scattered(batch["nodes"]), batch, 0, self.threshold)

    def settle(self, judged: Iterator[tuple[Batch, Batch]]) -> None:
        self.threshold.copy_(tracing.threshold_of(judged, self.config.rate))

    def score(self, batch: Batch, prediction: Batch) -> Batch:
        return tracing.scores(batch, prediction, self.threshold)
