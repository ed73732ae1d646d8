"""pix2pix: a network of its own for each modality, three in all, each with its critic and an L1 loss.

What one network for three modalities loses or gains is seen beside three that need not share. None of them is told
where a tumour is.

Source: Isola et al., Image-to-Image Translation with Conditional Adversarial Networks, arXiv 1611.07004: cross-entropy
GAN with a patch critic on both images and 100 times the mean L1. As a rival of TC-MGAN it is named, its settings are
not stated. The generator is TC-MGAN's without the one-hot planes (equal generators), so it has no dropout and no batch
norm; the critics have no norm. As published each of the three sees every image, so together they learn from three times
as many; `share` gives each image to one of them, as TC-MGAN has it. Rates are tuned as TC-MGAN's.
Known faults: three times the parameters and, by default, three times the computation.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import method
from workbench.config import Count, Fraction, Positive, Weight
from workbench.losses.adversarial import critic_loss, generator_loss
from workbench.method import Batch, Update
from workbench.models.colorizer import PatchCritic
from workbench.models.readers import P1, Readers, Stages
from workbench.models.synthesis import TARGETS, Generator, drawn, quality


@dataclass(frozen=True)
class Config(Stages):
    base: Count = 8  # channels after each generator's first convolution, TC-MGAN's; paper scale 64 (paper)
    critic_base: Count = 16  # channels of the critics' first layer; paper scale 64 (paper)
    critic_depth: Count = 3  # layers before the critics' last; 4 gives the 70x70 field of paper scale (paper)
    share: bool = False  # each image teaches one of the three, drawn as TC-MGAN's modality (inferred)
    rec_weight: Weight = 100.0  # lambda, of the mean L1 of images in [-1, 1] (paper)
    lr: Positive = 3e-3  # Adam's rate, all networks; paper scale 2e-4 (paper); tuned as TC-MGAN's
    beta1: Fraction = 0.5  # Adam (paper)
    beta2: Fraction = 0.999  # Adam (paper)


TINY = {"epochs": 40, "batch": 16, "valid_every": 8}
DEMO = TINY | {"train": 400, "segmentation": 100, "test": 100}
PAPER = {
    "size": 128, "base": 64, "critic_base": 64, "critic_depth": 4, "lr": 2e-4, "pretrain": 30, "gan_epochs": 100,
    "judge_epochs": 30, "segment_from": 131, "reader_base": 64, "reader_lr": 1e-3, "epochs": 160, "batch": 64,
    "train": 12000, "segmentation": 12000, "valid": 480, "test": 10200, "slices": 155, "data_seed": 10,
}  # fmt: skip
ABLATIONS = {"share": {"share": True}}


class Pix2Pix(method.Method):
    """predict: `color` (B, 3, H, W) in [0, 1], synthetic FLAIR, T1ce and T1 as its channels, and `mask` (B, 1, H, W), 0
    or 1, the tumour that the segmentor of protocol P1 finds in them and T2.
    """

    Config = Config
    data = "brain"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.readers = Readers(c)
        self.generators = nn.ModuleList(Generator(1, c.base, c.size) for _ in TARGETS)
        self.critics = nn.ModuleList(PatchCritic(2, c.critic_base, c.critic_depth) for _ in TARGETS)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c, sides = self.config, {"critic": self.critics, "generator": self.generators}
        made = {name: torch.optim.Adam(side.parameters(), c.lr, (c.beta1, c.beta2)) for name, side in sides.items()}
        return made | self.readers.optimizers()

    def color(self, image: Tensor) -> Tensor:
        """All three modalities (B, 3, S, S) of T2 (B, 1, S, S), in [0, 1], without gradient."""
        with torch.no_grad():
            return torch.cat([(net(2 * image - 1) + 1) / 2 for net in self.generators], 1)

    def updates(self, batch: Batch) -> Iterator[Update]:
        c, draw = self.config, self.rand(len(batch["image"]), 2)
        yield from self.readers.updates(batch, self.epoch, draw, self.color)
        if c.synthesises(self.epoch):
            chosen = drawn(draw[:, 0])
            everyone = torch.ones_like(chosen, dtype=torch.bool)
            yield from self.adversarial(batch, [chosen == n if c.share else everyone for n in range(len(TARGETS))])

    def adversarial(self, batch: Batch, chosen: list[Tensor]) -> Iterator[Update]:
        """One step of the critics and one of the generators; of the batch each learns from its `chosen` (B,) items."""
        pairs = [(batch["image"][yes], batch["target"][:, n : n + 1][yes]) for n, yes in enumerate(chosen)]
        nets = [(g, d, *pair) for g, d, pair in zip(self.generators, self.critics, pairs) if len(pair[0])]
        losses = []
        for generator, critic, t2, real in nets:
            with torch.no_grad():
                made = (generator(2 * t2 - 1) + 1) / 2
            losses.append(critic_loss(critic(torch.cat([t2, real], 1)), critic(torch.cat([t2, made], 1)), "bce"))
        yield "critic", sum(losses), {}
        terms = {"gan": 0.0, "rec": 0.0}
        for generator, critic, t2, real in nets:
            made = (generator(2 * t2 - 1) + 1) / 2
            terms["gan"] = terms["gan"] + generator_loss(critic(torch.cat([t2, made], 1)), "bce")
            terms["rec"] = terms["rec"] + self.config.rec_weight * F.l1_loss(2 * made, 2 * real)
        yield "generator", sum(terms.values()), {name: term.detach() for name, term in terms.items()}

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        color = self.color(batch["image"])
        return {"color": color, "mask": self.readers.found(P1, torch.cat([batch["image"], color], 1))}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        color = prediction["color"]
        return quality(color, batch) | self.readers.readings(batch["image"], color, batch)
