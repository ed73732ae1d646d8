"""WGAN: SMCGAN's generator with one critic on the whole image, kept Lipschitz by clipping its weights.

The cross entropy of a GAN stops teaching once the critic is right. The Wasserstein distance grows smoothly
with the difference between real and generated images, if the critic is Lipschitz, and clipping every weight
is the simplest way to make it so. Without a mask, the critic spends its attention on the background too.

Source: Arjovsky, Chintala, Bottou, Wasserstein GAN, arXiv 1701.07875, algorithm 1. As a rival of SMCGAN it is
not described; the colour loss is inferred from its 25 dB, and `no_color` runs it without. Generator and
critic are the shared ones.
Known faults: a critic clipped to 0.01 becomes too simple, and its gradients shrink or grow with its depth; the
authors themselves call clipping a terrible way.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench import method, metrics
from workbench.config import Count, Natural, Positive, Weight
from workbench.losses.adversarial import clip_weights, critic_loss, generator_loss
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
    weight_clip: Positive = 0.01  # every weight of the critic is kept in [-weight_clip, weight_clip] (paper)
    critic_steps: Count = 1  # updates of the critic for one of the generator; paper scale 5 (paper)
    lr: Positive = 2e-4  # RMSprop's rate, both sides; 5e-5 (paper) at paper scale (tuned)


PAPER = {
    "size": 256, "train": 1500, "test": 300, "base": 64, "blocks": 9, "critic_base": 64, "critic_depth": 4,
    "color_weight": 100.0, "critic_steps": 5, "lr": 5e-5, "epochs": 200, "batch": 8,
}  # fmt: skip
DEMO = {"source": "samples"}
ABLATIONS = {"no_color": {"color_weight": 0.0}}


class WGAN(method.Method):
    """predict: `color` (B, 3, H, W) in [0, 1]."""

    Config = Config
    data = "anatomy"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.generator = Generator(1, 3, c.base, c.blocks)
        self.critic = PatchCritic(4, c.critic_base, c.critic_depth)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        sides = {"critic": self.critic, "generator": self.generator}
        return {name: torch.optim.RMSprop(side.parameters(), self.config.lr) for name, side in sides.items()}

    def judge(self, image: Tensor, color: Tensor) -> Tensor:
        return self.critic(torch.cat([image, color], 1))

    def updates(self, batch: Batch) -> Iterator[Update]:
        c, image, target = self.config, batch["image"], batch["target"]
        for _ in range(c.critic_steps):
            with torch.no_grad():
                fake = self.generator(image)
            loss = critic_loss(self.judge(image, target), self.judge(image, fake))
            yield "critic", loss, {"critic": loss.detach()}
            clip_weights(self.critic, c.weight_clip)
        color = self.generator(image)
        terms = {"gan": c.gan_weight * generator_loss(self.judge(image, color))}
        if c.color_weight > 0:
            terms["color"] = c.color_weight * F.l1_loss(2 * color.float(), 2 * target)
        yield "generator", sum(terms.values()), {n: t.detach() for n, t in terms.items()}

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        return {"color": self.generator(batch["image"])}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return metrics.colorization(batch, prediction)
