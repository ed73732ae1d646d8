"""U-Net: one network that labels every pixel of the image at once; the rival without patches.

Source: Ronneberger et al., arXiv 1505.04597, with cross entropy and soft Dice, and a normalisation (both inferred; what
segmentation has settled on since). As a rival of Crossover-Net it is named, its settings are not stated. Its masks are
cleaned as the patch classifiers' are, so that they differ in the classifier alone.
Known faults: none that matters here; a tiny step costs some two and a half times that of a tiny patch classifier.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench import method, metrics
from workbench.config import Count, Natural, Positive, Weight
from workbench.errors import InvalidImage
from workbench.losses.overlap import dice_loss
from workbench.method import Batch, Update
from workbench.models.patches import cleaned
from workbench.models.unet import UNet


@dataclass(frozen=True)
class Config(method.Config):
    base: Count = 8  # channels of the first level, doubled at each; paper scale 64 (paper)
    levels: Count = 4  # resolutions, each half of the one before; paper scale 5 (paper)
    dice_weight: Weight = 1.0  # of the soft Dice loss beside cross entropy (inferred)
    repeats: Count = 1  # updates a batch, for a rival of equal computation (inferred)
    lr: Positive = 1e-2  # Adam's rate (tuned on validation images)
    closing: Natural = 3  # radius of the disk that closes the mask, pixels; 0 is none (as Crossover-Net's)
    fill: bool = True  # fill the mask's holes (as Crossover-Net's)
    largest: bool = True  # keep the mask's largest part alone (as Crossover-Net's)
    channels: Count = 1  # of the image
    classes: str = "organ"  # name of the object in the scores


PAPER = {"base": 64, "levels": 5, "lr": 1e-3, "epochs": 100, "batch": 4, "size": 256}
ABLATIONS = {"raw": {"closing": 0, "fill": False, "largest": False}}


class SupervisedUNet(method.Method):
    """predict: `mask` (B, 1, H, W), 0 or 1, after closing and filling, and `score` (B, 1, H, W), the probability."""

    Config = Config
    data = "organs"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.net = UNet(config.channels, 2, [config.base * 2**n for n in range(config.levels)])

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"net": torch.optim.Adam(self.parameters(), self.config.lr)}

    def updates(self, batch: Batch) -> Iterator[Update]:
        target = (batch["label"] > 0).float()
        for _ in range(self.config.repeats):
            logits = self.logits(batch["image"])
            terms = {"ce": F.cross_entropy(logits, target[:, 0].long())}
            terms["dice"] = self.config.dice_weight * dice_loss(logits.softmax(1)[:, 1:], target)
            yield "net", sum(terms.values()), {name: term.detach() for name, term in terms.items()}

    def logits(self, image: Tensor) -> Tensor:
        """(B, 2, H, W) in float32.

        Raises:
            InvalidImage: sides that cannot be halved often enough.
        """
        parts = 2 ** (self.config.levels - 1)
        if any(side % parts for side in image.shape[-2:]):
            found = " x ".join(map(str, image.shape[-2:]))
            raise InvalidImage("image", f"sides of a multiple of {parts}", found, "choose another size or fewer levels")
        return self.net(image).float()

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        c, score = self.config, self.logits(batch["image"]).softmax(1)[:, 1:]
        return {"mask": cleaned(score > 0.5, c.closing, c.fill, c.largest), "score": score}

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        scores = metrics.segmentation(batch, prediction, metrics.classes(self.config.classes))
        return scores | {"hausdorff": metrics.hd95(prediction["mask"], batch["label"], batch["spacing"], None)}
