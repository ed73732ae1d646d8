"""The segmentors that judge synthesis: trained on cases that no generator learns from, alike in every arm.

The judge reads one modality at a time and learns from acquired images alone, so that no generator can please it but by
showing the tumour. The readers take T2 with the three others: that of protocol P1 learns from acquired ones and is
tested with synthetic ones, that of P2 learns and is tested with synthetic ones.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import metrics
from workbench.config import Config, Count, Natural, Positive, Side
from workbench.losses.overlap import dice_loss
from workbench.models.synthesis import TARGETS, drawn, of_modality, with_planes
from workbench.models.unet import UNet

Batch = dict[str, Tensor]
Update = tuple[str, Tensor, dict[str, Tensor | float]]
JUDGE, P1, P2 = "judge", "reader_p1", "reader_p2"


@dataclass(frozen=True)
class Stages(Config):
    """What all arms of the comparison share, so that equal settings and seeds train equal judges."""

    size: Side = 64  # of the images, from the data
    pretrain: Natural = 8  # epochs before synthesis is learnt, 96 steps (card: 60, too few); paper scale 30 (code)
    gan_epochs: Count = 24  # epochs of synthesis, 288 steps (card: 200, too few); paper scale 100 (code)
    judge_epochs: Count = 8  # first epochs, in which the judge learns (inferred)
    segment_from: Count = 33  # first epoch in which the segmentors of P1 and P2 learn, to the end (code: 30 epochs)
    reader_base: Count = 6  # first width of the judge's and segmentors' U-Nets, doubled twice (inferred)
    reader_lr: Positive = 1e-2  # Adam's rate of judge and segmentors; paper scale 1e-3 (code); tuned

    def synthesises(self, epoch: int) -> bool:
        return self.pretrain < epoch <= self.pretrain + self.gan_epochs


def segmentor(channels: int, base: int) -> UNet:
    """(B, channels, H, W) in [0, 1] -> logits (B, 1, H, W) of the tumour."""
    return UNet(channels, 1, (base, 2 * base, 4 * base))


def reading_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Cross entropy and Dice loss of logits and tumour masks (B, 1, H, W), a scalar (inferred)."""
    logits, label = logits.float(), label.float()
    return F.binary_cross_entropy_with_logits(logits, label) + dice_loss(logits.sigmoid(), label)


def mirrored(images: Tensor, draw: Tensor) -> Tensor:
    """Images (B, C, H, W), left and right swapped where `draw` (B,) is below a half."""
    return torch.where((draw < 0.5)[:, None, None, None], images.flip(3), images)


class Readers(nn.Module):
    """The judge and the two readers; `trained` counts their steps, as an untrained one says nothing.

    Built before all else in a Method, they begin with the same weights in every arm of a seed.
    """

    def __init__(self, stages: Stages, parts: tuple[str, ...] = (JUDGE, P1, P2)) -> None:
        super().__init__()
        self.stages, channels = stages, 1 + len(TARGETS)
        self.nets = nn.ModuleDict({name: segmentor(channels, stages.reader_base) for name in parts})
        self.register_buffer("trained", torch.zeros(len(parts)))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {name: torch.optim.Adam(net.parameters(), self.stages.reader_lr) for name, net in self.nets.items()}

    def updates(self, batch: Batch, epoch: int, draw: Tensor, made: Callable[[Tensor], Tensor]) -> Iterator[Update]:
        """The step of each network whose turn it is, on the segmentation split.

        Args:
            draw: (B, 2), uniform in [0, 1): the judge's modality and whether an item is mirrored.
            made: T2 (B, 1, H, W) -> its synthetic modalities (B, 3, H, W), both in [0, 1], without gradient.
        """
        image, target = batch["seg_image"], batch["seg_target"]
        label = mirrored(batch["seg_label"].float(), draw[:, 1])
        inputs = {
            JUDGE: lambda: judged(target, drawn(draw[:, 0])),
            P1: lambda: torch.cat([image, target], 1),
            P2: lambda: torch.cat([image, made(image)], 1),
        }
        for number, (name, net) in enumerate(self.nets.items()):
            turn = epoch <= self.stages.judge_epochs if name == JUDGE else epoch >= self.stages.segment_from
            if turn:
                loss = reading_loss(net(mirrored(inputs[name](), draw[:, 1])), label)
                self.trained[number] += 1
                yield name, loss, {}

    def found(self, name: str, images: Tensor) -> Tensor:
        """The tumour (B, 1, H, W), 0 or 1, that one of the networks sees in (B, 4, H, W)."""
        return (self.nets[name](images).float() > 0).float()

    def readings(self, image: Tensor, color: Tensor, batch: Batch) -> Batch:
        """Dice and false area of T2 (B, 1, H, W) with its other modalities (B, 3, H, W), in [0, 1], each (B,).

        `dice` and `false_area` are the judge's, the mean over modalities, `dice_flair` and so on of each; `dice_p1`,
        `dice_p2`, `false_area_p1`, `false_area_p2` the readers'. Dice is that of slices with a tumour; the false area
        is the share of the brain taken for tumour in slices without; NaN elsewhere, and of untrained networks.
        """
        seen = [self.found(JUDGE, judged(color, torch.full((len(color),), n, device=color.device))) for n in range(3)]
        each = [reading(mask, batch) for mask in seen]
        found = {key: torch.stack([one[key] for one in each]).mean(0) for key in ("dice", "false_area")}
        found |= {f"dice_{name}": one["dice"] for name, one in zip(TARGETS, each)}
        found = {key: self.known(JUDGE, value) for key, value in found.items()}
        for name, protocol in ((P1, "p1"), (P2, "p2")):
            if name in self.nets:
                one = reading(self.found(name, torch.cat([image, color], 1)), batch)
                found |= {f"{key}_{protocol}": self.known(name, value) for key, value in one.items()}
        return found

    def known(self, name: str, values: Tensor) -> Tensor:
        steps = self.trained[list(self.nets).index(name)]
        return torch.where(steps > 0, values, torch.nan)


def judged(images: Tensor, modality: Tensor) -> Tensor:
    """What the judge sees of (B, 3, H, W): the channel of each item's modality (B,) with its one-hot planes."""
    return with_planes(of_modality(images, modality), modality)


def reading(mask: Tensor, batch: Batch) -> Batch:
    """Dice (B,) where there is a tumour, and elsewhere the share (B,) of the brain that a mask (B, 1, H, W) takes."""
    label, brain = batch["label"], batch["foreground"].float()
    sick = label.flatten(1).any(1)
    area = (mask * brain).flatten(1).sum(1) / brain.flatten(1).sum(1)
    dice = metrics.dice(mask, label)
    return {"dice": torch.where(sick, dice, torch.nan), "false_area": torch.where(sick, torch.nan, area)}
