"""A floor: the spur where it lies on average in training, and for every angle the share of closed ones.

Spurs sit in a narrow region, so this floor is strong; and a heat map that has collapsed to nothing is worse than it.
The mean is taken in parts of the image's side, so that halves of different sizes count alike.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from workbench import method
from workbench.method import Batch, Update
from workbench.models.angles import pooled, scores, settled, to_grid, to_source


@dataclass(frozen=True)
class Config(method.Config):
    """Nothing to set."""


class MeanPoint(method.Method):
    """predict: `point` (B, 2), x and y in source pixels of the half, and `score` (B,), the same for every half."""

    Config = Config
    data = "asoct"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.register_buffer("sums", torch.zeros(5))  # of x / W, y / H and known, then of closed and all
        self.register_buffer("threshold", torch.tensor(0.5))

    def updates(self, batch: Batch) -> Iterator[Update]:
        """Only counts."""
        places = (to_grid(batch["spur"], batch["scale"]) + 0.5) / batch["image"].shape[3]
        known, closed = batch["known"], batch["closed"]
        spur = (places * known[:, None]).sum(0)
        added = torch.cat([spur, torch.stack([known.sum(), closed.sum(), known.new_tensor(len(known))])])
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(added)
        self.sums += added
        yield from ()

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        x, y, known, closed, count = self.sums
        side, scale = batch["image"].shape[3], batch["scale"]
        place = torch.stack([x, y]) / known.clamp_min(1) * side - 0.5
        return {"point": to_source(place.expand(len(scale), 2), scale), "score": (closed / count).expand(len(scale))}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return scores(batch, prediction, self.threshold)

    def settle(self, judged: Iterator[tuple[Batch, Batch]]) -> None:
        """Youden's threshold on the validation halves: 0.5, as all scores are equal."""
        self.threshold.fill_(settled(judged))

    def pooled(self, scores: Batch) -> Batch:
        return pooled(scores)
