"""Reinhard's colour transfer, video by video: mean and spread of each channel of CIELAB become the target centre's.

Six numbers a video, the same for all of its frames: nothing flickers, nothing is learned. With `scope=frame` each frame
has its own.

Source: Reinhard et al., Color Transfer between Images, IEEE CGA 2001, in CIELAB in place of l-alpha-beta, as is usual;
the card of VideoGAN asks for it. The reference are all pixels of the target centre's training videos (inferred).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from kornia.color import lab_to_rgb, rgb_to_lab
from torch import Tensor

from workbench import method
from workbench.method import Batch
from workbench.models import videos


@dataclass(frozen=True)
class Config(videos.Settings):
    scope: Literal["video", "frame"] = "video"  # what has mean and spread of its own (card: per video)


TINY = {"epochs": 2, "batch": 2}
DEMO = {"frames": 12, "train": 20, "test": 20, "epochs": 3, "batch": 2}
PAPER = {
    "size": 256, "frames": 12, "train": 30, "valid": 4, "test": 20, "judge_base": 32, "judge_epochs": 20,
    "judge_lr": 1e-3, "epochs": 136, "batch": 1, "schedule": "linear",
}  # fmt: skip
ABLATIONS = {"frame": {"scope": "frame"}}


def transferred(video: Tensor, tone: Tensor, length: Tensor, scope: str) -> Tensor:
    """A video (B, 3, T, H, W) in [0, 1] with mean and deviation `tone` (B, 2, 3) of L*, a*, b*, a video's or a frame's.

    What leaves the gamut is clipped.
    """
    with torch.autocast(video.device.type, enabled=False):
        lab = rgb_to_lab(video.float().transpose(1, 2)).transpose(1, 2)
        kept = videos.present(length, video.shape[2])[:, None, :, None, None].expand_as(lab)
        over = (2, 3, 4) if scope == "video" else (3, 4)
        count = kept.sum(over, keepdim=True).clamp_min(1)
        mean = (lab * kept).sum(over, keepdim=True) / count
        spread = (((lab - mean) * kept).square().sum(over, keepdim=True) / count).sqrt().clamp_min(1e-3)
        new_mean, new_spread = (part.view(-1, 3, 1, 1, 1) for part in tone.float().unbind(1))
        lab = (lab - mean) / spread * new_spread + new_mean
        return lab_to_rgb(lab.transpose(1, 2)).transpose(1, 2).clamp(0, 1)


class Reinhard(videos.Judged, method.Method):
    """predict: `color` (B, 3, T, H, W) in [0, 1], the recoloured video, and `mask` (B, 1, T, H, W) on it."""

    Config = Config
    data = "endoscopy"

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        color = transferred(batch["image"], batch["tone"], batch["length"], self.config.scope)
        return {"color": color, "mask": self.judge.mask(color)}
