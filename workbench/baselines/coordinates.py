"""Direct regression: the coordinates of the spur as two numbers, from the encoder that its rivals turn into heat maps.

Source: inferred; the plainest way to train a network to find a point, after Toshev and Szegedy, DeepPose, arXiv
1312.4659. The deepest features are averaged over a grid of 6 x 6, which still tells where they are, and two linear
layers give x / W and y / H.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import method
from workbench.config import Count, Positive, Weight
from workbench.losses.keypoint import known_mean, location
from workbench.method import Batch, Update
from workbench.models.angles import scores, to_grid, to_source, turned
from workbench.models.encoders import Encoder, pyramid


@dataclass(frozen=True)
class Config(method.Config):
    encoder: Encoder = "tiny"  # as its rivals'; paper scale efficientnet-b3
    grid: Count = 6  # side of the grid that the deepest features are averaged over (inferred)
    hidden: Count = 64  # units of the layer between features and coordinates (inferred)
    turn: Weight = 10.0  # largest random turn of training images, degrees, as its rivals'
    lr: Positive = 5e-3  # Adam's rate, as its rivals'; paper scale 1e-3 (inferred)


PAPER = {
    "encoder": "efficientnet-b3", "hidden": 256, "lr": 1e-3, "size": 512, "train": 2272, "valid": 320, "test": 608,
    "epochs": 100, "batch": 8, "schedule": "cosine",
}  # fmt: skip


class Regressor(nn.Module):
    """(B, 1, H, W) in [0, 1] -> x / W and y / H, (B, 2), float32; not bounded, as a sigmoid's ends would hold them."""

    def __init__(self, encoder: str, grid: int, hidden: int) -> None:
        super().__init__()
        self.encoder, self.grid = pyramid(encoder), grid
        features = self.encoder.widths[-1] * grid**2
        self.head = nn.Sequential(nn.Linear(features, hidden), nn.LeakyReLU(0.01), nn.Linear(hidden, 2))

    def forward(self, image: Tensor) -> Tensor:
        deepest = self.encoder(image)[-1]
        return 0.5 + self.head(F.adaptive_avg_pool2d(deepest, self.grid).flatten(1)).float()


class Coordinates(method.Method):
    """predict: `point` (B, 2), x and y of the spur in source pixels of the half."""

    Config = Config
    data = "asoct"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.localizer = Regressor(config.encoder, config.grid, config.hidden)
        self.register_buffer("threshold", torch.tensor(0.5))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"localizer": torch.optim.Adam(self.localizer.parameters(), self.config.lr)}

    def found(self, image: Tensor) -> Tensor:
        """The spur (B, 2) in pixels of the grid."""
        return self.localizer(image) * torch.tensor([image.shape[3], image.shape[2]], device=image.device)

    def updates(self, batch: Batch) -> Iterator[Update]:
        image, spur = batch["image"], to_grid(batch["spur"], batch["scale"])
        draw = self.rand(len(image), 2)
        image, spur, known = turned(image, spur, batch["known"], draw, self.config.turn, flip=False)
        yield "localizer", known_mean(location(self.found(image), spur, image.shape[2:]), known), {}

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        return {"point": to_source(self.found(batch["image"]), batch["scale"])}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return scores(batch, prediction, self.threshold)
