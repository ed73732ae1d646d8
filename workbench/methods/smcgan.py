"""SMCGAN: colorize a grey slice, guided by a mask of the body that the generator predicts itself.

Whole-image critics reward a clean background as much as right organs. SMCGAN adds a second decoder that segments the
foreground and a second critic that sees images with the background masked away, so that adversarial pressure falls on
the anatomy.

Source: Zhang, Li, Shin: Robust Medical Image Colorization with Spatial Mask-Guided Generative Adversarial Network,
Bioengineering 2022, 9(12), 721, doi 10.3390/bioengineering9120721. No official code is known. This is a
reconstruction: the two branches, the two critics and the terms color, gan1 and gan2 are stated; layer sizes, weights,
rates and the supervision of the mask are inferred from the paper's reference list (SMSR and DGNet for Gumbel masks,
WGAN-GP, PatchGAN). Known faults: without supervision of the mask, M -> 0 blinds the second critic and is optimal;
`mask_loss` prevents it. Released trainers of the cited sparse-mask family never advance tau; here it follows the
epoch.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import method, metrics
from workbench.compare import Claim
from workbench.config import Count, Fraction, Natural, Positive, Weight
from workbench.errors import InvalidParameter
from workbench.losses.adversarial import critic_loss, generator_loss, gradient_penalty
from workbench.method import Batch, Update
from workbench.models.colorizer import Decoder, Encoder, PatchCritic


@dataclass(frozen=True)
class Config(method.Config):
    base: Count = 12  # channels after the first convolution; paper scale 64 (inferred)
    blocks: Natural = 2  # residual blocks; paper scale 9 (inferred)
    critic_base: Count = 16  # channels of the critics' first layer; paper scale 64 (inferred)
    critic_depth: Count = 3  # layers before the critics' last; 4 gives the 70x70 field of paper scale (inferred)
    color_weight: Weight = 1000.0  # l_c, of the L1 colour loss; paper scale 100 (inferred; tuned as the rivals')
    gan1_weight: Weight = 1.0  # l_1, of the critic on whole images (inferred)
    gan2_weight: Weight = 1.0  # l_2, of the critic on masked images (inferred)
    mask_weight: Weight = 50.0  # l_m, of the mask's supervision; at 1 the critics bend the mask (calibrated)
    penalty: Weight = 10.0  # gradient penalty of each critic (WGAN-GP; inferred)
    adversary: Literal["wasserstein", "lsgan"] = "wasserstein"  # the critics' loss (inferred)
    mask_loss: Literal["bce", "density", "none"] = "bce"  # to the pseudo foreground or a share of pixels (inferred)
    density: Fraction = 0.35  # rho, the share of foreground that mask_loss=density aims at (inferred)
    mask: Literal["soft", "straight-through", "threshold"] = "soft"  # how the logits become M in training (inferred)
    gumbel: bool = True  # add Gumbel noise to the mask's logits (follow-up code)
    tau_floor: Positive = 0.4  # the lowest temperature (follow-up code)
    tau_epochs: Positive = 13.3  # tau = max(1 - (epoch - 1) / tau_epochs, floor); 500 in follow-up code, scaled
    critic_steps: Count = 1  # updates of the critics for one of the generator; paper scale 5 (inferred)
    lr: Positive = 1e-3  # Adam's rate, both sides; paper scale 2e-4 (inferred; tuned as the rivals')
    beta1: Fraction = 0.5  # Adam (inferred)
    beta2: Fraction = 0.9  # Adam (inferred)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mask == "threshold" and self.mask_loss != "bce":
            remedy = "use mask_loss=bce, or mask=soft"
            raise InvalidParameter("mask_loss", "bce where mask=threshold passes no gradient", self.mask_loss, remedy)


PAPER = {
    "size": 256, "train": 1500, "test": 300, "base": 64, "blocks": 9, "critic_base": 64, "critic_depth": 4,
    "color_weight": 100.0, "mask_weight": 1.0, "critic_steps": 5, "tau_epochs": 166.0, "lr": 2e-4,
    "epochs": 200, "batch": 8,
}  # fmt: skip
DEMO = {"source": "samples", "epochs": 15}
ABLATIONS = {
    "no_color": {"color_weight": 0.0},
    "no_gan1": {"gan1_weight": 0.0},
    "no_gan2": {"gan2_weight": 0.0},
    "hard_mask": {"mask": "threshold"},
    "no_gumbel": {"gumbel": False},
}
RIVALS = ("gan", "dcgan", "chromagan", "wgan", "wgan_gp", "cyclegan")
FLOORS = ("grey", "colortable")
TABLE = (
    *((side, name) for side in ("black", "white", "average") for name in ("mae", "psnr", "ssim")),
    *(("average", name) for name in ("fg_mae", "fg_psnr", "fg_ssim", "leakage", "iou")),
)
CLAIMS = (
    Claim("beats grey replicated", "fg_psnr", "grey"),
    Claim("beats the colour table", "fg_psnr", "colortable"),
    Claim("beats w/o color by a clear margin", "fg_psnr", "no_color", margin=1.0),
    Claim("mask IoU above 0.8", "iou", None, margin=0.8),
    Claim("no worse than w/o gan2, within 0.5 dB", "fg_psnr", "no_gan2", margin=-0.5),
    Claim("no worse than WGAN-GP, within 0.5 dB", "fg_psnr", "wgan_gp", margin=-0.5),
    *(Claim(f"better average PSNR than {rival}", "psnr", rival, kind="reported") for rival in RIVALS),
    *(Claim(f"better average MAE than {rival}", "mae", rival, kind="reported") for rival in RIVALS),
    *(Claim(f"beats {name} on the foreground", "fg_psnr", name, kind="reported") for name in (*RIVALS, *ABLATIONS)),
)


class MaskedGenerator(nn.Module):
    """(B, 1, H, W) grey in [0, 1] -> colour (B, 3, H, W) in [0, 1] and mask logits (B, 2, H, W)."""

    def __init__(self, base: int, blocks: int) -> None:
        super().__init__()
        self.encoder = Encoder(1, base, blocks)
        self.color, self.segment = Decoder(base, 3), Decoder(base, 2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        shared = self.encoder(2 * image - 1)
        return (self.color(shared).tanh() + 1) / 2, self.segment(shared)


def soft_mask(logits: Tensor, noise: Tensor | None, tau: float) -> Tensor:
    """M = softmax((z + g) / tau)[foreground], (B, 1, H, W), from logits z (B, 2, H, W).

    `noise` is uniform in [0, 1), of the shape of z, or none; g = -log(-log(u)) is Gumbel noise (arXiv 1611.00712).
    Source: inferred, as in SMSR and DGNet.
    """
    z = logits.float()
    if noise is not None:
        z = z - (-noise.clamp(1e-6, 1 - 1e-6).log()).log()
    return (z / tau).softmax(1)[:, 1:]


def straight_through(mask: Tensor) -> Tensor:
    """0 or 1 going forward, the gradient of the soft mask going back."""
    return (mask > 0.5).float() + mask - mask.detach()


def supervision(logits: Tensor, mask: Tensor, pseudo: Tensor, kind: str, density: float) -> Tensor:
    """L_mask, a scalar: cross entropy to the pseudo foreground (B, 1, H, W), or (mean M - rho)^2 (inferred)."""
    if kind == "bce":
        return F.cross_entropy(logits.float(), pseudo[:, 0].round().long())
    return (mask.mean() - density).square() if kind == "density" else mask.new_zeros(())


class SMCGAN(method.Method):
    """predict: `color` (B, 3, H, W) in [0, 1] and `mask` (B, 1, H, W), 0 or 1, without noise."""

    Config = Config
    data = "anatomy"
    eager = ("critic1", "critic2")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.generator = MaskedGenerator(c.base, c.blocks)
        self.critic1, self.critic2 = (PatchCritic(4, c.critic_base, c.critic_depth) for _ in range(2))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        critics = [*self.critic1.parameters(), *self.critic2.parameters()]
        sides = {"critic": critics, "generator": self.generator.parameters()}
        return {name: torch.optim.Adam(p, c.lr, (c.beta1, c.beta2)) for name, p in sides.items()}

    @property
    def tau(self) -> float:
        """The temperature of this epoch, 1 in the first and falling to the floor."""
        return max(1 - (self.epoch - 1) / self.config.tau_epochs, self.config.tau_floor)

    def training_mask(self, logits: Tensor) -> Tensor:
        """M (B, 1, H, W) in [0, 1] as both critics' inputs use it."""
        if self.config.mask == "threshold":
            return (logits[:, 1:] > logits[:, :1]).float()
        mask = soft_mask(logits, self.rand(*logits.shape) if self.config.gumbel else None, self.tau)
        return straight_through(mask) if self.config.mask == "straight-through" else mask

    def views(self, image: Tensor, color: Tensor, mask: Tensor) -> list[tuple[float, nn.Module, Tensor, Tensor]]:
        """(weight, critic, condition, colour): the whole image for the first critic, the masked one for the second."""
        c = self.config
        pairs = [(c.gan1_weight, self.critic1, image, color)]
        pairs += [(c.gan2_weight, self.critic2, mask * image, mask * color)]
        return [pair for pair in pairs if pair[0] > 0]

    def critic_loss(self, image: Tensor, target: Tensor) -> Tensor:
        """Both critics' losses with their penalties; the same M masks real and fake, and nothing flows back into it."""
        with torch.no_grad():
            fake, logits = self.generator(image)
            mask = self.training_mask(logits)
        loss = image.new_zeros(())
        pairs = zip(self.views(image, target, mask), self.views(image, fake, mask), strict=True)
        for (_, critic, given, real), (_, _, _, made) in pairs:
            scores = [critic(torch.cat([given, color], 1)) for color in (real, made)]
            loss = loss + critic_loss(*scores, self.config.adversary)
            if self.config.adversary == "wasserstein":
                score = lambda y, critic=critic, given=given: critic(torch.cat([given, y], 1))  # noqa: E731
                loss = loss + self.config.penalty * gradient_penalty(score, real, made, self.rand(len(real)))
        return loss

    def updates(self, batch: Batch) -> Iterator[Update]:
        c, image, target = self.config, batch["image"], batch["target"]
        for _ in range(c.critic_steps if c.gan1_weight + c.gan2_weight > 0 else 0):
            loss = self.critic_loss(image, target)
            yield "critic", loss, {}
        color, logits = self.generator(image)
        mask = self.training_mask(logits)
        terms = {"color": c.color_weight * F.l1_loss(2 * color.float(), 2 * target)}
        for name, (weight, critic, given, made) in zip(self.gans, self.views(image, color, mask), strict=True):
            terms[name] = weight * generator_loss(critic(torch.cat([given, made], 1)), c.adversary)
        terms["mask"] = c.mask_weight * supervision(logits, mask, batch["pseudo"], c.mask_loss, c.density)
        area = mask.detach().mean()
        yield "generator", sum(terms.values()), {n: t.detach() for n, t in terms.items()} | {"mask_area": area}

    @property
    def gans(self) -> list[str]:
        weights = {"gan1": self.config.gan1_weight, "gan2": self.config.gan2_weight}
        return [name for name, weight in weights.items() if weight > 0]

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        color, logits = self.generator(batch["image"])
        mask = (logits[:, 1:] > logits[:, :1]).float()
        if mask.mean() < 0.01:
            warnings.warn(
                "the mask has collapsed: under 1 % is foreground, the second critic saw nothing", stacklevel=2
            )
        return {"color": color, "mask": mask}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return metrics.colorization(batch, prediction)
