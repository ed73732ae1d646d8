"""CycleGAN: learn to colorize from grey images and colour images that do not belong together.

Pairs of grey and colour are often not to be had. CycleGAN trains two generators, grey to colour and back,
each against a critic of its own side, and ties them by asking that a picture that went there and back again
is unchanged. Nothing but that round trip says which colour an organ has.

Source: Zhu et al., Unpaired Image-to-Image Translation, arXiv 1703.10593; the identity term is from its
section 5.2, the rest of the training from the paper and its released code. As a rival of SMCGAN it is not
described. Grey is shown as three equal channels, which the identity term needs. Each item is given the
colours of another one of its batch; a batch of one gets those of the batch before, and the step is left out
where that is the same item, or where there is none yet. Generators and critics are the shared ones, with
their usual initial weights.
Known faults: two organs of equal grey may swap their colours at no cost to any term. The pool holds generated
pictures of training items, and with a batch of one the memory holds a training item itself; both are kept
in checkpoints, though not in the weights. A batch spread over processes is permuted and pooled within each, and
only the first one's pool is saved, so two processes do not equal one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from workbench import method, metrics
from workbench.config import Count, Fraction, Natural, Positive, Weight
from workbench.losses.adversarial import critic_loss, generator_loss
from workbench.method import Batch, Update
from workbench.models.colorizer import Generator, PatchCritic
from workbench.models.cycle import Kept, Pool, distance


@dataclass(frozen=True)
class Config(method.Config):
    base: Count = 12  # channels after the first convolution; paper scale 64 (paper)
    blocks: Natural = 2  # residual blocks; paper scale 9, at 256 pixels (paper)
    critic_base: Count = 16  # channels of the critics' first layer; paper scale 64 (paper)
    critic_depth: Count = 3  # layers before the critics' last; 4 gives the 70x70 field of paper scale (paper)
    cycle_weight: Weight = 100.0  # lambda, of the L1 error of the round trips; 10 (paper) at paper scale (tuned)
    identity_weight: Weight = 5.0  # of the L1 change of what is already on the right side (paper, half of lambda)
    pool: Natural = 50  # generated images that each critic is shown again later (paper)
    lr: Positive = 1e-3  # Adam's rate, all four networks; 2e-4 (paper) at paper scale (tuned)
    beta1: Fraction = 0.5  # Adam (code)
    beta2: Fraction = 0.999  # Adam (code)


PAPER = {
    "size": 256, "train": 1500, "test": 300, "base": 64, "blocks": 9, "critic_base": 64, "critic_depth": 4,
    "cycle_weight": 10.0, "lr": 2e-4, "epochs": 200, "batch": 1, "schedule": "linear",
}  # fmt: skip
DEMO = {"source": "samples"}


class Memory(Kept):
    """The grey and the colour of the last item that came alone."""

    def exchange(self, image: Tensor, target: Tensor) -> Tensor | None:
        """The colours (1, 3, H, W) of the item before, or none if there was none or it was this item itself."""
        before, self.images = self.images, torch.cat([image, target], 1).detach().float()
        return None if len(before) == 0 or torch.equal(before[:, :1], image) else before[:, 1:]


class CycleGAN(method.Method):
    """predict: `color` (B, 3, H, W) in [0, 1]."""

    Config = Config
    data = "anatomy"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        c = config
        self.colorize, self.discolor = (Generator(3, 3, c.base, c.blocks) for _ in range(2))
        self.color_critic, self.grey_critic = (PatchCritic(3, c.critic_base, c.critic_depth) for _ in range(2))
        self.color_pool, self.grey_pool, self.memory = Pool(c.pool), Pool(c.pool), Memory()

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        c = self.config
        critics = chain(self.color_critic.parameters(), self.grey_critic.parameters())
        generators = chain(self.colorize.parameters(), self.discolor.parameters())
        sides = {"critic": critics, "generator": generators}
        return {name: torch.optim.Adam(p, c.lr, (c.beta1, c.beta2)) for name, p in sides.items()}

    def unpaired(self, image: Tensor, target: Tensor) -> Tensor | None:
        """Colours (B, 3, H, W) of which none belongs to the grey image in its place; none where that cannot be.

        A batch comes in random order, so that moving its colours on by one gives each item those of a random other.
        """
        return target.roll(1, 0) if len(target) > 1 else self.memory.exchange(image, target)

    def generator_terms(self, grey: Tensor, color: Tensor, made: Tensor, faded: Tensor) -> dict[str, Tensor]:
        """The weighted terms, scalars, of real grey and colour images and of what the generators made of them."""
        c = self.config
        judged = [generator_loss(self.color_critic(made), "lsgan"), generator_loss(self.grey_critic(faded), "lsgan")]
        cycle = distance(self.discolor(made), grey) + distance(self.colorize(faded), color)
        same = distance(self.colorize(color), color) + distance(self.discolor(grey), grey)
        return {"gan": sum(judged), "cycle": c.cycle_weight * cycle, "identity": c.identity_weight * same}

    def updates(self, batch: Batch) -> Iterator[Update]:
        """Generators first, then the critics on the same images through the pools, as the released code does."""
        color = self.unpaired(batch["image"], batch["target"])
        if color is None:
            return
        grey = batch["image"].expand(-1, 3, -1, -1)
        made, faded = self.colorize(grey), self.discolor(color)
        terms = self.generator_terms(grey, color, made, faded)
        yield "generator", sum(terms.values()), {n: t.detach() for n, t in terms.items()}
        old_color = self.color_pool.exchange(made, self.rand(len(made), 2))
        old_grey = self.grey_pool.exchange(faded, self.rand(len(faded), 2))
        loss = critic_loss(self.color_critic(color), self.color_critic(old_color), "lsgan")
        loss = loss + critic_loss(self.grey_critic(grey), self.grey_critic(old_grey), "lsgan")
        yield "critic", loss, {"critic": loss.detach()}

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        return {"color": self.colorize(batch["image"].expand(-1, 3, -1, -1))}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return metrics.colorization(batch, prediction)
