"""Oracle: the same segmentor, trained on labels of the very centre that it is tested on.

It is no rival of equal standing: it reads the labels that an adaptation has to do without. What it reaches bounds what
any translation for a segmentor of this size can be worth.

Source: U-Net (Ronneberger et al., arXiv 1505.04597); the card of VideoGAN asks for it.
"""

from dataclasses import dataclass

from torch import Tensor

from workbench import method
from workbench.losses.registration import require_labels
from workbench.method import Batch
from workbench.models import videos


@dataclass(frozen=True)
class Config(videos.Settings):
    pass


TINY = {"epochs": 2, "batch": 2}
DEMO = {"frames": 12, "train": 20, "test": 20, "epochs": 3, "batch": 2}
PAPER = {
    "size": 256, "frames": 12, "train": 30, "valid": 4, "test": 20, "judge_base": 32, "judge_epochs": 20,
    "judge_lr": 1e-3, "epochs": 136, "batch": 1, "schedule": "linear",
}  # fmt: skip


class Oracle(videos.Judged, method.Method):
    """predict: `color` (B, 3, T, H, W), the video itself, and `mask` (B, 1, T, H, W) on it."""

    Config = Config
    data = "endoscopy"

    def lessons(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        require_labels("oracle", batch["label"])
        return batch["image"], batch["label"], batch["length"]

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        return {"color": batch["image"], "mask": self.judge.mask(batch["image"])}
