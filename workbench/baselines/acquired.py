"""Acquired: the tumour segmented in images that were acquired, T2 alone or all four, without any synthesis.

T2 alone is what synthetic modalities must beat, as they are functions of T2. All four are the upper bound, and what the
judge finds in them is the upper bound of what it can find in synthetic ones.

Source: the card of TC-MGAN asks for both bounds (T2 alone as in 3D-MC-SAGAN, arXiv 2604.00070); network, loss and
schedule are those of the other arms' segmentors, which learn on the same cases for the same number of steps.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from workbench import method
from workbench.method import Batch, Update
from workbench.models.readers import JUDGE, Readers, Stages, mirrored, reading, reading_loss, segmentor


@dataclass(frozen=True)
class Config(Stages):
    inputs: Literal["t2", "four"] = "t2"  # what is segmented (card, section 8)


TINY = {"epochs": 40, "batch": 16, "valid_every": 8}
DEMO = TINY | {"train": 400, "segmentation": 100, "test": 100}
PAPER = {
    "size": 128, "pretrain": 30, "gan_epochs": 100, "judge_epochs": 30, "segment_from": 131, "reader_base": 64,
    "reader_lr": 1e-3, "epochs": 160, "batch": 64, "train": 12000, "segmentation": 12000, "valid": 480, "test": 10200,
    "slices": 155, "data_seed": 10,
}  # fmt: skip
ABLATIONS = {"four": {"inputs": "four"}}


class Acquired(method.Method):
    """predict: `mask` (B, 1, H, W), 0 or 1, the tumour.

    score: `dice_p1` and `dice_p2` are one value here, as nothing is synthetic; of four modalities also the judge's.
    """

    Config = Config
    data = "brain"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if config.inputs == "four":
            self.readers = Readers(config, (JUDGE,))
        self.net = segmentor(1 if config.inputs == "t2" else 4, config.reader_base)
        self.register_buffer("trained", torch.zeros(()))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        own = {"net": torch.optim.Adam(self.net.parameters(), self.config.reader_lr)}
        return own | (self.readers.optimizers() if self.config.inputs == "four" else {})

    def images(self, image: Tensor, target: Tensor | None) -> Tensor:
        return torch.cat([image, target], 1) if self.config.inputs == "four" else image

    def updates(self, batch: Batch) -> Iterator[Update]:
        draw = self.rand(len(batch["image"]), 2)
        if self.config.inputs == "four":
            yield from self.readers.updates(batch, self.epoch, draw, lambda image: image)
        if self.epoch >= self.config.segment_from:
            images = self.images(batch["seg_image"], batch["seg_target"])
            images, label = (mirrored(part.float(), draw[:, 1]) for part in (images, batch["seg_label"]))
            self.trained += 1
            yield "net", reading_loss(self.net(images), label), {}

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        others = batch["target"] if self.config.inputs == "four" else None
        return {"mask": (self.net(self.images(batch["image"], others)).float() > 0).float()}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        one = reading(prediction["mask"], batch)
        one = {key: torch.where(self.trained > 0, value, torch.nan) for key, value in one.items()}
        found = {f"{key}_{way}": value for key, value in one.items() for way in ("p1", "p2")}
        if self.config.inputs == "four":
            found |= self.readers.readings(batch["image"], batch["target"], batch)
        return found
