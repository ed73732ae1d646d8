"""Direct transfer: the floor that shows the segmentor the other centre's videos as they are.

What a translation is worth must be seen above this.

Source: the card of VideoGAN asks for it.
"""

from dataclasses import dataclass

from torch import Tensor

from workbench import method
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


class Direct(videos.Judged, method.Method):
    """predict: `color` (B, 3, T, H, W), the video itself, and `mask` (B, 1, T, H, W) on it."""

    Config = Config
    data = "endoscopy"

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        return {"color": batch["image"], "mask": self.judge.mask(batch["image"])}
