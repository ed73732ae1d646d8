"""What all arms on endoscopic videos share: the segmentor that judges them, frames taken and put together, the scores.

A video is (B, C, T, H, W); frames handed to a generator are (B, n, C, H, W). `length` (B,) tells how many of the T
frames are the clip's own.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from kornia.filters import sobel
from torch import Tensor, nn

from workbench import metrics
from workbench.config import Config, Count, Positive, Side
from workbench.losses.histogram import histogram, wasserstein
from workbench.losses.registration import segmentation_loss
from workbench.models.unet import UNet
from workbench.models.warp import warp

LUMA = (0.299, 0.587, 0.114)  # Rec. 601


@dataclass(frozen=True)
class Settings(Config):
    """Of the segmentor that judges, alike in every arm."""

    size: Side = 64  # of the frames, from the data
    classes: str = "polyp"  # names of the label values 1, 2, ..., from the data
    judge_base: Count = 8  # first width of the segmentor, a U-Net of four levels (card: tiny preset)
    judge_frames: Count = 2  # frames that it learns from in a clip and step (inferred)
    judge_epochs: Count = 8  # epochs in which it learns; then it stays as it is (inferred)
    judge_lr: Positive = 3e-3  # Adam's rate (inferred)


class Judge(nn.Module):
    """The segmentor S: frames (N, 3, H, W) in [0, 1] -> logits (N, 1 + K, H, W).

    Its channels are normalised together: one by one, which is instance normalisation, would undo much of a colour cast.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        widths = [settings.judge_base * 2**level for level in range(4)]
        self.net = UNet(3, 1 + len(settings.classes.split(",")), widths, joint=True)

    def forward(self, frames: Tensor) -> Tensor:
        return self.net(frames)

    def loss(self, video: Tensor, label: Tensor, length: Tensor, draws: Tensor) -> Tensor:
        """Cross entropy + Dice, a scalar, on as many random frames of each video as `draws` (B, n) asks, in [0, 1)."""
        chosen = (draws * length[:, None]).long()
        frames, labels = (taken(one, chosen).flatten(0, 1) for one in (video, label))
        return segmentation_loss(self(frames), labels)

    def mask(self, video: Tensor) -> Tensor:
        """Label maps (B, 1, T, H, W) int16 of a video, frame by frame."""
        found = [self(frame).argmax(1, keepdim=True) for frame in video.unbind(2)]
        return torch.stack(found, 2).to(torch.int16)


class Judged:
    """The part of a Method that learns nothing but its judge: at the target centre, unless `lessons` says otherwise."""

    def __init__(self, config: Settings) -> None:
        super().__init__(config)
        self.judge = Judge(config)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"judge": torch.optim.Adam(self.judge.parameters(), self.config.judge_lr)}

    def lessons(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Videos, labels and lengths that the judge learns from."""
        return batch["target"], batch["target_label"], batch["target_length"]

    def updates(self, batch: dict[str, Tensor]) -> Iterator[tuple[str, Tensor, dict]]:
        draws = self.rand(len(batch["image"]), self.config.judge_frames)
        if self.epoch <= self.config.judge_epochs:
            yield "judge", self.judge.loss(*self.lessons(batch), draws), {}

    def score(self, batch: dict[str, Tensor], prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        return scores(batch, prediction, self.judge, self.config.classes)


# ---------------------------------------------------------------- frames


def taken(video: Tensor, chosen: Tensor) -> Tensor:
    """The frames `chosen` (B, n) of videos (B, C, T, H, W): (B, n, C, H, W)."""
    return video.transpose(1, 2)[torch.arange(len(video), device=video.device)[:, None], chosen]


def two_frames(length: Tensor, draws: Tensor) -> Tensor:
    """The places (B, 2) of two different frames of each clip, every pair as likely; `draws` (B, 2) in [0, 1)."""
    first = (draws[:, 0] * length).long()
    step = 1 + (draws[:, 1] * (length - 1)).long()
    return torch.stack([first, (first + step) % length], 1)


def partners(length: Tensor, time: int, gap: int) -> Tensor:
    """The frames (B, 2) that frame `time` is shown with: `gap` before and after it, around the end of the clip.

    A clip that is not longer than the gap gets the largest one that it allows. For padding it is any frame.
    """
    step = torch.clamp(length - 1, max=gap)
    return torch.stack([(time + step) % length, (time - step) % length], 1)


def translated(
    generator: Callable[[Tensor], Tensor], video: Tensor, others: Tensor, length: Tensor, gap: int
) -> Tensor:
    """A video (B, 3, T, H, W) frame by frame, each with two partners from the clips `others`, the results averaged.

    `length` is that of the other clips. Where these are the video itself, this is every pair (t, t + gap) translated
    once, and each frame's two results averaged, because the generator treats both arms alike.
    """
    made = []
    for time, frame in enumerate(video.unbind(2)):
        shown = taken(others, partners(length, time, gap)).unbind(1)
        results = [generator(torch.stack([frame, other], 1))[:, 0] for other in shown]
        made.append(torch.stack(results).mean(0))
    return torch.stack(made, 2)


def framewise(generator: Callable[[Tensor], Tensor], video: Tensor) -> Tensor:
    """A video (B, 3, T, H, W), each frame on its own."""
    return torch.stack([generator(frame[:, None])[:, 0] for frame in video.unbind(2)], 2)


# ---------------------------------------------------------------- scores


def present(length: Tensor, count: int) -> Tensor:
    """Which of `count` frames are the clip's own, (B, count) bool."""
    return torch.arange(count, device=length.device) < length[:, None]


def mean_over(values: Tensor, kept: Tensor) -> Tensor:
    """The mean of values (B, T) where `kept`, (B,); NaN where there is none."""
    return torch.where(kept, values, 0.0).sum(1) / kept.sum(1)


def overlap(mask: Tensor, label: Tensor, length: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Dice and IoU, each (B,), of label maps (B, 1, T, H, W) of 0 to K = `count`: means over frames, then classes.

    Frames in which a class neither is nor was found do not count for it; a clip in which no class is or was found has
    1, an unlabelled one NaN.
    """
    kept = present(length, label.shape[2])
    found: dict[str, list[Tensor]] = {"dice": [], "iou": []}
    for value in range(1, count + 1):
        one, other = ((part[:, 0] == value).flatten(2) for part in (mask, label))
        both, either = (one & other).sum(2), (one | other).sum(2)
        counted = kept & (either > 0)
        found["dice"].append(mean_over(2 * both / (both + either).clamp_min(1), counted))
        found["iou"].append(mean_over(both / either.clamp_min(1), counted))
    known = (label >= 0).flatten(1).any(1)
    means = [torch.stack(values).nanmean(0).nan_to_num(1.0) for values in found.values()]
    return tuple(torch.where(known, mean, torch.nan) for mean in means)


def color_distance(video: Tensor, palette: Tensor, length: Tensor) -> Tensor:
    """Wasserstein-1 distance of each frame's channels to a palette (B, 3, bins), mean over both, (B,), in [0, 1]."""
    bins = palette.shape[-1]
    frames = [wasserstein(histogram(frame, bins), palette).mean(1) for frame in video.unbind(2)]
    return mean_over(torch.stack(frames, 1), present(length, video.shape[2]))


def flicker(video: Tensor, original: Tensor, length: Tensor) -> Tensor:
    """How unsteadily the mean colour was changed, (B,): SD over frames of (video - original), mean over channels.

    Source: card of VideoGAN; in intensities of [0, 1]. A change that is the same in every frame has 0.
    """
    change = (video.float() - original.float()).mean((3, 4))
    kept = present(length, video.shape[2])[:, None]
    middle = (change * kept).sum(2, keepdim=True) / length.view(-1, 1, 1)
    return (((change - middle).square() * kept).sum(2) / length[:, None]).sqrt().mean(1)


def motion_error(video: Tensor, flow: Tensor, length: Tensor) -> Tensor:
    """Mean absolute difference of each frame and the one before it moved along, (B,), over pixels seen in both.

    `flow` (B, 2, T - 1, H, W) in pixels: frame t + 1 at x is frame t at x + flow.
    """
    errors = []
    for time, (frame, following) in enumerate(zip(video.unbind(2), video.unbind(2)[1:], strict=False)):
        step = flow[:, :, time]
        inside = stays_inside(step)
        difference = (warp(frame, step) - following.float()).abs().mean(1) * inside
        errors.append(difference.flatten(1).sum(1) / inside.flatten(1).sum(1).clamp_min(1))
    return mean_over(torch.stack(errors, 1), present(length - 1, len(errors)))


def stays_inside(flow: Tensor) -> Tensor:
    """Which pixels come from inside the frame, (B, H, W) bool, by a displacement (B, 2, H, W) in pixels."""
    height, width = flow.shape[2:]
    rows, columns = torch.meshgrid(*(torch.arange(n, device=flow.device) for n in (height, width)), indexing="ij")
    y, x = rows + flow[:, 0], columns + flow[:, 1]
    return (y >= 0) & (y <= height - 1) & (x >= 0) & (x <= width - 1)


def edge_correlation(video: Tensor, original: Tensor, length: Tensor) -> Tensor:
    """Pearson's correlation of the edges' strength (Sobel, on luma) before and after, mean over frames, (B,)."""
    weights = torch.tensor(LUMA, device=video.device).view(1, 3, 1, 1)
    frames = []
    for one, other in zip(video.unbind(2), original.unbind(2), strict=True):
        edges = [sobel((part.float() * weights).sum(1, keepdim=True)).flatten(1) for part in (one, other)]
        edges = [part - part.mean(1, keepdim=True) for part in edges]
        frames.append(torch.cosine_similarity(*edges, dim=1))
    return mean_over(torch.stack(frames, 1), present(length, video.shape[2]))


def scores(batch: dict[str, Tensor], prediction: dict[str, Tensor], judge: Judge, classes: str) -> dict[str, Tensor]:
    """All metrics of a translation, each (B,).

    `dice` and `iou` of the segmentor on it, NaN where nothing is labelled; `wasserstein` to the target centre's
    colours; `flicker`; `motion` where the motion is known; `content`, the correlation of edges with the original's; and
    `dice_home`, the segmentor on the item's clip of its own centre.
    """
    with torch.autocast(batch["image"].device.type, enabled=False):
        video, original, length = prediction["color"].float(), batch["image"], batch["length"]
        count = len(metrics.classes(classes))
        dice, iou = overlap(prediction["mask"], batch["label"], length, count)
        found = {"dice": dice, "iou": iou, "wasserstein": color_distance(video, batch["palette"], length)}
        found["flicker"] = flicker(video, original, length)
        if "flow" in batch:
            found["motion"] = motion_error(video, batch["flow"], length)
        found["content"] = edge_correlation(video, original, length)
        home = judge.mask(batch["target"])
        return found | {"dice_home": overlap(home, batch["target_label"], batch["target_length"], count)[0]}
