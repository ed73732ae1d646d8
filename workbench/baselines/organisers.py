"""The AGE challenge's own baselines: a plain ResNet34 with cross entropy, and a U-Net that fits heat maps by MSE.

Source: the organisers' code, PaddlePaddle/models, PaddleCV/Research/AGEchallenge: ResNet34 with one sigmoid unit, 256
-> 224 pixels, turns up to 29 degrees and flips; ResNet50-U-Net at 256 pixels, Gaussian target of sigma 10 and peak 1,
plain MSE, noise of 0.3 grey levels, flips, the highest pixel decoded. A re-implementation from facts; small networks
are its rivals'. Inferred: halves mirrored for the classifier as for the localizer, the heat map's sigmoid.
Not repeated: the released code mirrors by W - x, one pixel off, multiplies grid points by 998 / 256 without the half
pixel (1.5 pixels off), and prints training distances in pixels of the grid. Its FCN and its Cascade R-CNN on boxes are
left out: both did no better on its own page.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from workbench import method
from workbench.config import Fraction, Natural, Positive, Weight
from workbench.errors import InvalidParameter
from workbench.losses.imbalanced import weighted_bce
from workbench.losses.keypoint import gaussian, intensity, known_mean
from workbench.method import Batch, Update
from workbench.models.angles import AngleNet, SpurNet, decode, framed, kept, pooled, scores, settled, to_grid, turned
from workbench.models.encoders import Encoder, Network


@dataclass(frozen=True)
class Config(method.Config):
    task: Literal["both", "classification", "localization"] = "both"  # which networks there are
    network: Network = "tiny"  # of the classifier; paper scale resnet34 with a plain stem (organisers' code)
    view: Natural = 0  # side that the classifier's images are scaled to, pixels, 0: none; paper scale 256 (code)
    crop: Natural = 0  # side of the square it sees of them, pixels, 0: all; paper scale 224 (code)
    encoder: Encoder = "tiny"  # of the U-Net; paper scale resnet50 (code)
    sigma: Positive = 3.0  # of the target's Gaussian, pixels of the grid; paper scale 10 at 256 (code)
    radius: Natural = 0  # of the window that is decoded, pixels: 0 takes the highest pixel (code)
    turn: Weight = 29.0  # largest random turn of the classifier's training images, degrees (code)
    flip: bool = True  # mirror half of the training images, spurs as x -> W - 1 - x (code)
    noise: Fraction = 0.3 / 255  # half the range of what is added to the localizer's training images (code)
    classifier_lr: Positive = 2e-3  # Adam's rate, as the rivals'; paper scale 1e-4 (code)
    localizer_lr: Positive = 5e-3  # Adam's rate, as the rivals'; paper scale 1e-4 (code)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop and self.view < self.crop:
            raise InvalidParameter("crop", f"at most view={self.view} pixels", str(self.crop), "give a larger view")


PAPER = {
    "network": "resnet34", "view": 256, "crop": 224, "encoder": "resnet50", "sigma": 10.0, "classifier_lr": 1e-4,
    "localizer_lr": 1e-4, "size": 256, "train": 2592, "test": 608, "epochs": 50, "batch": 32,
}  # fmt: skip
ABLATIONS = {"window": {"radius": 3}, "unflipped": {"flip": False, "turn": 10.0}}


class Organisers(method.Method):
    """predict: `score` (B,), the probability of a closed angle; `point` (B, 2), x and y of the spur in source pixels
    of the half; `feature` (B, 1, 48, 48), the maxima of its heat map. As far as `task` says."""

    Config = Config
    data = "asoct"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if config.task != "localization":
            self.classifier = AngleNet(config.network)
        if config.task != "classification":
            self.localizer = SpurNet(config.encoder, ppm=0, skips=True)
        self.register_buffer("threshold", torch.tensor(0.5))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        rates = {"classifier": self.config.classifier_lr, "localizer": self.config.localizer_lr}
        return {name: torch.optim.Adam(net.parameters(), rates[name]) for name, net in self.named_children()}

    def updates(self, batch: Batch) -> Iterator[Update]:
        c, image, known = self.config, batch["image"], batch["known"]
        spur, count = to_grid(batch["spur"], batch["scale"]), len(image)
        if c.task != "localization":
            seen, _, _ = turned(image, spur, known, self.rand(count, 2), c.turn, c.flip)
            logits = self.classifier(framed(seen, c.view, c.crop, self.rand(count, 2)))
            yield "classifier", weighted_bce(logits, batch["closed"], 1.0), {}
        if c.task != "classification":
            seen, spur, known = turned(image, spur, known, self.rand(count, 2), 0.0, c.flip)
            seen = seen + c.noise * (2 * self.rand(*seen.shape) - 1)
            target = gaussian(spur, seen.shape[2:], c.sigma)
            yield "localizer", known_mean(intensity(self.localizer(seen), target, 0.0), known), {}

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        c, found = self.config, {}
        if c.task != "localization":
            found["score"] = self.classifier(framed(batch["image"], c.view, c.crop)).sigmoid()
        if c.task != "classification":
            heat = self.localizer(batch["image"])
            found |= {"point": decode(heat, batch["scale"], c.radius, 1), "feature": kept(heat)}
        return found

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return scores(batch, prediction, self.threshold)

    def settle(self, judged: Iterator[tuple[Batch, Batch]]) -> None:
        """Youden's threshold on the validation halves."""
        self.threshold.fill_(settled(judged))

    def pooled(self, scores: Batch) -> Batch:
        return pooled(scores)
