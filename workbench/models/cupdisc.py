"""What all segmentors of cup and disc share: the network, its two maps, augmentation, the discriminator, the scores.

A label map has 0 for background, 1 for the rim and 2 for the cup; the disc includes the cup. The networks give two
sigmoid maps in the order cup, disc.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from workbench import metrics
from workbench.models.deeplab import DeepLab
from workbench.models.unet import UNet

Network = Literal["small", "deeplab"]
LABELS = {"cup": (2,), "disc": (1, 2)}


def segmentor(network: Network, channels: int, base: int) -> nn.Module:
    """(B, channels, H, W) in [0, 1] -> logits (B, 2, H, W) of cup and disc; `base` is the U-Net's first width."""
    return UNet(channels, 2, (base, 2 * base, 4 * base)) if network == "small" else DeepLab(channels, 2)


def to_maps(label: Tensor) -> Tensor:
    """Label map (B, 1, H, W) -> cup and disc, (B, 2, H, W), 0 or 1."""
    return torch.cat([label == 2, label >= 1], 1).float()


def to_label(maps: Tensor) -> Tensor:
    """Probabilities (B, 2, H, W) of cup and disc -> label map (B, 1, H, W); a cup lies inside the disc only."""
    cup, disc = (maps > 0.5).split(1, 1)
    return disc.long() + (cup & disc).long()


def averaged(nets: Sequence[nn.Module], image: Tensor) -> dict[str, Tensor]:
    """`score`, the mean probability (B, 2, H, W) of cup and disc over the networks, and its label map `mask`."""
    score = torch.stack([net(image).float().sigmoid() for net in nets]).mean(0)
    return {"mask": to_label(score), "score": score}


def turned(image: Tensor, draw: Tensor) -> Tensor:
    """Square images (B, C, N, N), each in one of its eight symmetries; `draw` (B, 3), uniform in [0, 1), chooses."""
    yes = (draw < 0.5).view(-1, 3, 1, 1, 1)
    image = torch.where(yes[:, 0], image.flip(3), image)
    image = torch.where(yes[:, 1], image.flip(2), image)
    return torch.where(yes[:, 2], image.transpose(2, 3), image)


class Discriminator(nn.Sequential):
    """Maps (B, channels, H, W) -> logits (B, 1, h, w) that they come from the source domain.

    4x4 convolutions of stride 2, `base` channels doubled `depth` - 1 times, LeakyReLU 0.2, then one to a score. Base 64
    and depth 4 are the 64-128-256-512-1 of arXiv 1802.10349, section 4.2.
    """

    def __init__(self, channels: int, base: int, depth: int) -> None:
        widths = [channels] + [base * 2**n for n in range(depth)]
        layers: list[nn.Module] = []
        for wide, out in pairwise(widths):
            layers += [nn.Conv2d(wide, out, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        super().__init__(*layers, nn.Conv2d(widths[-1], 1, 4, 2, 1))


def discriminator_optimizer(
    net: nn.Module, kind: Literal["adam", "sgd"], lr: float, betas: tuple[float, float]
) -> torch.optim.Optimizer:
    """Adam, or SGD with the momentum 0.99 and weight decay 5e-4 of follow-up code."""
    if kind == "adam":
        return torch.optim.Adam(net.parameters(), lr, betas)
    return torch.optim.SGD(net.parameters(), lr, momentum=0.99, weight_decay=5e-4)


def ratio(label: Tensor) -> Tensor:
    """Vertical cup-to-disc ratio, (B,), of label maps (B, 1, H, W): largest heights of a column; 0 without a disc."""
    cup, disc = ((label[:, 0] >= value).sum(1).amax(1) for value in (2, 1))
    return cup / disc.clamp_min(1)


def scores(batch: dict[str, Tensor], prediction: dict[str, Tensor]) -> dict[str, Tensor]:
    """`metrics.segmentation` of cup and disc, and `cdr`, the absolute error of the vertical cup-to-disc ratio."""
    found = metrics.segmentation(batch, prediction, LABELS)
    return found | {"cdr": (ratio(prediction["mask"]) - ratio(batch["label"])).abs()}
