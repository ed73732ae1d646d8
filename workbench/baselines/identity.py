"""Identity: the floor that lays the atlas's labels over the scan as they are.

A field of zeros makes a perfect cycle and never folds, so what a registration gains in Dice must be seen above this.

Source: the card of LT-Net asks for it (inferred).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from workbench import method, metrics
from workbench.method import Batch, Update
from workbench.models.registration import scores


@dataclass(frozen=True)
class Config(method.Config):
    dims: Literal[2, 3] = 2  # of the images, from the data
    classes: str = "structure"  # names of the label values 1, 2, ..., from the data


class Identity(method.Method):
    """predict: `mask` (B, 1, *S), the atlas's, and `flow` (B, D, *S), zeros."""

    Config = Config
    data = "anatomy3d"

    def updates(self, batch: Batch) -> Iterator[Update]:
        yield from ()

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        image = batch["image"]
        flow = torch.zeros(len(image), self.config.dims, *image.shape[2:], device=image.device)
        return {"mask": batch["atlas_label"], "flow": flow}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return scores(batch, prediction, metrics.classes(self.config.classes), prediction["flow"])
