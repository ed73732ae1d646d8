"""Crop around the spur: a heat map finds it, and the classifier sees the angle around it alone, larger.

What another entry of the AGE challenge did: regression of a heat map, a crop of the angle, SE-ResNet18 with focal loss.

Source: a secondary description of that entry (Fu et al., AGE challenge, MedIA 66:101798, 2020); sizes, the shift of
training crops and the small networks are inferred. The localizer is that of its rivals, trained by the intensity term.
In training the crop lies about the true spur, shifted at random, or about the found one where the true one is unknown;
afterwards about the found one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench import method
from workbench.config import Count, Fraction, Natural, Positive, Weight
from workbench.losses.imbalanced import focal
from workbench.losses.keypoint import gaussian, intensity, known_mean
from workbench.method import Batch, Update
from workbench.models.angles import (
    AngleNet,
    SpurNet,
    around,
    decode,
    kept,
    pooled,
    scores,
    settled,
    to_grid,
    turned,
)  # fmt: skip
from workbench.models.encoders import Encoder, Network


@dataclass(frozen=True)
class Config(method.Config):
    network: Network = "tiny"  # of the classifier; paper scale resnet18 (secondary description)
    squeeze: bool = True  # squeeze-and-excitation in a ResNet (secondary description)
    dropout: Fraction = 0.5  # before the classifier's last layer, as its rival's
    gamma: Weight = 2.0  # focusing of the focal loss, as its rival's
    alpha: Fraction = 0.75  # weight of closed angles in the focal loss, as its rival's
    cut: Count = 72  # side of the crop, pixels of the grid (calibrated); paper scale 224 of 512 (inferred)
    shown: Count = 96  # side that the crop is scaled to, pixels; paper scale 224 (inferred)
    shift: Weight = 4.0  # largest random shift of a training crop, pixels of the grid; paper scale 20 (inferred)
    encoder: Encoder = "tiny"  # of the localizer, as its rival's
    ppm: Count = 3  # grids of the pyramid pooling, as its rival's
    sigma: Positive = 3.0  # of the target's Gaussian, pixels of the grid, as its rival's
    kappa: Weight = 50.0  # weight of the target's place over the background, as its rival's
    beta: Count = 4  # power of the heat map in the soft-argmax, as its rival's
    radius: Natural = 3  # of the window that is decoded, pixels, as its rival's
    turn: Weight = 10.0  # largest random turn of training images, degrees, as its rival's
    classifier_lr: Positive = 2e-3  # Adam's rate, as its rival's; paper scale 1e-4 (inferred)
    localizer_lr: Positive = 5e-3  # Adam's rate, as its rival's; paper scale 1e-3 (inferred)


PAPER = {
    "network": "resnet18", "cut": 224, "shown": 224, "shift": 20.0, "encoder": "efficientnet-b3", "ppm": 4,
    "sigma": 20.0, "classifier_lr": 1e-4, "localizer_lr": 1e-3, "size": 512, "train": 2272, "valid": 320, "test": 608,
    "epochs": 100, "batch": 16, "schedule": "cosine",
}  # fmt: skip
ABLATIONS = {"narrow": {"cut": 48}}


class SpurCrop(method.Method):
    """predict: `score` (B,), the probability of a closed angle; `point` (B, 2), x and y of the spur in source pixels
    of the half; `feature` (B, 1, 48, 48), the maxima of its heat map."""

    Config = Config
    data = "asoct"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.classifier = AngleNet(c.network, dropout=c.dropout, squeeze=c.squeeze and c.network != "tiny")
        self.localizer = SpurNet(c.encoder, c.ppm, skips=True)
        self.register_buffer("threshold", torch.tensor(0.5))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        rates = {"classifier": self.config.classifier_lr, "localizer": self.config.localizer_lr}
        return {name: torch.optim.Adam(net.parameters(), rates[name]) for name, net in self.named_children()}

    def updates(self, batch: Batch) -> Iterator[Update]:
        """A step of the localizer, then one of the classifier on crops of the same images."""
        c, count = self.config, len(batch["image"])
        spur = to_grid(batch["spur"], batch["scale"])
        image, spur, known = turned(batch["image"], spur, batch["known"], self.rand(count, 2), c.turn, flip=False)
        heat = self.localizer(image)
        yield "localizer", known_mean(intensity(heat, gaussian(spur, image.shape[2:], c.sigma), c.kappa), known), {}
        found = decode(heat.detach(), torch.ones_like(known), c.radius, c.beta)
        center = torch.where(known[:, None] > 0, spur, found) + c.shift * (2 * self.rand(count, 2) - 1)
        logits = self.classifier(self.cropped(image, center), self.rand(count, self.classifier.body.out_features))
        yield "classifier", focal(logits, batch["closed"], c.gamma, c.alpha), {}

    def cropped(self, image: Tensor, center: Tensor) -> Tensor:
        """The angle about grid points (B, 2), (B, 1, shown, shown)."""
        c = self.config
        return F.interpolate(around(image, center, c.cut), (c.shown, c.shown), mode="bilinear", antialias=True)

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        c, heat = self.config, self.localizer(batch["image"])
        point = decode(heat, batch["scale"], c.radius, c.beta)
        score = self.classifier(self.cropped(batch["image"], to_grid(point, batch["scale"]))).sigmoid()
        return {"score": score, "point": point, "feature": kept(heat)}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return scores(batch, prediction, self.threshold)

    def settle(self, judged: Iterator[tuple[Batch, Batch]]) -> None:
        """Youden's threshold on the validation halves."""
        self.threshold.fill_(settled(judged))

    def pooled(self, scores: Batch) -> Batch:
        return pooled(scores)
