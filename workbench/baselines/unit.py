"""UNIT: translate frames by way of one latent space that both centres share.

Each centre has an encoder and a decoder of a variational autoencoder. The last block of the encoders and the first of
the decoders are the same for both, so that a frame and its translation are taken to have one code; critics at several
sizes judge what a decoder makes of the other centre's code. It sees one frame at a time.

Source: Liu, Breuel, Kautz: Unsupervised Image-to-Image Translation Networks, arXiv 1703.00848; weights, rates, the L1
reconstruction, the unit variance of the code and the three-scale least-squares critics from released code of its
follow-up. Encoders and decoders have the layers of the other translators here, as many in all; a frame is not added to
its translation, which would let it pass the code by (inferred).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import method
from workbench.config import Count, Fraction, Natural, Positive, Weight
from workbench.errors import InvalidParameter
from workbench.losses.adversarial import critic_loss, generator_loss
from workbench.method import Batch, Update
from workbench.models import videos
from workbench.models.colorizer import PatchCritic
from workbench.models.cycle import decoder, distance, encoder, residuals

SIDES = {"image": "target", "target": "image"}  # each centre and the one that it is translated to


@dataclass(frozen=True)
class Config(videos.Settings):
    base: Count = 12  # channels after the first convolution; 64 (code) at paper scale
    blocks: Natural = 1  # residual blocks of each encoder and decoder, without the shared ones; 3 (code) at paper scale
    critic_base: Count = 16  # channels of the critics' first layer; 64 (code) at paper scale
    critic_depth: Count = 3  # layers before the critics' last; 4 (code) at paper scale
    scales: Count = 3  # sizes at which critics judge, each half the one before (code)
    recon_weight: Weight = 10.0  # of the L1 error of a frame that goes through its own code (code)
    cycle_weight: Weight = 10.0  # of the L1 error of a frame that goes there and back (code)
    kl_weight: Weight = 0.01  # of the codes' size, on the way there and on the way back (code)
    lr: Positive = 5e-4  # Adam's rate, as VideoGAN's; 1e-4 (code) at paper scale
    beta1: Fraction = 0.5  # Adam (code)
    beta2: Fraction = 0.999  # Adam (code)

    def __post_init__(self) -> None:
        super().__post_init__()
        least = 2 ** (self.scales + self.critic_depth - 1)
        if self.size < least:
            remedy = "lower scales or critic_depth"
            raise InvalidParameter("size", f"at least {least} pixels for critics at all scales", str(self.size), remedy)


TINY = {"epochs": 2, "batch": 2}
DEMO = {"frames": 12, "train": 20, "test": 20, "epochs": 3, "batch": 2}
PAPER = {
    "size": 256, "frames": 12, "train": 30, "valid": 4, "test": 20, "base": 64, "blocks": 3, "critic_base": 64,
    "critic_depth": 4, "lr": 1e-4, "judge_base": 32, "judge_epochs": 20, "judge_lr": 1e-3, "epochs": 136, "batch": 1,
    "schedule": "linear",
}  # fmt: skip


def drawing(base: int, blocks: int) -> nn.Sequential:
    """Residual blocks, then features (N, 4 base, h, w) -> frames (N, 3, 4h, 4w) in [-1, 1]."""
    return nn.Sequential(*residuals(base, blocks), decoder(base, 3), nn.Tanh())


class Scaled(nn.ModuleList):
    """Critics at `scales` sizes: frames (N, 3, H, W) in [0, 1] -> a list of patch scores."""

    def __init__(self, scales: int, base: int, depth: int) -> None:
        super().__init__(PatchCritic(3, base, depth) for _ in range(scales))

    def forward(self, frames: Tensor) -> list[Tensor]:
        scores = []
        for critic in self:
            scores.append(critic(frames))
            frames = F.avg_pool2d(frames, 2)
        return scores


class UNIT(method.Method):
    """predict: `color` (B, 3, T, H, W) in [0, 1], the video at the target centre, and `mask` (B, 1, T, H, W) on it."""

    Config = Config
    data = "endoscopy"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.judge = videos.Judge(c)
        self.encoders = nn.ModuleDict({side: encoder(c.base, c.blocks) for side in SIDES})
        self.decoders = nn.ModuleDict({side: drawing(c.base, c.blocks) for side in SIDES})
        self.shared_in, self.shared_out = residuals(c.base, 2)
        self.critics = nn.ModuleDict({side: Scaled(c.scales, c.critic_base, c.critic_depth) for side in SIDES})

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c, betas = self.config, (self.config.beta1, self.config.beta2)
        parts = (self.encoders, self.decoders, self.shared_in, self.shared_out)
        sides = {"generator": [weight for part in parts for weight in part.parameters()]}
        sides |= {f"critic_{side}": self.critics[side].parameters() for side in SIDES}
        judge = {"judge": torch.optim.Adam(self.judge.parameters(), c.judge_lr)}
        return judge | {name: torch.optim.Adam(p, c.lr, betas) for name, p in sides.items()}

    def code(self, frames: Tensor, side: str) -> Tensor:
        """The mean of the code (N, 4 base, H/4, W/4) of frames (N, 3, H, W) in [0, 1]."""
        return self.shared_in(self.encoders[side](2 * frames - 1))

    def show(self, code: Tensor, side: str) -> Tensor:
        """Frames (N, 3, H, W) in [0, 1] of a centre, from a code."""
        return (self.decoders[side](self.shared_out(code)) + 1) / 2

    def noisy(self, code: Tensor, items: int) -> Tensor:
        """A draw from the code's normal distribution of unit variance; `items` clips have len(code) / items frames."""
        draws = self.rand(items, 2, len(code) // items, *code.shape[1:]).clamp_min(1e-7)
        normal = (-2 * draws[:, 0].log()).sqrt() * (2 * torch.pi * draws[:, 1]).cos()
        return code + normal.flatten(0, 1)

    def frames(self, batch: Batch, side: str) -> Tensor:
        """Two frames of each clip, (2 B, 3, H, W)."""
        length = batch["length" if side == "image" else "target_length"]
        return videos.taken(batch[side], videos.two_frames(length, self.rand(len(length), 2))).flatten(0, 1)

    def terms(self, real: dict[str, Tensor], items: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The weighted terms, and the translated frames by the side on which they are to pass."""
        c, made = self.config, {}
        sums = dict.fromkeys(("adv", "recon", "cycle", "kl"), 0.0)
        for side, other in SIDES.items():
            code = self.code(real[side], side)
            drawn = self.noisy(code, items)
            made[other] = self.show(drawn, other)
            back = self.code(made[other], other)
            sums["recon"] += c.recon_weight * distance(self.show(drawn, side), real[side])
            sums["cycle"] += c.cycle_weight * distance(self.show(self.noisy(back, items), side), real[side])
            sums["kl"] += c.kl_weight * sum(part.float().square().mean() for part in (code, back))
            sums["adv"] += sum(generator_loss(scores, "lsgan") for scores in self.critics[other](made[other]))
        return sums, made

    def updates(self, batch: Batch) -> Iterator[Update]:
        c, draws = self.config, self.rand(len(batch["image"]), self.config.judge_frames)
        if self.epoch <= c.judge_epochs:
            yield "judge", self.judge.loss(batch["target"], batch["target_label"], batch["target_length"], draws), {}
        real = {side: self.frames(batch, side) for side in SIDES}
        terms, made = self.terms(real, len(batch["image"]))
        yield "generator", sum(terms.values()), {name: term.detach() for name, term in terms.items()}
        for side, fake in made.items():
            scores = zip(self.critics[side](real[side]), self.critics[side](fake.detach()), strict=True)
            yield f"critic_{side}", sum(critic_loss(*pair, "lsgan") for pair in scores), {}

    def translate(self, frames: Tensor) -> Tensor:
        """Frames (B, n, 3, H, W) of the other centre as the target centre's, from the mean of their codes."""
        return self.show(self.code(frames.flatten(0, 1), "image"), "target").view_as(frames)

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        color = videos.framewise(self.translate, batch["image"])
        return {"color": color, "mask": self.judge.mask(color)}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return videos.scores(batch, prediction, self.judge, self.config.classes)
