"""CycleGAN on videos: the same unpaired translation, one frame at a time.

It is what VideoGAN is without its two ideas: the generator sees one frame, and no loss looks at histograms, so that
nothing but the critics and the round trip says which colours a frame gets, and each frame is alone with its answer. In
a step it sees as many frames as VideoGAN, two of each video.

Source: Zhu et al., Unpaired Image-to-Image Translation, arXiv 1703.10593; rates, weights, pool and the absence of the
identity loss are those of VideoGAN's card, alike in both. Generators and critics are the shared ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench import method
from workbench.config import Count, Fraction, Natural, Positive, Weight
from workbench.method import Batch, Update
from workbench.models import videos
from workbench.models.cycle import Cycle, Framewise


@dataclass(frozen=True)
class Config(videos.Settings):
    base: Count = 12  # channels after the first convolution; paper scale 64 (paper)
    blocks: Natural = 3  # residual blocks; paper scale 6, as VideoGAN's (inferred)
    critic_base: Count = 16  # channels of the critics' first layer; paper scale 64 (paper)
    critic_depth: Count = 3  # layers before the critics' last; 4 gives the 70x70 field of paper scale (paper)
    critic_norm: bool = False  # instance normalisation in the critics, as VideoGAN's; on (paper) at paper scale
    pool: Natural = 16  # translated frames that each critic is shown again later; 50 (paper) at paper scale
    cycle_weight: Weight = 10.0  # lambda, of the L1 error of the round trips (paper)
    identity_weight: Weight = 0.0  # of the L1 change of what is already on the right side; optional (paper)
    lr: Positive = 5e-4  # Adam's rate, as VideoGAN's; 2e-4 (paper) at paper scale
    beta1: Fraction = 0.5  # Adam (paper)
    beta2: Fraction = 0.999  # Adam (code)


TINY = {"epochs": 2, "batch": 2}
DEMO = {"frames": 12, "train": 20, "test": 20, "epochs": 3, "batch": 2}
PAPER = {
    "size": 256, "frames": 12, "train": 30, "valid": 4, "test": 20, "base": 64, "blocks": 6, "critic_base": 64,
    "critic_depth": 4, "critic_norm": True, "pool": 50, "lr": 2e-4, "judge_base": 32, "judge_epochs": 20,
    "judge_lr": 1e-3, "epochs": 136, "batch": 1, "schedule": "linear",
}  # fmt: skip


class CycleGANFrames(method.Method):
    """predict: `color` (B, 3, T, H, W) in [0, 1], the video at the target centre, and `mask` (B, 1, T, H, W) on it."""

    Config = Config
    data = "endoscopy"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.judge = videos.Judge(c)
        forth, back = (Framewise(c.base, c.blocks) for _ in range(2))
        self.cycle = Cycle(forth, back, c.critic_base, c.critic_depth, c.critic_norm, c.pool)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c, betas = self.config, (self.config.beta1, self.config.beta2)
        sides = {f"critic_{side}": self.cycle.critic(side).parameters() for side in ("target", "image")}
        sides = {"generator": self.cycle.generators()} | sides
        judge = {"judge": torch.optim.Adam(self.judge.parameters(), c.judge_lr)}
        return judge | {name: torch.optim.Adam(p, c.lr, betas) for name, p in sides.items()}

    def frames(self, batch: Batch, side: str) -> Tensor:
        """Two frames (B, 2, 3, H, W) of each clip."""
        length = batch["length" if side == "image" else "target_length"]
        return videos.taken(batch[side], videos.two_frames(length, self.rand(len(length), 2)))

    def updates(self, batch: Batch) -> Iterator[Update]:
        c, draws = self.config, self.rand(len(batch["image"]), self.config.judge_frames)
        if self.epoch <= c.judge_epochs:
            yield "judge", self.judge.loss(batch["target"], batch["target_label"], batch["target_length"], draws), {}
        real = {side: self.frames(batch, side) for side in ("image", "target")}
        made = self.cycle.made(real["image"], real["target"])
        terms = self.cycle.terms(real, made, c.cycle_weight, c.identity_weight)
        yield "generator", sum(terms.values()), {name: term.detach() for name, term in terms.items()}
        for side, fake in made.items():
            draws = self.rand(len(fake), 4)
            yield f"critic_{side}", self.cycle.critic_term(side, real[side], fake.detach(), draws), {}

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        color = videos.framewise(self.cycle.forth, batch["image"])
        return {"color": color, "mask": self.judge.mask(color)}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return videos.scores(batch, prediction, self.judge, self.config.classes)
