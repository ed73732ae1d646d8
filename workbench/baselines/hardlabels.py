"""Hard labels: the plain classifier, trained by cross entropy on one-hot targets.

Source: cclnet's card asks for it as the base of every comparison. Network, augmentation and optimizer are those of
cclnet without its block. How alike it takes two classes to be is read from the weights of its last layer (inferred).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench import method
from workbench.config import Count, Fraction, Natural, Positive, Weight
from workbench.method import Batch, Update
from workbench.models.backbones import Backbone, load_weights
from workbench.models.classifier import (
    DRAWS,
    Classifier,
    answer,
    correlation,
    matrices,
    once,
    pooled,
    scores,
    structure,
    varied,
)


@dataclass(frozen=True)
class Config(method.Config):
    backbone: Backbone = "small"  # network below the classifier, as cclnet's
    base: Count = 16  # width of the first block of small and depthwise, as cclnet's
    weights: str = ""  # file or hub id of weights for the backbone, as cclnet's
    crop: Natural = 0  # side of the square that is seen, pixels, 0: all, as cclnet's
    jitter: Fraction = 0.1  # largest change of a training image's light and colours, as cclnet's
    lr: Positive = 3e-3  # Adam's rate, as cclnet's
    decay: Weight = 1e-4  # weight decay, as cclnet's
    channels: Count = 3  # of the images, from the data
    classes: str = "first,second"  # names of the classes, from the data
    similarity: tuple | list = ()  # known similarity of the classes, row by row, from the data; only scores read it


TINY = {"train": 600, "valid": 200, "test": 400, "epochs": 30, "batch": 32, "schedule": "cosine"}
DEMO = TINY
PAPER = {
    "backbone": "resnet50", "crop": 224, "lr": 1e-4, "size": 256, "train": 7010, "valid": 1002, "test": 2003,
    "epochs": 100, "batch": 32, "schedule": "cosine",
}  # fmt: skip
ABLATIONS = {"depthwise": {"backbone": "depthwise"}}


class HardLabels(method.Method):
    """predict: `logits` and `probability` (B, K); `feature` (B, D), the pooled features that the classifier sees."""

    Config = Config
    data = "lesion"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.classifier = Classifier(c.backbone, c.channels, len(c.classes.split(",")), c.base)

    def begin(self) -> None:
        if self.config.weights:
            load_weights(self.classifier.backbone, self.config.weights)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"net": torch.optim.Adam(self.parameters(), self.config.lr, weight_decay=self.config.decay)}

    def updates(self, batch: Batch) -> Iterator[Update]:
        c, label = self.config, batch["class"]
        _, logits = self.classifier(varied(batch["image"], self.rand(len(label), DRAWS), c.crop, c.jitter))
        yield "net", F.cross_entropy(logits, label), {}

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        return answer(self.classifier, batch["image"], self.config.crop)

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return scores(batch, prediction)

    @property
    def correlation(self) -> Tensor:
        """R (K, K), how alike the network takes the classes to be."""
        return correlation(self.classifier.head.weight.detach())

    def pooled(self, scores: Batch) -> Batch:
        return pooled(scores) | once(structure(self.correlation, self.config.similarity), len(scores["nll"]))

    def learned(self) -> Batch:
        return matrices(self.correlation, self.config.similarity)
