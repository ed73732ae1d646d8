"""Supervised U-Net: what all the training subjects' labels give, the reference above one-shot segmentation.

It is no rival of equal standing: it reads every label map that a one-shot method does without.

Source: Ronneberger et al., U-Net, arXiv 1505.04597; widths, normalisation and the loss, cross entropy and Dice, are
inferred.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from workbench import method, metrics
from workbench.config import Count, Positive
from workbench.losses.registration import require_labels, segmentation_loss
from workbench.method import Batch, Update
from workbench.models.registration import scores
from workbench.models.unet import UNet


@dataclass(frozen=True)
class Config(method.Config):
    dims: Literal[2, 3] = 2  # of the images, from the data
    classes: str = "structure"  # names of the label values 1, 2, ..., from the data
    base: Count = 8  # channels of the U-Net's first level, each further one has twice as many (inferred)
    levels: Count = 3  # sizes of the U-Net; sides are divisible by 2 ** (levels - 1) (inferred)
    lr: Positive = 3e-3  # Adam's rate, as the rivals'; paper scale 1e-4 (inferred)


PAPER = {"dims": 3, "base": 16, "levels": 4, "lr": 1e-4, "train": 82, "test": 20, "batch": 1, "epochs": 500}


class Supervised(method.Method):
    """predict: `mask` (B, 1, *S) of 0 to K."""

    Config = Config
    data = "anatomy3d"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c, self.labels = config, metrics.classes(config.classes)
        widths = [c.base * 2**level for level in range(c.levels)]
        self.segmenter = UNet(1, 1 + len(self.labels), widths, c.dims)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"segmenter": torch.optim.Adam(self.segmenter.parameters(), self.config.lr)}

    def updates(self, batch: Batch) -> Iterator[Update]:
        require_labels("supervised", batch["label"])
        yield "segmenter", segmentation_loss(self.segmenter(batch["image"]), batch["label"]), {}

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        return {"mask": self.segmenter(batch["image"]).argmax(1, keepdim=True).to(torch.int16)}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return scores(batch, prediction, self.labels)
