"""GAN: the original adversarial game, with a plain convolutional encoder and decoder and no pixel loss.

Nobody tells the generator which colour a pixel has; it only has to make colours that the critic takes for
real beside the grey input. Everything that tied it to the target, reconstruction above all, is absent. It
shows what the adversarial term does on its own, and the paper's 13.8 dB agree with that.

Source: Goodfellow et al., Generative Adversarial Networks, arXiv 1406.2661, with the non-saturating loss of
its section 3. As a rival of SMCGAN it is not described: the network, the absence of a pixel loss and of a
noise vector, the critic's view of the grey input and all rates are inferred. Convolutions replace the
original's dense layers.
Known faults: a critic that wins leaves the generator without a direction, and colours may swap between organs
freely.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import method, metrics
from workbench.config import Count, Fraction, Positive, Weight
from workbench.losses.adversarial import critic_loss, generator_loss
from workbench.method import Batch, Update


@dataclass(frozen=True)
class Config(method.Config):
    base: Count = 20  # channels after the first convolution; paper scale 64 (inferred)
    critic_base: Count = 16  # channels of the critic's first layer; paper scale 64 (inferred)
    color_weight: Weight = 0.0  # of an L1 colour loss, which a plain GAN has not (inferred)
    critic_steps: Count = 1  # updates of the critic for one of the generator, k (paper)
    lr: Positive = 5e-4  # Adam's rate, both sides; paper scale 2e-4 (inferred; tuned)
    beta1: Fraction = 0.5  # Adam (inferred)
    beta2: Fraction = 0.999  # Adam (inferred)


PAPER = {"size": 256, "train": 1500, "test": 300, "base": 64, "critic_base": 64, "lr": 2e-4, "epochs": 200, "batch": 8}
DEMO = {"source": "samples"}


def layer(wide: int, out: int) -> nn.Sequential:
    """3x3 convolution and ReLU, without normalisation."""
    return nn.Sequential(nn.Conv2d(wide, out, 3, padding=1), nn.ReLU(inplace=True))


class PlainGenerator(nn.Sequential):
    """Two poolings down, two upsamplings up: (B, 1, H, W) -> (B, 3, H, W), in [0, 1]; H and W multiples of 4."""

    def __init__(self, base: int) -> None:
        down = (layer(1, base), nn.MaxPool2d(2), layer(base, 2 * base), nn.MaxPool2d(2), layer(2 * base, 4 * base))
        up = (layer(4 * base, 4 * base), nn.Upsample(scale_factor=2), layer(4 * base, 2 * base))
        last = (nn.Upsample(scale_factor=2), layer(2 * base, base), nn.Conv2d(base, 3, 3, padding=1))
        super().__init__(*down, *up, *last)

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(2 * image - 1).sigmoid()


class PlainCritic(nn.Sequential):
    """One logit an image, (B, 1), of grey and colour together, (B, 4, H, W) in [0, 1]."""

    def __init__(self, base: int) -> None:
        down = (layer(4, base), nn.MaxPool2d(2), layer(base, 2 * base), nn.MaxPool2d(2), layer(2 * base, 4 * base))
        super().__init__(*down, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * base, 1))

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(2 * image - 1)


class GAN(method.Method):
    """predict: `color` (B, 3, H, W) in [0, 1]."""

    Config = Config
    data = "anatomy"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.generator, self.critic = PlainGenerator(config.base), PlainCritic(config.critic_base)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c, sides = self.config, {"critic": self.critic, "generator": self.generator}
        return {name: torch.optim.Adam(side.parameters(), c.lr, (c.beta1, c.beta2)) for name, side in sides.items()}

    def judge(self, image: Tensor, color: Tensor) -> Tensor:
        return self.critic(torch.cat([image, color], 1))

    def updates(self, batch: Batch) -> Iterator[Update]:
        c, image, target = self.config, batch["image"], batch["target"]
        for _ in range(c.critic_steps):
            with torch.no_grad():
                fake = self.generator(image)
            loss = critic_loss(self.judge(image, target), self.judge(image, fake), "bce")
            yield "critic", loss, {"critic": loss.detach()}
        color = self.generator(image)
        terms = {"gan": generator_loss(self.judge(image, color), "bce")}
        if c.color_weight > 0:
            terms["color"] = c.color_weight * F.l1_loss(2 * color.float(), 2 * target)
        yield "generator", sum(terms.values()), {n: t.detach() for n, t in terms.items()}

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        return {"color": self.generator(batch["image"])}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return metrics.colorization(batch, prediction)
