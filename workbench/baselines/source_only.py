"""A segmentor of cup and disc that learns from the source camera's labels as they are: what every fix has to beat.

It neither doubts a label nor looks at the target camera. With clean labels it is the upper reference of what denoising
can bring; as a pair it tells how much of a rival's gain is that of averaging two networks; with the noise-tolerant loss
it is that fix alone.

Source: U-Net (Ronneberger et al., arXiv 1505.04597) with Dice and cross entropy; DeepLabv3+ at paper scale. Optimiser
and augmentation are those of all arms of the comparison.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from workbench import method
from workbench.config import Count, Fraction, Positive, Weight
from workbench.losses.noisy import noise_tolerant
from workbench.method import Batch, Update
from workbench.models import cupdisc
from workbench.models.cupdisc import Network, segmentor, to_maps, turned


@dataclass(frozen=True)
class Config(method.Config):
    network: Network = "small"  # a U-Net; deeplab at paper scale (follow-up code)
    channels: Count = 3  # of the image, from the data
    base: Count = 8  # the U-Net's first width, doubled twice (inferred)
    pair: bool = False  # two networks of different initialisation, averaged at test
    labels: Literal["noisy", "clean"] = "noisy"  # clean ones are an upper reference, not a rival
    power: Positive = 1.0  # g of the noise-robust Dice loss; 1 is the Dice loss
    q: Fraction = 0.0  # of the generalised cross entropy; 0 is the cross entropy
    balance: Weight = 1.0  # of the cross entropy beside the Dice loss (inferred)
    lr: Positive = 1e-2  # Adam's rate; 1e-3 at paper scale (follow-up code)
    beta1: Fraction = 0.9  # Adam (follow-up code)
    beta2: Fraction = 0.99  # Adam (follow-up code)


TINY = {"size": 64, "train": 96, "unlabelled": 40, "test": 40, "rho": 0.5, "batch": 8, "epochs": 15}
PAPER = {
    "size": 512, "train": 320, "unlabelled": 320, "test": 400, "rho": 0.5, "network": "deeplab", "lr": 1e-3,
    "epochs": 200, "batch": 8,
}  # fmt: skip
ABLATIONS = {
    "pair": {"pair": True},
    "clean": {"labels": "clean"},
    "clean_pair": {"labels": "clean", "pair": True},
    "tolerant": {"power": 1.5, "q": 0.7},
}


class SourceOnly(method.Method):
    """predict: `mask` (B, 1, H, W), 0, 1 rim, 2 cup, and `score` (B, 2, H, W), probabilities of cup and disc."""

    Config = Config
    data = "fundus"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.peers = ("a", "b") if c.pair else ("a",)
        for peer in self.peers:
            self.add_module(f"net_{peer}", segmentor(c.network, c.channels, c.base))

    def net(self, peer: str) -> torch.nn.Module:
        return getattr(self, f"net_{peer}")

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        return {p: torch.optim.Adam(self.net(p).parameters(), c.lr, (c.beta1, c.beta2)) for p in self.peers}

    def updates(self, batch: Batch) -> Iterator[Update]:
        c, labels = self.config, to_maps(batch["label" if self.config.labels == "noisy" else "clean"])
        for peer in self.peers:
            draw = self.rand(len(labels), 3)
            logits = self.net(peer)(turned(batch["image"], draw))
            yield peer, noise_tolerant(logits, turned(labels, draw), c.power, c.q, c.balance).mean(), {}

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        return cupdisc.averaged([self.net(peer) for peer in self.peers], batch["image"])

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return cupdisc.scores(batch, prediction)
