"""Histogram matching, video by video: each channel's values are replaced to have the target centre's histogram.

One table a channel, made from all frames of a video and used for all of them, so nothing flickers, nothing is learned,
and without it a colour loss would prove nothing. It knows no content: how much of a video is polyp, fold or shade
changes the table. With `scope=frame` each frame has a table of its own.

Source: Gonzalez and Woods, Digital Image Processing, histogram specification; the card of VideoGAN asks for it. The
reference is the mean histogram of the target centre's training videos (inferred).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from workbench import method
from workbench.losses.histogram import histogram
from workbench.method import Batch
from workbench.models import videos


@dataclass(frozen=True)
class Config(videos.Settings):
    scope: Literal["video", "frame"] = "video"  # what has a table of its own (card: per video)


TINY = {"epochs": 2, "batch": 2}
DEMO = {"frames": 12, "train": 20, "test": 20, "epochs": 3, "batch": 2}
PAPER = {
    "size": 256, "frames": 12, "train": 30, "valid": 4, "test": 20, "judge_base": 32, "judge_epochs": 20,
    "judge_lr": 1e-3, "epochs": 136, "batch": 1, "schedule": "linear",
}  # fmt: skip
ABLATIONS = {"frame": {"scope": "frame"}}


def table(shares: Tensor, palette: Tensor) -> Tensor:
    """What each of the bins becomes, (..., bins) in [0, 1], so that histograms (..., bins) turn into the palette's.

    A value is given the palette's value of the same rank, both counted at the middle of their bin.
    """
    ranks, wanted = (one.cumsum(-1) - one / 2 for one in (shares, palette))
    above = torch.searchsorted(wanted.contiguous(), ranks.contiguous()).clamp(1, palette.shape[-1] - 1)
    low, high = (wanted.gather(-1, place) for place in (above - 1, above))
    between = ((ranks - low) / (high - low).clamp_min(1e-9)).clamp(0, 1)
    return (above - 1 + between) / (palette.shape[-1] - 1)


def matched(video: Tensor, palette: Tensor, length: Tensor, scope: str) -> Tensor:
    """A video (B, 3, T, H, W) in [0, 1] with the palette (B, 3, bins), by one table a video or one a frame."""
    bins = palette.shape[-1]
    frames = torch.stack([histogram(frame, bins) for frame in video.unbind(2)], 2)  # (B, 3, T, bins)
    if scope == "video":
        kept = videos.present(length, video.shape[2])[:, None, :, None] / length.view(-1, 1, 1, 1)
        frames = (frames * kept).sum(2, keepdim=True).expand_as(frames)
    found = table(frames, palette.unsqueeze(2).expand_as(frames))
    levels = (video.flatten(3) * (bins - 1)).round().long().clamp(0, bins - 1)
    return found.gather(3, levels).view_as(video)


class HistogramMatching(videos.Judged, method.Method):
    """predict: `color` (B, 3, T, H, W) in [0, 1], the matched video, and `mask` (B, 1, T, H, W) on it."""

    Config = Config
    data = "endoscopy"

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        color = matched(batch["image"], batch["palette"], batch["length"], self.config.scope)
        return {"color": color, "mask": self.judge.mask(color)}
