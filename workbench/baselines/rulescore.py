"""Rule score: a logistic regression on what hand-written rules measure at a traced node.

The brightness along the path, dark gaps, turns, the distance to the nearest other path, crossings, detached parts, long
edges, branch angles, multifurcations and jumps of the type are what a proofreader's checklist holds. What a network
gains above this is what it sees in the image beside the path.

Source: the kinds of rules are those of SWC_Quality_Control (SEU-ALLEN), extended by brightness and gaps; their weights,
which are learned here, and the exact measures are inferred. Loss, smoothing and threshold are those of all arms.
Known faults: a missed branch leaves no mark in any of these numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workbench import method
from workbench.config import Count, Fraction, Natural, Positive, Weight
from workbench.losses.imbalanced import weighted_bce
from workbench.method import Batch, Update
from workbench.models import tracing


@dataclass(frozen=True)
class Config(method.Config):
    positive_weight: Weight = 0.0  # w+ of the cross entropy; 0 takes negatives over positives (inferred)
    smoothing: Natural = 1  # times that a score becomes the mean with its parent's and children's (inferred)
    rate: Fraction = 0.014  # false-alert rate on validation neurons that fixes the threshold (paper: 1.4 %)
    lr: Positive = 2e-2  # Adam's rate (inferred)
    rules: Count = 11  # numbers a node, from the data
    onset_odds: Positive = 1.0  # right nodes per wrong one among the training nodes, from the data


TINY = {"epochs": 12, "batch": 32, "schedule": "cosine", "valid_every": 2}
DEMO = TINY | {"size": 64, "step": 1.5, "train": 20, "valid": 4, "test": 6}
PAPER = DEMO | {"near": 3, "box": 64, "epochs": 30}


class RuleScore(method.Method):
    """predict: `score` (B, V, N) in [0, 1], smoothed; `mask` (B, 1, N), its alerts, 0 or 1."""

    Config = Config
    data = "neuron"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.scale = nn.BatchNorm1d(config.rules, affine=False, momentum=None)  # the means of all of training
        self.linear = nn.Linear(config.rules, 1)
        self.register_buffer("threshold", torch.tensor(0.5))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"linear": torch.optim.Adam(self.parameters(), self.config.lr)}

    def logits(self, rules: Tensor) -> Tensor:
        """(P,) of rules (P, F)."""
        return self.linear(self.scale(rules.float()).clamp(-5, 5))[:, 0]

    def updates(self, batch: Batch) -> Iterator[Update]:
        c = self.config
        logits = self.logits(batch["rules"][:, 0, 0])
        loss = weighted_bce(logits, batch["onset"][:, 0, 0], c.positive_weight or c.onset_odds)
        yield "linear", loss, {"loss": loss.detach()}

    def predict(self, batch: Batch) -> Batch:
        rules = batch["rules"]
        found = self.logits(rules.flatten(0, 2)).float().sigmoid().view(rules.shape[:3])
        return tracing.outcome(found, batch, self.config.smoothing, self.threshold)

    def settle(self, judged: Iterator[tuple[Batch, Batch]]) -> None:
        self.threshold.copy_(tracing.threshold_of(judged, self.config.rate))

    def score(self, batch: Batch, prediction: Batch) -> Batch:
        return tracing.scores(batch, prediction, self.threshold)
