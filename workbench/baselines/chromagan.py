"""ChromaGAN: predict only the two colour channels of Lab, helped by what the picture shows.

Which colour a pixel has depends on what the picture is of. ChromaGAN reads a class distribution and a vector
from the whole image, tiles the vector over the features of the middle layers, and predicts a and b from both;
L is not predicted but kept. A critic sees L, a and b together.

Source: Vitoria, Raad, Ballester, ChromaGAN, arXiv 1907.09837; the weights of the terms are those of the
released code.
Differences: a small encoder trained from scratch stands where the original starts from VGG16's ImageNet
features, and the classes are the shares of tissues or body regions of the data set, where the original
imitates VGG16's 1000 classes. Averaging replaces flattening before the dense layers, so that any size fits.
Layer sizes at tiny scale are inferred.
Known faults: the input is the luma, not L, of the target, which nobody knows at test time. L of the neutral
grey image stands for it, in training, in front of the critic and in the prediction; for saturated colours it
is off by a few units, and colours outside the gamut are clipped. With a single class the class term is 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import method, metrics
from workbench.config import Count, Fraction, Positive, Weight
from workbench.errors import InvalidParameter
from workbench.losses.adversarial import critic_loss, generator_loss, gradient_penalty
from workbench.method import Batch, Update
from workbench.models.colorizer import PatchCritic
from workbench.models.lab import lightness, to_lab, to_rgb


@dataclass(frozen=True)
class Config(method.Config):
    base: Count = 12  # channels after the first convolution; paper scale 64 (inferred)
    levels: Count = 2  # halvings before the branches part; paper scale 3, 28x28 of 224x224 (paper)
    vector: Count = 32  # length of the vector that describes the whole image; paper scale 256 (paper)
    regions: Count = 7  # classes of the data set, K; the data say how many
    critic_base: Count = 16  # channels of the critic's first layer; paper scale 64 (inferred)
    critic_depth: Count = 3  # layers before the critic's last; 4 gives the 70x70 field of paper scale (inferred)
    color_weight: Weight = 10.0  # of the mean squared error of a and b in [0, 1]; 1 (code) at paper scale (tuned)
    class_weight: Weight = 0.003  # of the KL divergence of the class distributions (code)
    gan_weight: Weight = 0.1  # of the critic's score (code)
    penalty: Weight = 10.0  # gradient penalty of the critic (code)
    critic_steps: Count = 1  # updates of the critic for one of the generator (code)
    lr: Positive = 1e-3  # Adam's rate, both sides; 2e-5 (code) at paper scale (tuned)
    beta1: Fraction = 0.5  # Adam (code)
    beta2: Fraction = 0.999  # Adam (code)


PAPER = {
    "size": 224, "train": 1500, "test": 300, "base": 64, "levels": 3, "vector": 256, "critic_base": 64,
    "critic_depth": 4, "color_weight": 1.0, "lr": 2e-5, "epochs": 200, "batch": 10,
}  # fmt: skip
DEMO = {"source": "samples"}


def layer(wide: int, out: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    conv = nn.Conv2d(wide, out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True))


def dense(wide: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(wide, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, out))


class TwoBranches(nn.Module):
    """L / 100 (B, 1, H, W) -> a and b scaled to [0, 1], (B, 2, H, W), and class logits (B, K).

    H and W are multiples of 2 to the power of `levels`.
    """

    def __init__(self, base: int, levels: int, vector: int, regions: int) -> None:
        super().__init__()
        sizes = [base * 2**n for n in range(levels + 1)]
        wide, half = sizes[-1], sizes[-1] // 2
        self.encoder = nn.Sequential(layer(1, base), *(layer(a, b, 2) for a, b in pairwise(sizes)))
        strided = (layer(wide, wide, 2), layer(wide, wide, 2))
        self.whole = nn.Sequential(*strided, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classify, self.describe = dense(wide, wide, regions), dense(wide, 2 * vector, vector)
        self.middle = nn.Sequential(layer(wide, wide), layer(wide, half))
        self.fuse = layer(half + vector, wide, kernel=1)
        grow = [part for a, b in pairwise(sizes[::-1]) for part in (layer(a, b), nn.Upsample(scale_factor=2))]
        self.decoder = nn.Sequential(*grow, nn.Conv2d(base, 2, 3, padding=1))

    def forward(self, light: Tensor) -> tuple[Tensor, Tensor]:
        shared = self.encoder(2 * light - 1)
        whole, middle = self.whole(shared), self.middle(shared)
        tiled = self.describe(whole)[..., None, None].expand(-1, -1, *middle.shape[2:])
        ab = self.decoder(self.fuse(torch.cat([middle, tiled], 1))).float().sigmoid()
        return ab, self.classify(whole)


def class_loss(region: Tensor, logits: Tensor) -> Tensor:
    """KL(region || softmax(logits)), a scalar in nats averaged over items, of shares and logits (B, K); 0 if K = 1.

    Source: arXiv 1907.09837.
    """
    return F.kl_div(logits.float().log_softmax(1), region.float(), reduction="batchmean")


class ChromaGAN(method.Method):
    """predict: `color` (B, 3, H, W) in [0, 1], with the L of the grey input."""

    Config = Config
    data = "anatomy"
    eager = ("critic",)

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.generator = TwoBranches(c.base, c.levels, c.vector, c.regions)
        self.critic = PatchCritic(3, c.critic_base, c.critic_depth)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c, sides = self.config, {"critic": self.critic, "generator": self.generator}
        return {name: torch.optim.Adam(side.parameters(), c.lr, (c.beta1, c.beta2)) for name, side in sides.items()}

    def judge(self, light: Tensor, ab: Tensor) -> Tensor:
        return self.critic(torch.cat([light, ab], 1))

    def critic_loss(self, light: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The Wasserstein loss and the penalty before its weight, two scalars."""
        with torch.no_grad():
            fake, _ = self.generator(light)
        loss = critic_loss(self.judge(light, target), self.judge(light, fake))
        mix = self.rand(len(light))
        return loss, gradient_penalty(lambda ab: self.judge(light, ab), target, fake, mix)

    def updates(self, batch: Batch) -> Iterator[Update]:
        c, region = self.config, batch["region"]
        if region.shape[1] != c.regions:
            remedy = f"give regions={region.shape[1]}"
            raise InvalidParameter("regions", f"the data's {region.shape[1]} classes", str(c.regions), remedy)
        light, target = lightness(batch["image"]), to_lab(batch["target"])[:, 1:]
        for _ in range(c.critic_steps):
            loss, penalty = self.critic_loss(light, target)
            yield "critic", loss + c.penalty * penalty, {"critic": loss.detach(), "penalty": penalty.detach()}
        ab, logits = self.generator(light)
        terms = {
            "color": c.color_weight * F.mse_loss(ab, target),
            "class": c.class_weight * class_loss(region, logits),
            "gan": c.gan_weight * generator_loss(self.judge(light, ab)),
        }
        yield "generator", sum(terms.values()), {n: t.detach() for n, t in terms.items()}

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        light = lightness(batch["image"])
        ab, _ = self.generator(light)
        return {"color": to_rgb(torch.cat([light, ab], 1))}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return metrics.colorization(batch, prediction)
