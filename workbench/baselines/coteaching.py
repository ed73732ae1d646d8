"""Co-teaching: two networks that choose, one for the other, the images whose labels they believe; no adaptation.

A network learns what most labels agree on before it fits the wrong ones, so a label that costs it much is doubtful.
Choosing for itself it would confirm its own mistakes; two networks of different initialisation filter different ones.

Source: Han et al., arXiv 1804.06872, algorithm 1, with its R(e), for whole images of segmentations (inferred) under
Dice and cross entropy. The released code keeps the networks apart at test; here they are averaged, as the method's.
Images are chosen within a batch part. The share of wrong labels is taken as known, as there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from workbench import method
from workbench.config import Count, Fraction, Positive, Weight
from workbench.losses.noisy import gce, noise_tolerant, remembered, smallest
from workbench.method import Batch, Update
from workbench.models import cupdisc
from workbench.models.cupdisc import Network, segmentor, to_maps, turned


@dataclass(frozen=True)
class Config(method.Config):
    network: Network = "small"  # of each peer, a U-Net; deeplab at paper scale (follow-up code)
    channels: Count = 3  # of the image, from the data
    base: Count = 8  # the U-Net's first width, doubled twice (inferred)
    tau: Fraction = 0.5  # share of the labels that is dropped in the end: the share that is wrong (paper)
    ramp: Count = 8  # E_k, epochs until tau is reached; 10 (paper) at paper scale
    rank: Literal["pixels", "all"] = "pixels"  # loss that ranks images: cross entropy (paper), or Dice with it
    balance: Weight = 1.0  # of the cross entropy beside the Dice loss (inferred)
    lr: Positive = 1e-2  # Adam's rate; 1e-3 (paper) at paper scale
    beta1: Fraction = 0.9  # Adam (follow-up code)
    beta2: Fraction = 0.99  # Adam (follow-up code)


TINY = {"size": 64, "train": 96, "unlabelled": 40, "test": 40, "rho": 0.5, "batch": 8, "epochs": 15}
PAPER = {
    "size": 512, "train": 320, "unlabelled": 320, "test": 400, "rho": 0.5, "network": "deeplab", "lr": 1e-3,
    "ramp": 10, "epochs": 200, "batch": 8,
}  # fmt: skip
PEERS = {"a": "b", "b": "a"}  # each with its mentor


class CoTeaching(method.Method):
    """predict: `mask` (B, 1, H, W), 0, 1 rim, 2 cup, and `score` (B, 2, H, W), probabilities of cup and disc, the mean
    of both networks."""

    Config = Config
    data = "fundus"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.net_a, self.net_b = (segmentor(c.network, c.channels, c.base) for _ in PEERS)

    def net(self, peer: str) -> torch.nn.Module:
        return getattr(self, f"net_{peer}")

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        return {p: torch.optim.Adam(self.net(p).parameters(), c.lr, (c.beta1, c.beta2)) for p in PEERS}

    @torch.no_grad()
    def choose(self, peer: str, image: Tensor, target: Tensor) -> Tensor:
        """The places (K,) of the images that this network believes."""
        net, c = self.net(peer), self.config
        was = net.training
        net.eval()
        logits = net(image).float()
        net.train(was)
        if c.rank == "pixels":
            losses = gce(logits, target, 0.0).flatten(1).mean(1)
        else:
            losses = noise_tolerant(logits, target, 1.0, 0.0, c.balance)
        return smallest(losses, remembered(self.epoch - 1, c.tau, c.ramp))

    def updates(self, batch: Batch) -> Iterator[Update]:
        image, target = batch["image"], to_maps(batch["label"])
        chosen = {peer: self.choose(peer, image, target) for peer in PEERS}
        clean = {f"selected_clean_{peer}": 1 - batch["noisy"][places].mean() for peer, places in chosen.items()}
        for peer, mentor in PEERS.items():
            places = chosen[mentor]
            draw = self.rand(len(image), 3)[places]
            logits = self.net(peer)(turned(image[places], draw))
            loss = noise_tolerant(logits, turned(target[places], draw), 1.0, 0.0, self.config.balance)
            yield peer, loss.mean(), clean if peer == "a" else {}

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        return cupdisc.averaged([self.net_a, self.net_b], batch["image"])

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return cupdisc.scores(batch, prediction)
