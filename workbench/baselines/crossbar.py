"""Crossbar-Net: one network for vertical and one for horizontal patches, each trained further on the other's mistakes.

What Crossover-Net became from: the same two patches, but networks that share nothing and meet in rounds. Around every
pixel that one direction gets wrong, patches of the other direction are taken that cover the same place. At the end a
pixel belongs to the object where both networks say so.

Source: Yu, Shi, Sun, Gao, Zhu, Dai: Crossbar-Net, IEEE TIP 28(8), 2019, arXiv 1804.10484, and its official code: layers
at 100 x 20, covering re-sampling, mean patch, basic patches among the re-sampled ones, post-processing. A
re-implementation from facts. Inferred: rounds by epochs of one training, in the proportion of the published ones, in
place of training again from files; half of a later round's points re-sampled; the other sizes' layers, and points
from anywhere or background points with the object's grey, as Crossover-Net has them here.
Known faults: the released re-sampling looks only at rows and columns 65 to 120 of its own images, and reads pictures in
another order than it numbers them; neither is repeated here. Less the mean patch, a network is no longer the same at
every place of an image, so every patch is classified by itself (`mean=pixel` allows dense evaluation).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, distributed, nn
from torch.func import functional_call
from torch.nn import functional as F

from workbench import method, metrics
from workbench.config import Count, Fraction, Natural, Positive
from workbench.errors import InvalidParameter
from workbench.method import Batch, Update
from workbench.models.patches import (
    BARS,
    POOL,
    PatchClassifier,
    Plan,
    Sampling,
    balanced_points,
    cleaned,
    labels_at,
)


@dataclass(frozen=True)
class Config(method.Config):
    patch: Literal[40, 100, 340] = 40  # longer side of a patch, pixels: 100x20 (code); 40x8, 340x68 (inferred)
    mean: Literal["patch", "pixel"] = "patch"  # taken off: the mean training patch (code) or its mean alone
    second: Count = 11  # epoch that begins the second round (code: 30, 50, 70 epochs a round; scaled)
    third: Count = 27  # epoch that begins the third round (likewise)
    resampled: Fraction = 0.5  # share of covering points in later rounds; the rest are as in the first (inferred)
    patches: Count = 25  # points an image, step and network, half of them in the object
    alike: Fraction = 0.5  # share of the background points that have the object's grey levels (inferred)
    anywhere: Fraction = 0.25  # share of all points from anywhere, the rest about the edge as in the code (inferred)
    lr: Positive = 4e-3  # Adam's rate; paper scale 1e-3 (code); tuned on validation images as its rivals'
    tile: Count = 128  # side of the blocks classified at once with mean=pixel, pixels: bounds memory
    closing: Natural = 3  # radius of the disk that closes the mask, pixels; 0 is none (code)
    fill: bool = True  # fill the mask's holes (code)
    largest: bool = True  # keep the mask's largest part alone (code)
    channels: Count = 1  # of the image
    classes: str = "organ"  # name of the object in the scores

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.third < self.second:
            raise InvalidParameter("third", f"an epoch from second={self.second} on", str(self.third), "make it later")
        Sampling(self.alike, self.anywhere)


PAPER = {
    "patch": 100, "patches": 50, "alike": 0.0, "anywhere": 0.0, "second": 31, "third": 81, "lr": 1e-3, "epochs": 150,
    "batch": 2,
    "size": 256,
}  # fmt: skip
ABLATIONS = {"no_cascade": {"resampled": 0.0}, "pixel_mean": {"mean": "pixel"}}

PLANS = BARS | {
    100: Plan(
        (100, 20),
        ((5, 3, 16), (5, 3, 36), POOL, (5, 3, 64), POOL, (5, 3, 64)),
        ((6, 1, 64), (6, 1, 64), (7, 1, 500)),
    )
}
SIDES = ("vertical", "horizontal")
STEP, AHEAD = (
    8,
    (0, 3, 6),
)  # along a misclassified patch, pixels: a centre every 8, and how far its neighbours lie ahead


def covering(points: Tensor, shape: tuple[int, int], turned: bool) -> Tensor:
    """Centres (B, P, K, 2) of the crossing patches that cover the patches at points (B, P, 2).

    Every 8 pixels along the patch one on its axis, one half a width to one side and 3 pixels ahead, one to the other
    side and 6 ahead (code). `turned`: the patches at the points lie across. Centres may lie outside of the image.
    """
    long, short = shape
    along = torch.arange(-(long // 2), long // 2, STEP, device=points.device)[:, None]
    along = along + torch.tensor(AHEAD, device=points.device)
    aside = torch.tensor([0, short // 2, -(short // 2)], device=points.device).expand_as(along)
    steps = (aside, along) if turned else (along, aside)
    return points[:, :, None] + torch.stack(steps, -1).flatten(0, 1)


def covered(centers: Tensor, wrong: Tensor, size: tuple[int, int]) -> Tensor:
    """How often each pixel is among the centres (B, P, K, 2) of wrong (B, P) points: (B, 1, H, W)."""
    height, width = size
    y, x = centers.unbind(-1)
    valid = (y >= 0) & (y < height) & (x >= 0) & (x < width) & wrong[..., None]
    flat = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).flatten(1)
    counts = torch.zeros(len(flat), height * width, device=flat.device)
    return counts.scatter_add(1, flat, valid.flatten(1).float()).view(-1, 1, height, width)


class Side(nn.Module):
    """A network for one direction, its mean patch, and its weights as they were when the current round began."""

    def __init__(self, channels: int, plan: Plan, turned: bool) -> None:
        super().__init__()
        self.net = PatchClassifier(channels, plan, (turned,))
        self.register_buffer("total", torch.zeros(channels, *plan.shape))
        self.register_buffer("count", torch.zeros(()))
        for name, weight in self.net.named_parameters():
            self.register_buffer("judge_" + name.replace(".", "_"), weight.detach().clone())

    def observe(self, patches: Tensor) -> None:
        """Count patches (1, N, C, h, w) towards the mean patch."""
        part, number = patches[0].float().sum(0), self.count.new_tensor(patches.shape[1])
        for total, added in ((self.total, part), (self.count, number)):
            if distributed.is_available() and distributed.is_initialized():
                distributed.all_reduce(added)
            total += added

    def mean(self, kind: str) -> Tensor:
        """(C, h, w) to take off every patch; with kind `pixel` one number a channel."""
        patch = self.total / self.count.clamp_min(1)
        return patch.mean((1, 2), keepdim=True).expand_as(patch) if kind == "pixel" else patch

    def remember(self) -> None:
        for name, weight in self.net.named_parameters():
            self.get_buffer("judge_" + name.replace(".", "_")).copy_(weight.detach())

    def judged(self, patches: Tensor) -> Tensor:
        """Logits (N, 2) of patches less their mean, by the weights at the beginning of the round."""
        names = [name for name, _ in self.net.named_parameters()]
        weights = {name: self.get_buffer("judge_" + name.replace(".", "_")) for name in names}
        return functional_call(self.net, weights, (patches,))[0]


class Crossbar(method.Method):
    """predict: `mask` (B, 1, H, W), 0 or 1, and `score` (B, 1, H, W), the smaller of both probabilities."""

    Config = Config
    data = "organs"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.plan = PLANS[config.patch]
        self.sampling = Sampling(config.alike, config.anywhere)
        self.sides = nn.ModuleDict({n: Side(config.channels, self.plan, n == "horizontal") for n in SIDES})
        self.register_buffer("begun", torch.ones((), dtype=torch.int64))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {name: torch.optim.Adam(side.net.parameters(), self.config.lr) for name, side in self.sides.items()}

    @property
    def round(self) -> int:
        """1, 2 or 3 by the epoch."""
        return 1 + (self.epoch >= self.config.second) + (self.epoch >= self.config.third)

    def begin(self) -> None:
        """In the first step of a round, let both networks as they are be the judges of the round."""
        if self.begun < self.round:
            for side in self.sides.values():
                side.remember()
            self.begun.fill_(self.round)

    @torch.no_grad()
    def resample(self, judge: str, image: Tensor, label: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Balanced points (B, count, 2) where the other direction covers the judge's mistakes, and 0 or 1 of each.

        Where a judge makes no mistake in an image, or none about one class, points of that class are drawn evenly.
        """
        side, mask = self.sides[judge], (label > 0).float()
        points, target = self.sampling.points(image, label, self.rand(len(image), self.config.patches))
        logits = side.judged(side.net.patches(image, points) - side.mean(self.config.mean))
        wrong = (logits.argmax(1) != target).view(len(image), -1)
        weight = covered(covering(points, self.plan.shape, judge == "horizontal"), wrong, image.shape[-2:])
        points = balanced_points((weight, weight), mask, self.rand(len(image), count))
        return points, labels_at(mask, points).long()

    def points(self, judge: str, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """The points (B, P, 2) of one network's step and their classes (B P,): basic ones, and covering ones later."""
        c = self.config
        extra = round(c.resampled * c.patches) if self.round > 1 else 0
        basic = self.sampling.points(image, label, self.rand(len(image), c.patches - extra))
        if not extra:
            return basic
        parts = [basic, self.resample(judge, image, label, extra)]
        target = torch.cat([t.view(len(image), -1) for _, t in parts], 1)
        return torch.cat([p for p, _ in parts], 1), target.flatten()

    def updates(self, batch: Batch) -> Iterator[Update]:
        image, label = batch["image"], batch["label"]
        self.begin()
        for name, other in zip(SIDES, SIDES[::-1], strict=True):
            side = self.sides[name]
            points, target = self.points(other, image, label)
            patches = side.net.patches(image, points)
            if self.round == 1:
                side.observe(patches)
            logits, _ = side.net(patches - side.mean(self.config.mean))
            loss = F.cross_entropy(logits.float(), target)
            yield name, loss, {}

    def logits(self, side: Side, image: Tensor) -> Tensor:
        """(B, 2, H, W) of one network for every pixel of image (B, C, H, W)."""
        if self.config.mean == "patch":
            return side.net.patchwise(image, range(image.shape[-2]), side.mean("patch"))
        centered = image - side.mean("pixel")[:, :1, :1]
        return side.net.every_pixel(centered, self.config.tile)

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        c = self.config
        both = [self.logits(side, batch["image"]).float().softmax(1)[:, 1:] for side in self.sides.values()]
        score = torch.minimum(*both)
        return {"mask": cleaned(score > 0.5, c.closing, c.fill, c.largest), "score": score}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        scores = metrics.segmentation(batch, prediction, metrics.classes(self.config.classes))
        return scores | {"hausdorff": metrics.hd95(prediction["mask"], batch["label"], batch["spacing"], None)}
