"""WGAN-GP: SMCGAN's generator with one critic on the whole image and a gradient penalty; what is left without
the mask.

Clipped weights make a Wasserstein critic Lipschitz but dull. Asking instead that its gradient has length 1
between real and generated images leaves it its strength. This is the rival nearest to SMCGAN, which adds the
mask and the second critic.

Source: Gulrajani et al., Improved Training of Wasserstein GANs, arXiv 1704.00028, algorithm 1; rates from
released follow-up code. As a rival of SMCGAN it is not described; the colour loss is inferred from its 24 dB,
and `no_color` runs it without. Generator and critic are the shared ones.
Known faults: the penalty holds the gradient with respect to the colours only, the grey input is a condition.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench import method, metrics
from workbench.config import Count, Fraction, Natural, Positive, Weight
from workbench.losses.adversarial import critic_loss, generator_loss, gradient_penalty
from workbench.method import Batch, Update
from workbench.models.colorizer import Generator, PatchCritic


@dataclass(frozen=True)
class Config(method.Config):
    base: Count = 12  # channels after the first convolution; paper scale 64 (inferred)
    blocks: Natural = 2  # residual blocks; paper scale 9 (inferred)
    critic_base: Count = 16  # channels of the critic's first layer; paper scale 64 (inferred)
    critic_depth: Count = 3  # layers before the critic's last; 4 gives the 70x70 field of paper scale (inferred)
    color_weight: Weight = 1000.0  # of the L1 colour loss; paper scale 100, as SMCGAN's (inferred; tuned)
    gan_weight: Weight = 1.0  # of the critic's score (paper)
    penalty: Weight = 10.0  # lambda, of the gradient penalty (paper)
    critic_steps: Count = 1  # updates of the critic for one of the generator; paper scale 5 (paper)
    lr: Positive = 1e-3  # Adam's rate, both sides; 2e-4 (follow-up code) at paper scale (tuned)
    beta1: Fraction = 0.5  # Adam (follow-up code)
    beta2: Fraction = 0.999  # Adam (follow-up code)


PAPER = {
    "size": 256, "train": 1500, "test": 300, "base": 64, "blocks": 9, "critic_base": 64, "critic_depth": 4,
    "color_weight": 100.0, "critic_steps": 5, "lr": 2e-4, "epochs": 200, "batch": 8,
}  # fmt: skip
DEMO = {"source": "samples"}
ABLATIONS = {"no_color": {"color_weight": 0.0}}


class WGANGP(method.Method):
    """predict: `color` (B, 3, H, W) in [0, 1]."""

    Config = Config
    data = "anatomy"
    eager = ("critic",)

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.generator = Generator(1, 3, c.base, c.blocks)
        self.critic = PatchCritic(4, c.critic_base, c.critic_depth)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c, sides = self.config, {"critic": self.critic, "generator": self.generator}
        return {name: torch.optim.Adam(side.parameters(), c.lr, (c.beta1, c.beta2)) for name, side in sides.items()}

    def judge(self, image: Tensor, color: Tensor) -> Tensor:
        return self.critic(torch.cat([image, color], 1))

    def critic_loss(self, image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The Wasserstein loss and the penalty before its weight, two scalars."""
        with torch.no_grad():
            fake = self.generator(image)
        loss = critic_loss(self.judge(image, target), self.judge(image, fake))
        mix = self.rand(len(image))
        return loss, gradient_penalty(lambda color: self.judge(image, color), target, fake, mix)

    def updates(self, batch: Batch) -> Iterator[Update]:
        c, image, target = self.config, batch["image"], batch["target"]
        for _ in range(c.critic_steps):
            loss, penalty = self.critic_loss(image, target)
            yield "critic", loss + c.penalty * penalty, {"critic": loss.detach(), "penalty": penalty.detach()}
        color = self.generator(image)
        terms = {"gan": c.gan_weight * generator_loss(self.judge(image, color))}
        if c.color_weight > 0:
            terms["color"] = c.color_weight * F.l1_loss(2 * color.float(), 2 * target)
        yield "generator", sum(terms.values()), {n: t.detach() for n, t in terms.items()}

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        return {"color": self.generator(batch["image"])}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return metrics.colorization(batch, prediction)
