"""What all methods for half scans share: both networks, how images and spurs move, decoding, thresholds, scores.

Points are x and y. On the grid they count pixels of the image that a network sees, in the source those of the file:
source = (grid + 1/2) scale - 1/2, so that distances grow by exactly `scale`.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench import metrics
from workbench.losses.keypoint import soft_argmax
from workbench.models.encoders import Pooled, pyramid
from workbench.models.unet import level

BINS = {0: (), 3: (1, 2, 3), 4: (1, 2, 3, 6)}  # of the pyramid pooling by their number (card)
PRIOR = 0.05  # response that a heat map begins with everywhere: most of it is to be empty (as arXiv 1708.02002)
KEPT = 48  # side of the heat map that is kept to look at
RADII = (5, 10, 20)  # of the detection rates, source pixels (card)


class PyramidPooling(nn.Module):
    """(B, C, H, W) -> the same shape: averages over grids of the given sizes laid beside the features and joined.

    Source: Zhao et al., arXiv 1612.01105; each grid gets C / 4 channels and nothing is normalised (inferred): a norm
    would erase single values.
    """

    def __init__(self, width: int, bins: Sequence[int]) -> None:
        super().__init__()
        self.bins, part = tuple(bins), max(1, width // 4)
        self.parts = nn.ModuleList(nn.Sequential(nn.Conv2d(width, part, 1), nn.LeakyReLU(0.01)) for _ in bins)
        self.join = nn.Sequential(nn.Conv2d(width + part * len(self.bins), width, 1), nn.LeakyReLU(0.01))

    def forward(self, features: Tensor) -> Tensor:
        pooled = [part(F.adaptive_avg_pool2d(features, bins)) for bins, part in zip(self.bins, self.parts, strict=True)]
        return self.join(torch.cat([features, *(enlarged(grid, features.shape[2:]) for grid in pooled)], 1))


class SpurNet(nn.Module):
    """(B, 1, H, W) in [0, 1] -> heat map (B, 1, H, W) in (0, 1), float32: encoder, pyramid pooling, U-Net decoder.

    `ppm` 3 or 4 grids on the deepest features, 0 for none; without `skips` the decoder sees these alone.
    """

    def __init__(self, encoder: str, ppm: int, skips: bool) -> None:
        super().__init__()
        self.encoder, self.skips = pyramid(encoder), skips
        widths = self.encoder.widths
        self.pool = PyramidPooling(widths[-1], BINS[ppm]) if ppm else nn.Identity()
        self.up = nn.ModuleList(level(2, i + o * skips, o) for i, o in zip(widths[:0:-1], widths[-2::-1]))
        self.head = nn.Conv2d(widths[0], 1, 1)
        nn.init.constant_(self.head.bias, math.log(PRIOR / (1 - PRIOR)))

    def forward(self, image: Tensor) -> Tensor:
        found = self.encoder(image)
        features = self.pool(found[-1])
        for block, skip in zip(self.up, found[-2::-1], strict=True):
            grown = enlarged(features, skip.shape[2:])
            features = block(torch.cat([grown, skip], 1) if self.skips else grown)
        return enlarged(self.head(features).float(), image.shape[2:]).sigmoid()


class AngleNet(nn.Module):
    """(B, 1, H, W) in [0, 1] -> logit (B,) of a closed angle: pooled features, dropout, one linear unit.

    Dropout happens where `draw` (B, F), uniform in [0, 1), is given: in training.
    """

    def __init__(self, network: str, stem: str = "plain", dropout: float = 0.0, squeeze: bool = False) -> None:
        super().__init__()
        self.body, self.dropout = Pooled(network, stem, squeeze), dropout
        self.head = nn.Linear(self.body.out_features, 1)

    def forward(self, image: Tensor, draw: Tensor | None = None) -> Tensor:
        features = self.body(image)
        if draw is not None and self.dropout:
            features = features * (draw >= self.dropout) / (1 - self.dropout)
        return self.head(features)[:, 0].float()


def enlarged(features: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(features, tuple(size), mode="bilinear", align_corners=False)


# ---------------------------------------------------------------- images and points


def to_grid(point: Tensor, scale: Tensor) -> Tensor:
    """Source points (B, 2) on the grid, with `scale` (B,) source pixels a grid pixel."""
    return (point + 0.5) / scale[:, None] - 0.5


def to_source(point: Tensor, scale: Tensor) -> Tensor:
    """Grid points (B, 2) in source pixels; undoes `to_grid`."""
    return (point + 0.5) * scale[:, None] - 0.5


def pixels(size: Sequence[int], device: torch.device) -> Tensor:
    """The place (H, W, 2), x and y, of every pixel."""
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32, device=device) for n in size), indexing="ij")
    return torch.stack([x, y], -1)


def sampled(image: Tensor, places: Tensor) -> Tensor:
    """Images (B, C, H, W) read linearly at places (B, h, w, 2) in pixels; 0 outside."""
    sides = torch.tensor([image.shape[3] - 1, image.shape[2] - 1], device=image.device)
    return F.grid_sample(image, 2 * places / sides - 1, mode="bilinear", padding_mode="zeros", align_corners=True)


def around(image: Tensor, center: Tensor, side: int) -> Tensor:
    """Squares (B, C, side, side) of images (B, C, H, W) about grid points (B, 2); 0 outside of the image."""
    places = pixels((side, side), image.device) - (side - 1) / 2
    return sampled(image, places + center[:, None, None])


def turned(
    image: Tensor, point: Tensor, known: Tensor, draw: Tensor, degrees: float, flip: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Square images (B, C, N, N), points (B, 2) on their grid and their masks (B,), turned and perhaps mirrored.

    `draw` (B, 2), uniform in [0, 1), chooses an angle within +-degrees and whether x becomes N - 1 - x. Points that
    leave the image become unknown.
    """
    if not (degrees or flip):
        return image, point, known
    angle = (2 * draw[:, 0] - 1) * math.radians(degrees)
    sign = torch.where(draw[:, 1] < 0.5, -1.0, 1.0) if flip else torch.ones_like(angle)
    cos, sin, middle = angle.cos(), angle.sin(), (image.shape[3] - 1) / 2
    x, y = (pixels(image.shape[2:], image.device) - middle).unbind(-1)
    columns = [v.view(-1, 1, 1) for v in (cos, sin, sign)]
    cosine, sine, mirror = columns
    places = torch.stack([mirror * (cosine * x - sine * y), sine * x + cosine * y], -1) + middle
    px, py = (point - middle).unbind(1)
    moved = torch.stack([sign * cos * px + sin * py, cos * py - sign * sin * px], 1) + middle
    inside = ((moved >= 0) & (moved <= 2 * middle)).all(1)
    return sampled(image, places), moved, known * inside


def framed(image: Tensor, view: int, crop: int, draw: Tensor | None = None) -> Tensor:
    """Images scaled to `view` pixels (0: as they are), of which a square of `crop` is seen (0: all).

    Its place is chosen by `draw` (B, 2), uniform in [0, 1), or the middle.
    """
    if view:
        image = F.interpolate(image, (view, view), mode="bilinear", antialias=True)
    free = image.shape[3] - crop
    if not crop or free <= 0:
        return image
    if draw is None:
        return image[..., free // 2 : free // 2 + crop, free // 2 : free // 2 + crop]
    places = (draw * (free + 1)).long().tolist()
    return torch.stack([one[:, top : top + crop, left : left + crop] for one, (top, left) in zip(image, places)])


def decode(heat: Tensor, scale: Tensor, radius: int, beta: int) -> Tensor:
    """The point (B, 2) in source pixels that heat maps (B, 1, H, W) show: soft-argmax in a window about the peak.

    The window has 2 radius + 1 pixels a side and is cut where the image ends; a wide response is drawn towards its
    peak by it.
    """
    flat, width = heat.flatten(1).argmax(1), heat.shape[3]
    peak = torch.stack([flat % width, flat // width], 1)
    near = (pixels(heat.shape[2:], heat.device) - peak[:, None, None]).abs().amax(-1) <= radius
    return to_source(soft_argmax(heat * near[:, None], beta), scale)


def kept(heat: Tensor) -> Tensor:
    """The heat map (B, 1, H, W) as (B, 1, 48, 48) or less, by maxima: enough to look at."""
    return F.adaptive_max_pool2d(heat, min(KEPT, heat.shape[3]))


# ---------------------------------------------------------------- thresholds and scores


def youden(score: Tensor, positive: Tensor) -> float:
    """The threshold with the highest sensitivity + specificity, halfway between two scores; 0.5 where one class lacks.

    `score` (N,), `positive` (N,) 1 or 0; called positive is a score of at least the threshold.

    >>> youden(torch.tensor([0.1, 0.2, 0.4, 0.9]), torch.tensor([0.0, 0.0, 1.0, 1.0]))
    0.30000001192092896
    """
    yes, values = positive > 0.5, score.unique()
    if yes.all() or not yes.any() or len(values) < 2:
        return 0.5
    cuts = (values[1:] + values[:-1]) / 2
    called = (score[:, None] >= cuts).float()
    return float(cuts[(called[yes].mean(0) - called[~yes].mean(0)).argmax()])


def settled(judged: Iterable[tuple[dict[str, Tensor], dict[str, Tensor]]]) -> float:
    """Youden's threshold of the predictions `score` of a split, given batch by batch; 0.5 where there are none."""
    pairs = [(prediction["score"], batch["closed"]) for batch, prediction in judged if "score" in prediction]
    return youden(*(torch.cat(column).float() for column in zip(*pairs))) if pairs else 0.5


def scores(batch: dict[str, Tensor], prediction: dict[str, Tensor], threshold: Tensor) -> dict[str, Tensor]:
    """Scores by item, (B,), as far as predicted; NaN for items that they do not concern.

    Of `point` the distance `ed` in source pixels and whether it is at most 5, 10, 20 (`sdr5`, ...). Of `score` the
    `accuracy` at the threshold, for closed angles `sensitivity`, for open ones `specificity`; beside them `score` and
    `label`, which `pooled` needs.
    """
    found: dict[str, Tensor] = {}
    if "point" in prediction:
        distance = (prediction["point"].float() - batch["spur"]).norm(dim=1)
        rates = {f"sdr{radius}": (distance <= radius).float() for radius in RADII}
        known = batch["known"] > 0.5
        found = {key: torch.where(known, value, torch.nan) for key, value in ({"ed": distance} | rates).items()}
    if "score" in prediction:
        score, yes = prediction["score"].float(), batch["closed"] > 0.5
        right = ((score >= threshold) == yes).float()
        found |= {"label": yes.float(), "score": score, "accuracy": right}
        found["sensitivity"] = torch.where(yes, right, torch.nan)
        found["specificity"] = torch.where(yes, torch.nan, right)
    return found


def pooled(scores: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each closed angle's part of the `auc` and of `f1`, (N,), NaN for open ones: their means are the metrics."""
    if "score" not in scores:
        return {}
    yes = scores["label"] > 0.5
    hits, called = scores["sensitivity"].nansum(), ((scores["accuracy"] > 0.5) == yes).sum()
    f1 = 2 * hits / (yes.sum() + called).clamp_min(1)
    share = scores["sensitivity"] * (f1 * yes.sum() / hits.clamp_min(1))
    return {"auc": metrics.auc_parts(scores["score"], scores["label"]), "f1": share}
