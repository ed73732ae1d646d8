"""Grey: the floor that leaves the picture as it is.

A colorization must be better than none. Where most of a picture is a neutral background, the grey input shown
as RGB already scores well, and a weak network can fall below it. The published table has no such row.

Source: the card of SMCGAN asks for it (inferred); there is nothing to train.
Known faults: none but the obvious one, it has no colour.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from workbench import method, metrics
from workbench.method import Batch, Update


@dataclass(frozen=True)
class Config(method.Config):
    """Nothing to set."""


PAPER: dict[str, object] = {}
DEMO = {"source": "samples"}


class Grey(method.Method):
    """predict: `color` (B, 3, H, W) in [0, 1], three times the grey input."""

    Config = Config
    data = "anatomy"

    def updates(self, batch: Batch) -> Iterator[Update]:
        yield from ()

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        return {"color": batch["image"].repeat(1, 3, 1, 1)}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return metrics.colorization(batch, prediction)
