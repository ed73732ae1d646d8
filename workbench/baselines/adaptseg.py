"""AdaptSegNet: make target segmentations look like source segmentations to a discriminator; labels are not doubted.

Two cameras differ in colour, the shapes they show do not. A discriminator learns which domain a pair of output maps
comes from, and the segmentor, beside its labels, to deceive it on target images.

Source: Tsai et al., arXiv 1802.10349, with one discriminator at the output, eq. 1 to 4; rates and weight from released
code. `entropy` shows the discriminator entropy maps in place of probabilities: ADVENT (Vu et al., arXiv 1811.12833),
for each sigmoid map on its own (inferred). As a pair it averages two at test.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench import method
from workbench.config import Count, Fraction, Positive, Weight
from workbench.losses.adversarial import critic_loss, generator_loss
from workbench.losses.noisy import noise_tolerant
from workbench.method import Batch, Update
from workbench.models import cupdisc
from workbench.models.cupdisc import Discriminator, Network, segmentor, to_maps, turned


@dataclass(frozen=True)
class Config(method.Config):
    network: Network = "small"  # a U-Net; deeplab at paper scale (follow-up code)
    channels: Count = 3  # of the image, from the data
    base: Count = 8  # the U-Net's first width, doubled twice (inferred)
    pair: bool = False  # two networks of different initialisation, each with its discriminator, averaged at test
    entropy: bool = False  # the discriminator sees entropy maps (ADVENT)
    balance: Weight = 1.0  # of the cross entropy beside the Dice loss (inferred)
    adv_weight: Weight = 0.001  # lambda_adv (paper)
    critic_base: Count = 16  # channels of a discriminator's first layer; 64 (paper) at paper scale
    critic_depth: Count = 2  # its layers before the last; 4 (paper) at paper scale
    critic_optimizer: Literal["adam", "sgd"] = "adam"  # (paper); sgd has momentum 0.99, decay 5e-4 (BEAL)
    critic_lr: Positive = 1e-3  # the discriminators' rate; 1e-4 (paper) at paper scale
    lr: Positive = 1e-2  # Adam's rate; 1e-3 at paper scale (follow-up code)
    beta1: Fraction = 0.9  # Adam (paper)
    beta2: Fraction = 0.99  # Adam (paper)


TINY = {"size": 64, "train": 96, "unlabelled": 40, "test": 40, "rho": 0.5, "batch": 8, "epochs": 15}
PAPER = {
    "size": 512, "train": 320, "unlabelled": 320, "test": 400, "rho": 0.5, "network": "deeplab", "critic_base": 64,
    "critic_depth": 4, "critic_lr": 1e-4, "lr": 1e-3, "epochs": 200, "batch": 8,
}  # fmt: skip
ABLATIONS = {"pair": {"pair": True}, "advent": {"entropy": True}}


def entropy_maps(logits: Tensor) -> Tensor:
    """Entropy of each pixel of sigmoid maps in bits, in [0, 1], of the shape of the logits: of p and 1 - p together."""
    p = logits.sigmoid()
    return (p * F.softplus(-logits) + (1 - p) * F.softplus(logits)) / math.log(2)


class AdaptSeg(method.Method):
    """predict: `mask` (B, 1, H, W), 0, 1 rim, 2 cup, and `score` (B, 2, H, W), probabilities of cup and disc."""

    Config = Config
    data = "fundus"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.peers = ("a", "b") if c.pair else ("a",)
        for peer in self.peers:
            self.add_module(f"net_{peer}", segmentor(c.network, c.channels, c.base))
        for peer in self.peers:
            self.add_module(f"critic_{peer}", Discriminator(2, c.critic_base, c.critic_depth))

    def net(self, peer: str) -> torch.nn.Module:
        return getattr(self, f"net_{peer}")

    def critic(self, peer: str) -> torch.nn.Module:
        return getattr(self, f"critic_{peer}")

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        betas, make = (c.beta1, c.beta2), cupdisc.discriminator_optimizer
        sides = {peer: torch.optim.Adam(self.net(peer).parameters(), c.lr, betas) for peer in self.peers}
        return sides | {f"critic_{p}": make(self.critic(p), c.critic_optimizer, c.critic_lr, betas) for p in self.peers}

    def shown(self, logits: Tensor) -> Tensor:
        """What the discriminator sees, (B, 2, H, W) in [0, 1]."""
        return entropy_maps(logits) if self.config.entropy else logits.sigmoid()

    def updates(self, batch: Batch) -> Iterator[Update]:
        c, labels = self.config, to_maps(batch["label"])
        for peer in self.peers:
            draws = self.rand(len(labels), 3), self.rand(len(labels), 3)
            images = (turned(batch[key], draw) for key, draw in zip(("image", "target"), draws, strict=True))
            source, target = (self.net(peer)(image).float() for image in images)
            loss = noise_tolerant(source, turned(labels, draws[0]), 1.0, 0.0, c.balance).mean()
            adv = c.adv_weight * generator_loss(self.critic(peer)(self.shown(target)), "bce")
            yield peer, loss + adv, {f"adv_{peer}": adv.detach()}
            real, fake = (self.critic(peer)(self.shown(logits.detach())) for logits in (source, target))
            yield f"critic_{peer}", critic_loss(real, fake, "bce"), {}

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        return cupdisc.averaged([self.net(peer) for peer in self.peers], batch["image"])

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return cupdisc.scores(batch, prediction)
