"""Colour table: the floor that gives every grey level its mean colour.

Much of a colorization needs no network: if a grey level always has one colour, a table of 256 entries is
enough. Each entry here is the mean colour of all training pixels of that level, the table of least squared
error. What a method gains above it is what it reads from texture and position.

Source: the card of SMCGAN asks for it (inferred).
Known faults: two organs of equal grey get the mean of their colours, which is the colour of neither. The
table is meant to be counted over whole epochs: an item that was counted more often than others would weigh
more.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from workbench import method, metrics
from workbench.method import Batch, Update

LEVELS = 256  # the grey levels of 8-bit images, in which all inputs are stored


@dataclass(frozen=True)
class Config(method.Config):
    """Nothing to set."""


PAPER: dict[str, object] = {}
DEMO = {"source": "samples"}


def levels(image: Tensor) -> Tensor:
    """The grey level, 0 to 255, of an image in [0, 1]."""
    return (image.float() * (LEVELS - 1)).round().long().clamp(0, LEVELS - 1)


def tally(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels a level (256,) and sums of their colours (256, 3), float64, of grey (B, 1, H, W), colour (B, 3, H, W)."""
    index, colors = levels(image).flatten(), target.movedim(1, -1).reshape(-1, 3).double()
    sums = torch.zeros(LEVELS, 3, dtype=torch.float64, device=colors.device).index_add_(0, index, colors)
    return torch.bincount(index, minlength=LEVELS).double(), sums


def table(counts: Tensor, sums: Tensor) -> Tensor:
    """Mean colours (256, 3), float64; a level that was never seen lies on the line between its nearest seen ones.

    Beyond the darkest and brightest seen level their colours go on. Of no pixels at all, the table is the grey ramp.
    """
    seen = counts.nonzero()[:, 0]
    if len(seen) == 0:
        return torch.linspace(0, 1, LEVELS, dtype=torch.float64, device=counts.device)[:, None].expand(-1, 3)
    means, every = sums[seen] / counts[seen, None], torch.arange(LEVELS, device=counts.device)
    right = torch.searchsorted(seen, every).clamp(max=len(seen) - 1)
    left = (right - 1).clamp(min=0)
    share = ((every - seen[left]).double() / (seen[right] - seen[left]).clamp(min=1)).clamp(0, 1)[:, None]
    return means[left] + share * (means[right] - means[left])


class ColorTable(method.Method):
    """predict: `color` (B, 3, H, W) in [0, 1], the table's entry for each pixel."""

    Config = Config
    data = "anatomy"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.register_buffer("counts", torch.zeros(LEVELS, dtype=torch.float64))
        self.register_buffer("sums", torch.zeros(LEVELS, 3, dtype=torch.float64))

    def updates(self, batch: Batch) -> Iterator[Update]:
        """Count the batch; no loss. Repeated epochs count every item equally often and leave the means as they are."""
        found = tally(batch["image"], batch["target"])
        for total, part in zip((self.counts, self.sums), found, strict=True):
            if distributed.is_available() and distributed.is_initialized():
                distributed.all_reduce(part)
            total += part
        yield from ()

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        colors = table(self.counts, self.sums).float()[levels(batch["image"])[:, 0]]
        return {"color": colors.movedim(-1, 1).contiguous()}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return metrics.colorization(batch, prediction)
