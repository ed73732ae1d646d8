"""Hard labels: the plain classifier, trained by cross entropy on one-hot targets.

Source: cclnet's card asks for it as the base of every comparison. Network, augmentation and optimizer are those of
cclnet without its block. How alike it takes two classes to be is read from the weights of its last layer (inferred).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch.nn import functional as F

from workbench import method
from workbench.config import Count, Fraction, Natural, Positive, Weight
from workbench.method import Batch, Update
from workbench.models.backbones import Backbone
from workbench.models.classifier import Classified


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


class HardLabels(Classified, method.Method):
    """predict: `logits` and `probability` (B, K); `feature` (B, D), the pooled features that the classifier sees."""

    Config = Config
    data = "lesion"

    def updates(self, batch: Batch) -> Iterator[Update]:
        _, logits = self.seen(batch)
        yield "net", F.cross_entropy(logits, batch["class"]), {}
