"""DCGAN: adversarial colorization with strided and transposed convolutions and batch normalisation.

Convolutional GANs trained poorly until a handful of rules made them stable: strides instead of pooling, batch
normalisation, leaky units, small Gaussian weights, Adam with little momentum. The first network here follows
them and has neither skips nor a pixel loss, so its pictures lose their detail. The second, named `nazeri`, is
the conditional DCGAN that was made for colorization: a U-Net that predicts Lab, tied to the target by L1.

Sources: Radford, Metz, Chintala, arXiv 1511.06434, for the rules; Nazeri, Ng, Ebrahimi, arXiv 1803.05400, and
the authors' released code for the variant. Inferred: a generator that starts from the grey image instead of
noise, the critic's view of it, all sizes at tiny scale. The critic scores overlapping fields, where both
sources end in one dense score; the U-Net leaves dropout out.
Known faults: each batch is normalised by its own statistics, so real and generated images are told apart by
them too, and two processes do not equal one without synchronised batch normalisation.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import method, metrics
from workbench.config import Count, Fraction, Positive, Weight
from workbench.losses.adversarial import generator_loss
from workbench.method import Batch, Update
from workbench.models.lab import to_lab, to_rgb


@dataclass(frozen=True)
class Config(method.Config):
    network: Literal["straight", "unet"] = "straight"  # a generator without skips (DCGAN) or with them (Nazeri)
    space: Literal["rgb", "lab"] = "rgb"  # the colour space of generator and critic: rgb (paper) or lab (Nazeri)
    base: Count = 12  # channels after the first convolution; paper scale 64 (inferred)
    depth: Count = 4  # halvings of the generator; the image must divide by 2 to this power (inferred)
    critic_base: Count = 16  # channels of the critic's first layer; paper scale 64 (inferred)
    critic_depth: Count = 3  # halvings of the critic; paper scale 4 (inferred)
    color_weight: Weight = 0.0  # of the L1 colour loss: none in DCGAN (inferred), 100 in Nazeri's (code)
    real_label: Fraction = 1.0  # what the critic is to call real: 1, or 0.9 with label smoothing (Nazeri, code)
    generator_steps: Count = 1  # updates of the generator for one of the critic; Nazeri's has 2 (code)
    lr: Positive = 5e-4  # Adam's rate of the generator; 2e-4 (paper) at paper scale, Nazeri 3e-4 (code) (tuned)
    critic_rate: Positive = 1.0  # the critic's rate as a share of lr; Nazeri's has 0.1 (code)
    beta1: Fraction = 0.5  # Adam (paper)
    beta2: Fraction = 0.999  # Adam (paper)
    std: Positive = 0.02  # standard deviation of the initial weights (paper)


PAPER = {
    "size": 256, "train": 1500, "test": 300, "base": 64, "depth": 6, "critic_base": 64, "critic_depth": 4,
    "lr": 2e-4, "epochs": 200, "batch": 8,
}  # fmt: skip
DEMO = {"source": "samples"}
ABLATIONS = {
    "nazeri": {
        "network": "unet", "space": "lab", "base": 8, "depth": 3, "color_weight": 100.0, "real_label": 0.9,
        "generator_steps": 2, "lr": 3e-4, "critic_rate": 0.1,
    },
}  # fmt: skip


def widths(base: int, depth: int) -> list[int]:
    """Channels of `depth` layers, doubled from one to the next up to 8 times `base`."""
    return [base * 2 ** min(n, 3) for n in range(depth)]


def down(wide: int, out: int, norm: bool = True) -> nn.Sequential:
    """4x4 convolution of stride 2, batch norm unless it is the first, LeakyReLU 0.2."""
    layers = [nn.Conv2d(wide, out, 4, 2, 1, bias=not norm)] + [nn.BatchNorm2d(out)] * norm
    return nn.Sequential(*layers, nn.LeakyReLU(0.2, inplace=True))


def up(wide: int, out: int) -> nn.Sequential:
    """4x4 transposed convolution of stride 2, batch norm, ReLU."""
    conv = nn.ConvTranspose2d(wide, out, 4, 2, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True))


class Straight(nn.Sequential):
    """Down and up again without skips: (B, 1, H, W) in [0, 1] -> (B, 3, H, W) in [0, 1]."""

    def __init__(self, base: int, depth: int) -> None:
        wide = widths(base, depth)
        encoder = [down(a, b, norm=n > 0) for n, (a, b) in enumerate(pairwise([1, *wide]))]
        decoder = [up(a, b) for a, b in pairwise(wide[::-1])]
        super().__init__(*encoder, *decoder, nn.ConvTranspose2d(base, 3, 4, 2, 1))

    def forward(self, image: Tensor) -> Tensor:
        return (super().forward(2 * image - 1).tanh() + 1) / 2


class UNet(nn.Module):
    """Nazeri's generator: each decoder layer is joined by the encoder's of its size; shapes as `Straight`."""

    def __init__(self, base: int, depth: int) -> None:
        super().__init__()
        wide = [base, *widths(2 * base, depth)]
        same = (nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(1, base, 4, bias=False))  # an even kernel, the size kept
        first = (*same, nn.BatchNorm2d(base), nn.LeakyReLU(0.2, inplace=True))
        self.encoder = nn.ModuleList([nn.Sequential(*first), *(down(a, b) for a, b in pairwise(wide))])
        joined = [wide[-1], *(2 * b for b in wide[-2:0:-1])]
        self.decoder = nn.ModuleList(up(a, b) for a, b in zip(joined, wide[-2::-1], strict=True))
        self.last = nn.Conv2d(2 * base, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        x, skips = 2 * image - 1, []
        for layer in self.encoder:
            x = layer(x)
            skips.append(x)
        for layer, skip in zip(self.decoder, skips[-2::-1], strict=True):
            x = torch.cat([layer(x), skip], 1)
        return (self.last(x).tanh() + 1) / 2


class Critic(nn.Sequential):
    """Strided convolutions, batch norm in all but the first and last: (B, 4, H, W) in [0, 1] -> logits (B, 1, h, w)."""

    def __init__(self, base: int, depth: int) -> None:
        wide = [4, *widths(base, depth)]
        layers = [down(a, b, norm=n > 0) for n, (a, b) in enumerate(pairwise(wide))]
        super().__init__(*layers, nn.Conv2d(wide[-1], 1, 4, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(2 * image - 1)


def initialize(network: nn.Module, std: float) -> None:
    """Weights of convolutions from N(0, std), scales of batch norm from N(1, std), offsets 0 (arXiv 1511.06434)."""
    for part in network.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d):
            nn.init.normal_(part.weight, float(isinstance(part, nn.BatchNorm2d)), std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def smoothed_loss(real: Tensor, fake: Tensor, label: float) -> Tensor:
    """What the critic minimises, a scalar, from logits: cross entropy to `label` for real and 0 for generated, halved.

    One-sided smoothing (arXiv 1606.03498, 3.4); with label 1 it is the plain cross entropy.
    """
    real, fake = real.float(), fake.float()
    return (F.binary_cross_entropy_with_logits(real, torch.full_like(real, label)) + F.softplus(fake).mean()) / 2


class DCGAN(method.Method):
    """predict: `color` (B, 3, H, W) in [0, 1]."""

    Config = Config
    data = "anatomy"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.generator = (Straight if c.network == "straight" else UNet)(c.base, c.depth)
        self.critic = Critic(c.critic_base, c.critic_depth)
        initialize(self, c.std)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c, betas = self.config, (self.config.beta1, self.config.beta2)
        critic = torch.optim.Adam(self.critic.parameters(), c.lr * c.critic_rate, betas)
        return {"critic": critic, "generator": torch.optim.Adam(self.generator.parameters(), c.lr, betas)}

    def judge(self, image: Tensor, color: Tensor) -> Tensor:
        return self.critic(torch.cat([image, color], 1))

    def updates(self, batch: Batch) -> Iterator[Update]:
        c, image = self.config, batch["image"]
        target = to_lab(batch["target"]) if c.space == "lab" else batch["target"]
        with torch.no_grad():
            fake = self.generator(image)
        loss = smoothed_loss(self.judge(image, target), self.judge(image, fake), c.real_label)
        yield "critic", loss, {"critic": loss.detach()}
        for _ in range(c.generator_steps):
            color = self.generator(image)
            terms = {"gan": generator_loss(self.judge(image, color), "bce")}
            if c.color_weight > 0:
                terms["color"] = c.color_weight * F.l1_loss(2 * color.float(), 2 * target)
            yield "generator", sum(terms.values()), {n: t.detach() for n, t in terms.items()}

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        color = self.generator(batch["image"])
        return {"color": to_rgb(color) if self.config.space == "lab" else color}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return metrics.colorization(batch, prediction)
